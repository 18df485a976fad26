"""Does `amber ask` pay? Asking by expected gain against asking by entropy and at random, at equal budgets.

    python benchmarks/ask.py simulated
    python benchmarks/ask.py demo --runs runs/demo
    python benchmarks/ask.py crema-d --root CREMA-D
    python benchmarks/ask.py size

simulated: corpora of 500 utterances, four classes, 20 raters whose votes are drawn from a known truth, 3 of them shown.
The truth is drawn from Dirichlet(κ p) around a prediction p, as `amber ask` believes (`as believed`), or the prediction
is the truth with noise on its logits (`noisy`). Each seed is another corpus: t-tests are over seeds.

demo: the predictions of a finished run on the demo corpus; 20 raters drawn from its known truth, 3 shown. Each seed is
another draw of all votes.

crema-d: the tabulated votes, without audio. The prediction is the mean vote on other actors' clips that were acted
alike, or (`prior`) on all clips of other actors; scored against votes that were neither shown nor asked for. Intervals
are over actors and draws.

size: the time that a list takes on as many utterances as MSP-Podcast 2.0 has, with eight classes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy import stats

from amber.arrays import Floats
from amber.console import ignore
from amber.corpus import Ledger
from amber.evaluate.ask import page
from amber.evaluate.ask.gain import Belief, gains
from amber.evaluate.ask.hidden import eligible, hide
from amber.evaluate.ask.plan import by_gain, within
from amber.evaluate.ask.stage import loaded
from amber.evaluate.ask.validation import GAIN, plans, surprise, validate
from amber.extract.corpora.crema_d import LETTERS, read_tabulated

RATERS, SHOWN, UTTERANCES, CLASSES = 20, (3, 3), 500, 4
BUDGETS = (0.25, 0.5, 1.0, 1.5, 2.0)  # votes per utterance


def simulated(rng: np.random.Generator, noisy: bool, kappa: float = 5.0) -> tuple[Floats, Floats]:
    """Return predictions and truths (n, C). Predictions are sure on some utterances and unsure on others."""
    p = rng.dirichlet(np.full(CLASSES, 0.4), UTTERANCES)
    p = 0.98 * p + 0.02 / CLASSES
    if not noisy:
        return p, np.array([rng.dirichlet(kappa * row) for row in p])
    logits = np.log(p) + rng.normal(0, 1, p.shape)
    guess = np.exp(logits)
    return guess / guess.sum(axis=1, keepdims=True), p


def saved(p: Floats, truth: Floats, rng: np.random.Generator) -> dict[str, list[float]]:
    """Return by order, for each budget, by how many nats a vote surprises less, on one draw of all votes."""
    counts = np.array([rng.multinomial(RATERS, row) for row in truth]).astype(float)
    hidden = hide(counts, SHOWN, truth, rng)
    belief = Belief.fit(p, hidden.shown)
    alpha = belief.alpha(p, hidden.shown)
    before = surprise(hidden, alpha).mean()
    return {
        name: [
            before - surprise(hidden, belief.alpha(p, hidden.after(plan.asked(len(p), round(share * len(p)))))).mean()
            for share in BUDGETS
        ]
        for name, plan in plans(alpha, hidden.available, rng).items()
    }


def over_seeds(draws: list[dict[str, list[float]]]) -> None:
    """Print what each order saved, and t-tests over seeds of the mean over budgets."""
    table = {name: 1000 * np.array([draw[name] for draw in draws]) for name in draws[0]}
    print("votes per utterance   " + "  ".join(f"{share:6.2f}" for share in BUDGETS) + "    (thousandths of a nat)")
    for name, of in table.items():
        print(f"{name:20} " + "  ".join(f"{value:6.2f}" for value in of.mean(axis=0)))
    for name, of in table.items():
        if name != GAIN:
            each = [stats.ttest_rel(table[GAIN][:, b], of[:, b]).pvalue for b in range(len(BUDGETS))]
            gap = (table[GAIN] - of).mean(axis=1)
            ci = stats.t.interval(0.95, len(gap) - 1, gap.mean(), stats.sem(gap))
            p = stats.ttest_1samp(gap, 0).pvalue
            print(f"gain less {name}: {gap.mean():.2f} ({ci[0]:.2f} to {ci[1]:.2f}), p = {p:.1g} over {len(gap)} seeds")
            print("by budget: p = " + ", ".join(f"{value:.1g}" for value in each))


def crema_d(root: Path, acted: bool) -> tuple[Floats, Floats, np.ndarray]:
    """Return predictions and counts (n, 6), and the actor of each clip from 0."""
    rated = read_tabulated(root, "voice", Ledger())
    clips = sorted(rated)
    counts = np.array([[sum(v.labels[0] == x for v in rated[clip].votes) for x in LETTERS] for clip in clips], float)
    actors = np.unique([clip[:4] for clip in clips], return_inverse=True)[1]
    kinds = np.unique([clip[9:15] if acted else "" for clip in clips], return_inverse=True)[1]
    p = np.empty_like(counts)
    for kind in np.unique(kinds):
        for actor in np.unique(actors):
            others = counts[(kinds == kind) & (actors != actor)].sum(axis=0) + 0.5
            p[(kinds == kind) & (actors == actor)] = others / others.sum()
    return p, counts, actors


def size(utterances: int = 264_705, classes: int = 8, most: int = 10) -> None:
    """Print how long the belief, the gains and the order take."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(classes, 0.4), utterances)
    p = 0.98 * p + 0.02 / classes
    counts = rng.multinomial(6, p).astype(float)
    started = time.perf_counter()
    belief = Belief.fit(p, counts)
    fitted = time.perf_counter()
    found = gains(belief.alpha(p, counts), most)
    weighed = time.perf_counter()
    cost = np.ones(utterances)
    plan = within(by_gain(found, cost), cost, utterances)
    ended = time.perf_counter()
    print(f"{utterances} utterances, {classes} classes, {len(plan)} votes: κ and β {fitted - started:.1f} s, "
          f"gains of {most} votes {weighed - fitted:.1f} s, order {ended - weighed:.1f} s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["simulated", "demo", "crema-d", "size"])
    parser.add_argument("--runs", type=Path, help="demo: the experiment's folder")
    parser.add_argument("--variant", help="demo: whose predictions")
    parser.add_argument("--root", type=Path, help="crema-d: the folder with tabulatedVotes.csv")
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    if given.part == "simulated":
        for noisy in (False, True):
            print("noisy" if noisy else "as believed")
            rngs = [np.random.default_rng(seed) for seed in range(given.seeds)]
            over_seeds([saved(*simulated(rng, noisy), rng) for rng in rngs])
    elif given.part == "demo":
        from amber.console import Console

        name, experiment = loaded(given.runs, given.variant, Console(quiet=True))
        if experiment.truth is None:
            raise SystemExit(f"{given.runs}: its truth is not known")
        p = experiment.mean(name)
        over_seeds([saved(p, experiment.truth, np.random.default_rng(seed)) for seed in range(given.seeds)])
    elif given.part == "size":
        size()
    else:
        for acted in (True, False):
            p, counts, actors = crema_d(given.root / "tabulatedVotes.csv", acted)
            for shown in (SHOWN, (1, 5)):
                enough = eligible(counts, shown[1], truth=False)
                clusters = np.unique(actors[enough], return_inverse=True)[1]
                found = validate(p[enough], counts[enough], clusters, shown, range(given.seeds), None, ignore)
                print(("acted alike" if acted else "prior") + "\n" + page.plain(found) + "\n")


if __name__ == "__main__":
    main()

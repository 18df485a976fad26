"""The answer that stands first in the report: what was asked, who is best, what is supported, and how good that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from amber.errors import count

from ..results import Comparison, Results
from ..strata import SMALL
from .ranking import PAPERS, PROPER, is_constant, winners
from .text import signed, where

ASKED = 3  # names and pairs that a sentence spells out


@dataclass(frozen=True)
class Answer:
    """What was asked, and what was found in a few sentences."""

    question: str
    sentences: tuple[str, ...]


def answer(results: Results) -> Answer:
    """Return the answer; every claim in it is a figure of `results`."""
    found = (best(results), *supported(results), *scale(results), *against_truth(results), *by_conflict(results))
    return Answer(question(results), found)


def question(results: Results) -> str:
    """Say what was asked: whether the variants are better than those they are compared with."""
    pairs = results.versus.comparisons
    references = list(dict.fromkeys(c.reference for c in pairs))
    references = [name for name in references if "," not in name] or references  # not the points of a grid
    every = [name for name in dict.fromkeys(c.variant for c in pairs) if not is_constant(name)]
    asked = [name for name in every if name not in references] or [name for name in every if name != references[0]]
    if not pairs or not asked:
        return f"How well {_verb(results.summary, 'does', 'do')} {_names(results.summary)} predict the raters?"
    return f"{_verb(asked, 'Does', 'Do')} {_names(asked)} predict the raters better than {_names(references, 'or')}?"


def best(results: Results) -> str:
    """Say which variants are best by the proper score and by the paper's."""
    proper, papers = winners(results, PROPER), winners(results, PAPERS)
    of_first = results.summary[proper[0]]
    nll = f"{signed(of_first[PROPER].mean, False)} nats, {signed(of_first['nll_bits'].mean, False)} bits per vote"
    bc = signed(results.summary[papers[0]][PAPERS].mean, False)
    if len(results.summary) == 1:
        return f"{_names(proper)} has an NLL, the proper score, of {nll}, and a BC, the paper's score, of {bc}."
    if proper == papers:
        verb = _verb(proper, "is", "are")
        return f"{_names(proper)} {verb} best by NLL, the proper score ({nll}), and by BC, the paper's ({bc})."
    return (
        f"By NLL, the proper score, {_names(proper)} {_verb(proper, 'is', 'are')} best ({nll}); "
        f"by BC, the paper's, {_names(papers)} {_verb(papers, 'is', 'are')} ({bc})."
    )


def supported(results: Results) -> Iterator[str]:
    """Say which differences in NLL and BC are supported, and where none is."""
    comparisons = results.versus.comparisons
    if not comparisons:
        return
    of_all = f"after correction for {count(len(comparisons), 'comparison')}"
    trained = [c for c in comparisons if not is_constant(c.variant) and not is_constant(c.reference)]
    found = [c for c in trained if c.supported]
    rest = sum(c.supported for c in comparisons) - len(found)
    constant = (
        f"; {rest} with constant answers (uniform, prior, majority) {'is' if rest == 1 else 'are'}" if rest else ""
    )
    if not found:
        yield f"No difference between variants is supported {of_all}{_why(results)}{constant}."
        return
    claims = _claims(results, [c for c in found if c.metric in (PROPER, PAPERS)])
    more = f"; and {count(len(claims) - ASKED, 'more pair')} below" if len(claims) > ASKED else ""
    detail = f"{'; '.join(claims[:ASKED])}{more}" if claims else "none of them in NLL or BC"
    yield f"{count(len(found), 'difference')} supported {of_all}: {detail}{constant}."
    if nowhere := _nowhere(results, trained):
        yield f"Not supported: any difference {nowhere}."


def scale(results: Results) -> Iterator[str]:
    """Say where the best NLL stands between knowing the class frequencies alone and knowing the truth."""
    winner = winners(results, PROPER)[0]
    name = _names([winner])
    value, prior = results.summary[winner][PROPER].mean, results.baselines["prior"][PROPER].mean
    oracle = results.oracle.figures.get(PROPER)
    if value >= prior:
        yield f"{name} does not beat the class frequencies alone (NLL {signed(prior, False)})."
    elif oracle is None or oracle.mean >= prior:
        yield f"{name} beats the class frequencies alone (NLL {signed(prior, False)}); there is no oracle here."
    elif results.oracle.left_out:
        yield (
            f"{name} beats the class frequencies alone (NLL {signed(prior, False)}). The oracle is of the "
            f"{results.oracle.n} utterances without split votes alone, and no scale for that."
        )
    elif value <= oracle.mean:
        yield f"{name} is at the oracle, what the true distributions would score ({signed(oracle.mean, False)})."
    else:
        share = int(100 * (prior - value) / (prior - oracle.mean))
        yield (
            f"{name} comes {share} % of the way from the class frequencies alone (NLL {signed(prior, False)}) to the "
            f"oracle, what the true distributions would score ({signed(oracle.mean, False)})."
        )


def against_truth(results: Results) -> Iterator[str]:
    """Say which variants are closest to the distribution that the votes were drawn from, where it is known."""
    shown = {name: round(of["kl"].mean, 3) for name, of in results.truth.items() if name in results.summary}
    if shown:
        least = min(shown.values())
        closest = [name for name, value in shown.items() if value == least]
        verb = _verb(closest, "is", "are")
        yield (
            f"{_names(closest)} {verb} closest to the distribution that the votes were drawn from, which is known here "
            f"(KL {signed(least, False)} bits)."
        )


def by_conflict(results: Results) -> Iterator[str]:
    """Say how the gain in NLL goes with the conflict of voice and words, which is not tested."""
    levels = {name: of for name, of in results.strata.get("conflict", {}).items() if of.n >= SMALL}
    pair = next((c for c in results.versus.comparisons if c.variant == winners(results, PROPER)[0]), None)
    pair = pair or next((c for c in results.versus.comparisons if c.variant == results.series.shown), None)
    if pair is None or len(levels) < 2:
        return
    gains = [
        f"{signed(of.variants[pair.variant][PROPER].mean - of.variants[pair.reference][PROPER].mean)} on {level}"
        for level, of in levels.items()
    ]
    yield (
        f"By conflict of voice and words (not tested), {_names([pair.variant])} differs from "
        f"{_names([pair.reference])} in NLL by {', '.join(gains)}; below zero is better."
    )


def _claims(results: Results, found: Sequence[Comparison]) -> list[str]:
    """Return a claim for each pair of variants, those about the best variant and about all utterances first."""
    first = {*winners(results, PROPER), results.series.shown}
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for c in found:
        pairs.setdefault((c.variant, c.reference), []).append(c)
    order = sorted(pairs, key=lambda pair: (not first & {*pair}, all(c.scope != "all" for c in pairs[pair])))
    return [f"{_names(pair[:1])} is {_differs(results, pairs[pair], pair[1])}" for pair in order]


def _differs(results: Results, of: Sequence[Comparison], reference: str) -> str:
    """Say where a variant is better and where it is worse than a reference."""
    places: dict[tuple[bool, str], list[str]] = {}
    for c in of:
        better = (c.difference > 0) == results.metrics[c.metric].higher_is_better
        places.setdefault((better, results.metrics[c.metric].title), []).append(where(c))
    said = []
    for (better, title), there in sorted(places.items(), key=lambda item: not item[0][0]):
        said.append(f"{'better' if better else 'worse'} in {title} ({', '.join(there)})")
    first, *rest = said
    kind, _, what = first.partition(" ")
    return " and ".join([f"{kind} than {_names([reference])} {what}", *rest])


def _nowhere(results: Results, every: Sequence[Comparison]) -> str:
    """Say in which metrics and places there is no supported difference at all."""
    found = [c for c in every if c.supported]
    metrics = {c.metric for c in every} - {c.metric for c in found}
    titles = [results.metrics[key].title for key in results.metrics if key in metrics]
    with_some = {where(c) for c in found}
    places = list(dict.fromkeys(where(c) for c in every if where(c) not in with_some))
    parts = [f"in {_listed(titles, 'or', 9)}"] if titles else []
    return ", or ".join([*parts, *([_listed(places, "or", 9)] if places else [])])


def _why(results: Results) -> str:
    """Say what keeps every difference from being supported, if anything does."""
    if set(results.uncertainty.one_seed) >= set(results.summary):
        return ": every variant has one seed, so the variance over seeds is not known"
    return ": all utterances are of one speaker" if results.speakers < 2 else ""


def _names(variants: Iterable[str], join: str = "and") -> str:
    """List variants, each between backticks, which the page shows in bold."""
    every = [f"`{name}`" for name in variants]
    return _listed(every, join)


def _listed(names: Iterable[str], join: str = "and", most: int = ASKED) -> str:
    """Join names with commas and a last word; of more than `most`, the rest is a number."""
    every = list(names)
    shown = every if len(every) <= most else [*every[:most], f"{len(every) - most} more"]
    return f" {join} ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _verb(names: Iterable[str], one: str, several: str) -> str:
    return one if len(list(names)) == 1 else several

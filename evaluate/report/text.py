"""What the results are about and what they support, in sentences: under the tables, in the report, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from amber.errors import abbreviate, count

from ..experiment import UNKNOWN
from ..results import Comparison, Counted, Import, Results, Used
from ..statistics.standard_error import LEVEL
from ..strata import SMALL
from .paper import PAPER, PROTOCOL

MOST = 12  # findings shown on a terminal
POWER = (
    "What can't be shown: smaller true differences overall than these would be missed more often than one time in five "
    "(80 % power at the 5 % level, each tested alone; the correction for many tests asks for more):"
)


def caption(results: Results) -> list[str]:
    """Say what the table's figures are about, in lines."""
    dataset = results.dataset
    lines = [
        f"{dataset.name}: {count(results.utterances, 'test utterance')} of {count(results.speakers, 'speaker')}, "
        f"{count(len(results.folds), 'fold')}, {count(len(results.seeds), 'seed')}; "
        "mean ± standard deviation over seeds. "
        f"{results.one_hot:.0%} have all votes on one class, {count(results.ties, 'tie')}.",
        "NLL is in nats per vote. Brier corr. estimates the squared distance to the true distribution, the noise of "
        f"few votes taken out ({_left_out(results.corrected, 'fewer than two votes or split votes')}). Both are "
        "proper scores when the target is a few votes; BC, R², JSD, ACC, F1 and UAR are not: their best answer is "
        "sharper than the truth.",
        *_unknown_speakers(results),
        *_used(results),
        *_one_seed(results),
        *_scale(results),
        "prior and majority come from the training part of each fold.",
    ]
    if len(results.classes) == 2:
        lines.append("There is no R² over two classes: it would be 1 for any prediction.")
    if results.ensembles:
        lines.append("An ensemble is the mean of a variant's predictions over seeds: one model, which is not tested.")
    if results.ensemble_weights:
        largest = sorted(results.ensemble_weights.items(), key=lambda of: -of[1])[:MOST]
        said = ", ".join(f"{variant} {weight:.2f}" for variant, weight in largest)
        lines.append(f"The ensemble of variants pools all of them with weights from dev (means over folds: {said}).")
    lines += [_imported(results, one) for one in results.imports]
    if dataset.synthetic:
        lines.append("Synthetic data, made by amber: the figures say nothing about real speech.")
    return lines + protocol(results)


def protocol(results: Results) -> list[str]:
    """Say how our protocol relates to the paper's, where its figures stand beside ours."""
    if results.dataset.synthetic or results.dataset.name not in PAPER:
        return []
    labels = results.labels
    ours = (
        f"Ours: classes {', '.join(results.classes)}; utterances: {labels['subset']}; raters: {labels['raters']}; "
        f"votes outside the classes: {labels['other']}; splits: {results.splits['scheme']}; F1 weighted."
    )
    return [*PROTOCOL[results.dataset.name], ours]


def intervals(results: Results) -> str:
    """Say what the intervals are about."""
    unknown = "; of variants with one seed, over speakers alone" if results.uncertainty.one_seed else ""
    return f"95 % intervals, over {count(results.speakers, 'speaker')} and over seeds{unknown}:"


def findings(results: Results) -> list[str]:
    """Say what is supported, the distribution metrics first; all comparisons are in metrics.json."""
    said = supported(results)
    if not results.versus.comparisons:
        return ["Nothing to compare: there is neither `ce` nor `soft` beside another variant."]
    if not said:
        return [f"No difference between variants is supported ({rule(results)})."]
    more = [f"… and {len(said) - MOST} more, in metrics.json"] if len(said) > MOST else []
    return [f"Supported ({rule(results)}):", *(f"- {line}" for line in said[:MOST]), *more]


def rule(results: Results) -> str:
    """Say when a difference is supported."""
    return (
        f"p < {LEVEL:g} after Holm over all {len(results.versus.comparisons)} comparisons (metrics, pairs of variants, "
        f"overall and by ambiguity), which are one family; at least {SMALL} utterances and two seeds"
    )


def supported(results: Results) -> list[str]:
    """Say each supported difference.

    Such as "amber2 over soft on high ambiguity: +0.012 BC (better), 95 % CI 0.004 to 0.019, p = 0.003".
    """
    return [_sentence(results, c) for c in results.versus.comparisons if c.supported]


def not_supported(results: Results) -> list[str]:
    """Say where a difference is not supported, a line for each pair and metric."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for c in results.versus.comparisons:
        if not c.supported:
            few = f" (n = {c.n}, too few)" if c.n < SMALL else ""
            few += " (one seed)" if min(c.seeds.n) < 2 else ""
            found.setdefault((c.variant, c.reference, c.metric), []).append(where(c) + few)
    return [
        f"{variant} over {reference} in {results.metrics[metric].title}: {', '.join(places)}"
        for (variant, reference, metric), places in found.items()
    ]


def power(results: Results) -> list[str]:
    """Say for each pair how small a difference overall can be and still be found."""
    found: dict[tuple[str, str], list[Comparison]] = {}
    for c in results.versus.comparisons:
        if c.scope == "all" and c.detectable is not None:
            found.setdefault((c.variant, c.reference), []).append(c)
    return [_detectable(results, variant, reference, of) for (variant, reference), of in found.items()]


def where(c: Comparison) -> str:
    """Return the utterances that a comparison is about, in words."""
    return "overall" if c.scope == "all" else f"on {c.level} {c.scope}"


def signed(value: float, plus: bool = True) -> str:
    """Write a number with three decimals and a true minus sign."""
    return f"{round(value, 3) + 0.0:{'+' if plus else ''}.3f}".replace("-", "−")  # no minus before zero


def _sentence(results: Results, c: Comparison) -> str:
    metric = results.metrics[c.metric]
    better = (c.difference > 0) == metric.higher_is_better
    ci = f", 95 % CI {signed(c.ci[0], False)} to {signed(c.ci[1], False)}" if c.ci else ""
    p = "p < 0.001" if c.p_holm < 0.001 else f"p = {c.p_holm:.3f}"
    # Within a stratum that the same votes made, no score is proper.
    proper = ", a proper score" if metric.proper and c.scope == "all" else ""
    return (
        f"{c.variant} over {c.reference} {where(c)}: {signed(c.difference)} {metric.title} "
        f"({'better' if better else 'worse'}{proper}){ci}, {p}"
    )


def _detectable(results: Results, variant: str, reference: str, of: Sequence[Comparison]) -> str:
    """Say what differences between two variants can be found, given their comparisons on all utterances."""
    least = ", ".join(f"{results.metrics[c.metric].title} under {c.detectable:.3f}" for c in of)
    one, other = of[0].seeds.n
    seeds = "one seed" if min(one, other) < 2 else count(one, "seed") if one == other else f"{one} and {other} seeds"
    unknown = ", whose variance is not known" if min(one, other) < 2 else ""
    return (
        f"{variant} over {reference}: differences in {least} ({count(results.speakers, 'speaker')}, {seeds}{unknown})"
    )


def _unknown_speakers(results: Results) -> list[str]:
    if not results.unknown_speakers:
        return []
    return [
        f"The speakers of {count(results.unknown_speakers, 'utterance')} are not known: each is taken for a speaker of "
        f"its own, or dealt to one of {UNKNOWN} groups where there are more. If they share speakers, intervals are too "
        "narrow."
    ]


def _used(results: Results) -> list[str]:
    """Say which utterances variants use, where that is not all of the labelled ones."""
    if any(one.figures for one in results.used):
        own = "; ".join(_own(results, one) for one in results.used)
        return [
            "Variants were trained and tested on different utterances, each on all that have what it reads "
            f"(features.require: read). The figures and comparisons here are on the {results.utterances} that all of "
            f"them test. On all of its own: {own}."
        ]
    alike = len(results.used) == 1  # else variants trained by several commands
    return [
        f"{one.used} of {one.labelled} labelled utterances have {' and '.join(one.have)}: "
        f"{'every variant uses' if alike else f'{abbreviate(one.variants)} use'} these and no others."
        for one in results.used
        if one.used < one.labelled and one.have
    ]


def _own(results: Results, used: Used) -> str:
    """Say on how many utterances some variants are tested, and what each scores on them."""
    have = f"have {' and '.join(used.have)}" if used.have else "have labels"
    shown = [key for key in ("nll_per_vote", "bc") if key in results.metrics]
    of_each = ", ".join(
        f"{variant} " + " ".join(f"{results.metrics[key].title} {of[key].mean:.3f}" for key in shown if key in of)
        for variant, of in used.figures.items()
    )
    return f"{used.tested} test utterances ({used.used} of {used.labelled} {have}), {of_each}"


def _one_seed(results: Results) -> list[str]:
    alone = results.uncertainty.one_seed
    if not alone:
        return []
    return [
        f"{', '.join(alone)}: one seed. The variance over seeds is not known, so intervals and p-values know of "
        "speakers alone, and no difference is called supported."
    ]


def _imported(results: Results, one: Import) -> str:
    """Say where predictions come from that were not trained here, and what they leave out."""
    said = f"{one.name}: predictions read from {one.file}, {count(len(one.seeds), 'seed')}"
    if one.missing:
        every = results.utterances + len({uid for other in results.imports for uid in other.missing})
        said += f"; {len(one.missing)} of {every} test utterances have none and are left out for every variant"
    return said + (f"; {len(one.unknown)} ids are no test utterances." if one.unknown else ".")


def _scale(results: Results) -> list[str]:
    """Say what the oracle and raters against raters are, where there are any."""
    said = []
    if results.oracle.figures:
        said.append(
            "The oracle is what the true distributions would score against these votes, estimated from the votes "
            f"({_left_out(results.oracle, 'split votes')}); the best answer is what is best under a score that is "
            "not proper. A model above the oracle is sharper than the truth."
        )
    if results.raters.figures:
        said.append(
            "Raters against raters is what half of an utterance's votes score against the other half "
            f"({count(results.raters.n, 'utterance')}): few votes, and no bound for a model."
        )
    return said


def _left_out(of: Counted, why: str) -> str:
    return f"{count(of.n, 'utterance')}" + (f", {of.left_out} with {why} left out" if of.left_out else "")

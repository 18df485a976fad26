"""The results of an evaluation, which `metrics.json` holds: contract 4."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 6  # 5 had metrics without words and meaning, and no `nll_bits`

Interval = tuple[float, float]  # low and high end of a 95 % interval


class Model(BaseModel):
    """A part of the results. What was not set is not written."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Estimate(Model):
    """A metric: mean and standard deviation over seeds (None with one), and its interval (None with one speaker).

    Rank metrics have no `ci`; reference scores that do not depend on seeds have no `std`.
    """

    mean: float
    std: float | None = None
    ci: Interval | None = None


class Simulated(Model):
    """A simulated value and the standard error of the simulation."""

    mean: float
    error: float


Estimates = dict[str, Estimate]  # by metric


class Counted(Model):
    """How many utterances count, and how many are left out."""

    n: int
    left_out: int


class OracleScores(Counted):
    """What the true distributions would score by metric, and what the best answer would."""

    figures: dict[str, Simulated] = {}
    best: dict[str, Simulated] = {}


class RaterScores(Counted):
    """What half of an utterance's votes score against the other half, by metric."""

    figures: Estimates = {}


class ReferenceScores(Model):
    """What other answers score on the same utterances."""

    baselines: dict[str, Estimates] = {}
    oracle: OracleScores = OracleScores(n=0, left_out=0)
    raters: RaterScores = RaterScores(n=0, left_out=0)


class Stratum(ReferenceScores):
    """The utterances on one level of a stratum; `small` if they are too few to conclude anything."""

    n: int
    speakers: int
    small: bool
    variants: dict[str, Estimates] = {}


class Seeds(Model):
    """The seeds behind a comparison: their numbers, whether they are the same, and the standard error over them."""

    n: tuple[int, int]
    paired: bool
    se: float | None


class Effect(Model):
    """Cohen's d of paired differences: their mean over their standard deviation."""

    d_z: float


class Difference(Model):
    """The difference of a variant from a reference in one metric, and how certain it is."""

    difference: float
    ci: Interval | None
    p: float
    se: float | None
    detectable: float | None
    relative: float | None
    seeds: Seeds
    effect: Effect | None = None


class Comparison(Difference):
    """A difference, where it was found, and whether it is supported after the correction for all comparisons."""

    variant: str
    reference: str
    scope: str
    level: str
    metric: str
    n: int
    p_holm: float = 1.0
    supported: bool = False


class Versus(Model):
    """All comparisons, which are one family."""

    comparisons: list[Comparison]


class Bin(Model):
    """The utterances whose confidence is in one bin: how many, mean confidence, mean soft correctness."""

    n: int
    confidence: float
    correctness: float


class Calibration(Model):
    """Calibration errors, and the reliability diagram of predictions averaged over seeds."""

    ece: Estimate
    ece_classwise: Estimate
    bins: list[Bin]


class ConflictSeries(Model):
    """Mean error, 1 - BC, of variants on groups of `size` utterances in the order of their mean conflict."""

    size: int
    conflict: list[float]
    error: dict[str, list[float]]


class EntropyLevel(Model):
    """The mean entropies of raters and predictions on one level of ambiguity."""

    n: int
    raters: float
    predicted: float


class EntropySeries(Model):
    """How many utterances have which normalised rater entropy (rows) and predicted entropy (columns), from 0 to 1."""

    table: list[list[int]]
    levels: dict[str, EntropyLevel]


class LearningCurve(Model):
    """The NLL of a dev vote by step, averaged over runs; a run that has stopped keeps its last value."""

    runs: int
    steps: list[float]
    nll: list[float]


class Series(Model):
    """What charts draw beside estimates.

    `shown` is the variant that the report looks into, whose `entropy` and `confusion` (rows: the raters' class) these
    are. `expert_weights` are by variant, expert and ambiguity, `layer_weights` by variant, modality and layer.
    """

    shown: str
    conflict: ConflictSeries | None
    entropy: EntropySeries
    learning: dict[str, LearningCurve]
    expert_weights: dict[str, dict[str, dict[str, float]]]
    layer_weights: dict[str, dict[str, dict[str, float]]]
    confusion: list[list[int]]


class MetricFacts(Model):
    """What a reader must know of a metric."""

    title: str
    unit: str
    words: str
    meaning: str
    higher_is_better: bool
    proper: bool
    headline: bool
    compared: bool


class Dataset(Model):
    """The corpus."""

    name: str
    release: str
    synthetic: bool


class Uncertainty(Model):
    """How intervals were made, and the variants with one seed, whose variance over seeds is not known."""

    speakers: Literal["jackknife"] = "jackknife"
    seeds: Literal["added"] = "added"
    one_seed: list[str]


class Used(Model):
    """Which utterances variants use: those that have some modalities, `used` of `labelled` ones.

    Where variants use different ones, `tested` is how many of these they test, and `figures` are those of each variant
    on all of them.
    """

    variants: list[str]
    require: str
    have: list[str]
    labelled: int
    used: int
    tested: int | None = None
    figures: dict[str, Estimates] = {}


class Run(Model):
    """A run that was evaluated."""

    variant: str
    fold: int
    seed: int
    key: str
    folder: str


class Import(Model):
    """Predictions read from a table: its file and seeds, the test ids that it lacks, and its ids of no utterance."""

    name: str
    file: str
    sha256: str
    seeds: list[int]
    missing: list[str]
    unknown: list[str]


class Results(ReferenceScores):
    """The student on test; `labels` and `splits` are the runs' own configuration.

    `speakers` are the groups of utterances that intervals are over; `unknown_speakers` utterances are of no known one.
    """

    experiment: str
    dataset: Dataset
    labels: dict[str, Any]
    splits: dict[str, Any]
    classes: list[str]
    utterances: int
    speakers: int
    unknown_speakers: int = 0
    one_hot: float
    ties: int
    folds: list[int]
    seeds: list[int]
    metrics: dict[str, MetricFacts]
    uncertainty: Uncertainty
    corrected: Counted
    summary: dict[str, Estimates]
    ensembles: dict[str, Estimates]
    truth: dict[str, Estimates]
    strata: dict[str, dict[str, Stratum]]
    conflict_from: str | None
    versus: Versus
    calibration: dict[str, Calibration]
    series: Series
    used: list[Used] = []
    runs: list[Run]
    imports: list[Import] = []
    ensemble_weights: dict[str, float] = {}


class MetricsFile(Results):
    """`metrics.json`: results, what they were computed from (`key`), and the digests of the files beside them."""

    schema_version: Annotated[Literal[6], Field(alias="schema")]
    amber: str
    key: str
    files: dict[str, str]
    digest: str

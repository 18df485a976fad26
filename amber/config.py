"""Every configuration key, its default and its meaning; `config_file` reads them.

Every key has a default, so a file may hold one section or be left out. Unknown keys are refused with the nearest
known one. A key that is `None` here is decided by the dataset (see `amber.labels` and `amber.splits`) or by the
machine, and the decision is written into each run's `config.yaml`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from amber.names import is_folder_name


def _folder_name(name: str) -> str:
    if not is_folder_name(name):
        raise ValueError("must be the name of a folder, not a path")
    return name


def _not_empty(value: Any) -> Any:
    if value == []:
        raise ValueError("an empty list leaves nothing to do; leave the key out for its default")
    return value


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

Divergence = Literal["kl", "reverse-kl", "js", "bhattacharyya", "hellinger"]
Weighting = Literal["adaptive", "uniform", "confidence"]
Layer = Literal["last", "mean", "all", "learned"] | Annotated[int, Field(ge=0)]
LayerChoice = Layer | dict[Literal["speech", "text"], Layer]  # one choice for both modalities, or one for each
NotEmpty = AfterValidator(_not_empty)
FolderName = Annotated[str, AfterValidator(_folder_name)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
HeadName = Literal["speech", "text", "fusion"]
ModelName = Literal["heads", "pool", "cross-fit", "uniform", "prior", "logistic", "svm", "mlp", "ridge"]
Scheme = Literal[
    "official", "leave-one-session-out", "leave-one-speaker-out", "speaker-folds", "actor-ranges", "column"
]


NONE = "none"  # the encoder of a modality that an experiment has none of


class Section(BaseModel):
    """A part of the configuration: frozen, and strict about its keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class CorpusOptions(Section):
    """Which corpus, and where it is."""

    dataset: str = "demo"
    """The corpus: `demo`, `table`, `audformat`, `iemocap`, `msp-podcast` or `crema-d`."""
    name: FolderName | None = None
    """The corpus's name in the cache; the dataset's where absent."""
    root: str | None = None
    """The corpus's folder, or a table's file."""
    options: dict[str, Any] = {}
    """Options of one corpus, such as `condition: voice` (CREMA-D) or `test: test2` (MSP-Podcast)."""
    transcripts: Literal["human", "asr", "fill"] = "human"
    """Whose words are the text: the corpus's own; for every utterance those of a machine, by `amber transcribe`; or
    the machine's where the corpus has none."""


class TranscribeOptions(Section):
    """Which speech recogniser transcribes the corpus."""

    model: str | None = None
    """The recogniser, Whisper or a CTC model: a local folder or a model's name on the hub. When its transcripts are
    read (`corpus.transcripts`), its name, `name@revision` or the name of the table says which of several."""
    language: str | None = None
    """The language that a multilingual Whisper model is told to expect, such as `de`; null: it decides."""


class FeatureOptions(Section):
    """Which features are extracted into which cache, and how."""

    cache: str = "cache/"
    """The feature cache: a folder, or a bucket such as `s3://bucket/cache`."""
    speech: str = "logmel"
    """The speech encoder: `logmel`, `egemaps`, a local folder or a model's name on the hub; `none`: no speech."""
    encoders: list[str] = []
    """Speech encoders to compare, in place of `speech`: extracted in one pass over the audio; `amber run` then trains
    every variant on each of their layers and shows them in one report."""
    text: str = "minilm"
    """The text encoder: `minilm`, a local folder or a model's name on the hub; `none`: no text."""
    require: Literal["all", "read"] = "all"
    """Which utterances are used: those with `all` modalities that any of the experiment's variants reads, the same
    for every variant; or, for each variant by itself, those with what it `read`s."""
    level: Literal["pooled", "frames"] = "pooled"
    """One vector per utterance and layer, or one per frame."""
    layers: str = "all"
    """Layers to store: `all`, `last`, or numbers such as `6,12`."""
    pooling: Literal["mean", "last"] = "mean"
    """How pooled features are made: the mean of frames or tokens; `last`: of texts, the last token, for embedders that
    were trained so, such as Qwen3-Embedding. Of speech it is always the mean."""
    text_instruction: str = ""
    """What the text encoder reads before every text, such as "query: " for E5; it is not pooled."""
    text_context: Annotated[int, Field(ge=0, le=100)] = 0
    """Earlier turns of its dialogue (columns `dialogue` and `turn`) that the text encoder reads before an utterance, at
    most; they are not pooled."""
    dtype: Literal["float16", "float32"] = "float16"
    """The number format of stored features."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """The arithmetic of the encoder; `auto` is fp32 on a CPU, bf16 or fp16 on a GPU."""
    device: str = "auto"
    """Where the encoder runs: `auto`, `cpu`, `cuda`, `cuda:1`, …"""
    max_seconds: Annotated[float, Field(ge=1.0)] = 30.0
    """The longest window of audio that is encoded at once; longer recordings are cut into overlapping windows."""
    context: Literal["full", "trimmed"] = "full"
    """What a Whisper model hears: a recording with silence up to 30 s, as in its training, or with `margin`."""
    margin: NotNegative = 0.5
    """Seconds of silence that a Whisper model hears after a recording, where `context` is `trimmed`."""
    max_failures: Share = 0.01
    """The share of utterances that may fail before extraction gives up."""

    @property
    def heard_margin(self) -> float | None:
        """Return the margin that a Whisper model hears; None: silence up to 30 s."""
        return self.margin if self.context == "trimmed" else None


class LabelOptions(Section):
    """How votes become label distributions; `amber.labels` gives each option its meaning."""

    preset: str | None = None
    """A named set of classes: `iemocap-4`, `-5`, `-9` or `-aer`, `msp-4`, `-8` or `-9`, `crema-4` or `-6`."""
    classes: dict[str, list[str]] | None = None
    """The classes by name, each with the corpus's labels that belong to it; instead of a preset."""
    other: Literal["drop", "keep"] | None = None
    """What becomes of votes outside the classes: dropped, or kept as one more class, `other`."""
    raters: Literal["external", "all"] = "external"
    """Whose votes count: those of external raters, or the speakers' own reports too."""
    multiple: Literal["each", "repeat", "split", "first"] = "each"
    """How a rater who names several labels counts."""
    secondary: Share = 0.0
    """The weight of a secondary label."""
    min_votes: Annotated[int, Field(ge=0)] = 1
    """The fewest raters in the classes that an utterance must have."""
    subset: Literal["consensus", "any", "majority", "complete"] | None = None
    """Which utterances are used: the corpus's own label is in a class, any vote is, half of the votes are, or all."""
    smoothing: Share = 0.0
    """The share of a training target that is spread over the other classes."""


class SplitOptions(Section):
    """Which utterances are for training, for development and for testing; `amber.splits` describes the schemes."""

    scheme: Scheme | None = None
    """The scheme; where absent, the dataset's usual one."""
    k: Annotated[int, Field(ge=3)] = 5
    """The number of folds of `speaker-folds`."""
    column: str = "fold"
    """The column that the scheme `column` reads."""


class Objective(Section):
    """The training objective; `docs/paper.md` derives it and says which choices are the paper's."""

    target: Literal["hard", "soft", "dirichlet"] = "soft"
    """What is learned from the raters: the plurality class, the vote fractions, or the likelihood of the votes."""
    concentration: Positive = 10.0
    """Concentration of `dirichlet` targets, alpha = concentration * p: large means independent raters."""
    rater_dropout: Rate = 0.0
    """The share of votes that is dropped at random in each step."""
    divergence: Divergence = "kl"
    """The divergence D from target to prediction."""
    rater_weight: NotNegative = 1.0
    """Weight of the raters' distribution in what the student learns."""
    modality_weight: NotNegative = 0.5
    """Weight of the experts' guidance in what the student learns."""
    experts_weight: NotNegative = 1.0
    """Weight of what the experts learn from the raters."""
    weighting: Weighting = "adaptive"
    """How experts are weighted: by their divergence from the raters, alike, or by their entropy."""
    temperature: Positive = 0.5
    """Temperature of the experts' weights: small values rely on the best expert alone."""
    student: HeadName = "fusion"
    """The head that is the student; the others are its experts."""


class CandidateOptions(Section):
    """A kind of head that every run trains; a list of layers or penalties makes one candidate of each."""

    layer: Annotated[LayerChoice | list[LayerChoice], NotEmpty] = ["all", "last", "mean"]
    """Layers that the head reads: `all` side by side, `last`, `mean`, `learned` weights, or a number."""
    hidden: Annotated[int, Field(ge=0)] = 0
    """Hidden units; 0 is a linear head."""
    dropout: Rate = 0.5
    """Dropout of hidden units."""
    weight_decay: Annotated[NotNegative | list[NotNegative], NotEmpty] = [0.01, 0.1, 1.0]
    """L2 penalty, part of what is minimised."""
    mixture: bool = False
    """Whether a head that reads both modalities is a gated mixture of one head per modality."""
    reads: Literal["speech", "text"] | None = None
    """The only modality that a head reads that would read both."""
    ridge: bool = False
    """Whether a linear head is a ridge regression, in closed form, whose penalty leave-one-out predictions choose."""

    @model_validator(mode="after")
    def _ridge_is_linear(self) -> CandidateOptions:
        if self.ridge and (self.hidden or self.mixture):
            raise ValueError("a ridge regression has no hidden units and is no mixture")
        return self


LINEAR = CandidateOptions()
RIDGE = CandidateOptions(ridge=True)
MIXTURE = CandidateOptions(layer="all", weight_decay=[0.03, 0.1], mixture=True)
PERCEPTRON = CandidateOptions(layer="all", hidden=128, weight_decay=0.03)
ALONE = [CandidateOptions(layer="all", weight_decay=0.1, reads=modality) for modality in ("speech", "text")]


class Training(Section):
    """How one run trains. Every key here can differ between variants."""

    candidates: Annotated[list[CandidateOptions], NotEmpty] = [LINEAR, RIDGE, MIXTURE, PERCEPTRON, *ALONE]
    """The kinds of head that a run trains."""
    select: Literal["pool", "best"] = "pool"
    """What becomes of a run's candidates: pooled with weights from dev, or the best on dev alone."""
    layer: LayerChoice | None = None
    """The layers that all candidates read, in place of their own."""
    hidden: Annotated[int, Field(ge=0)] | None = None
    """Hidden units of all candidates, in place of their own."""
    dropout: Rate | None = None
    """Dropout of all candidates, in place of their own."""
    weight_decay: NotNegative | None = None
    """L2 penalty of all candidates, in place of their own."""
    modality_dropout: Rate = 0.0
    """The share of utterances of which, in a step, the fusion head sees one modality alone. Above 0, a model answers
    for utterances that have only one."""
    stop: Literal["nll", "bc", "accuracy", "loss"] = "nll"
    """The score on dev that decides which step is best."""
    calibrate: bool = True
    """Whether a temperature is fitted on dev; its predictions are stored as one more head."""
    lr: Positive = 2.0e-3
    """Learning rate."""
    warmup: Annotated[int, Field(ge=0)] = 50
    """Steps until the learning rate is reached."""
    averaging: NotNegative = 8.0
    """Exponent of the weight averaging: step t weighs about t ** averaging."""
    batch_size: Count | None = None
    """Utterances per batch; where absent, a fiftieth of the training part, from 32 to 256."""
    steps: Count = 10_000
    """The most steps."""
    epochs: Count | None = None
    """The most passes over the training part."""
    every: Count = 20
    """The fewest steps between two evaluations on dev."""
    patience: Count = 10
    """Evaluations without a gain before a candidate ends."""
    gain: NotNegative = 5.0e-4
    """How much better a score must be to count as a gain."""
    votes: Count | None = None
    """Raters whose votes are seen of each utterance in training and dev, drawn at random; null: all of them."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """The share of the utterances of training and dev that are seen, drawn at random."""
    draw: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Which draw of votes and utterances."""
    balance: Literal["corpus", "none"] = "none"
    """Whether each corpus of a joint training set (`--dataset A,B`) counts alike, in batches and on dev; `none`: each
    utterance does."""


class TrainOptions(Training):
    """Which runs there are, and how each trains."""

    variants: Annotated[list[str], NotEmpty] = ["ce", "soft", "amber2"]
    """Variants to train; `amber variants` lists them."""
    seeds: Annotated[list[Seed], NotEmpty] = [0, 1, 2]
    """Seeds of each variant and fold."""
    folds: Annotated[Literal["all"] | list[Count], NotEmpty] = "all"
    """Folds to train."""
    device: str = "auto"
    """Where training runs: `auto`, `cpu`, `cuda`, …"""
    memory: Positive = 8.0
    """GB that the features of an experiment may take in memory."""
    runs: str = "runs/"
    """The folder of all experiments."""


class VariantOptions(Section):
    """A named change of the objective or the training, on top of another variant."""

    base: str | None = None
    """The variant that is changed; where absent, the configuration's own objective and training."""
    model: ModelName | None = None
    """The model that learns: `heads` where absent, `pool`, `cross-fit`, or a baseline (train/rivals.py)."""
    objective: dict[str, Any] = {}
    """Keys of `objective` that define the variant."""
    train: dict[str, Any] = {}
    """Keys of `train` that define the variant."""


class EvaluateOptions(Section):
    """How results are evaluated."""

    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Draws from the oracle's posterior."""
    seed: Seed = 0
    """Seed of these draws."""


class Config(Section):
    """The whole pipeline."""

    experiment: FolderName | None = None
    """The experiment's name, a folder below `train.runs`; the dataset's name where absent."""
    corpus: CorpusOptions = CorpusOptions()
    transcribe: TranscribeOptions = TranscribeOptions()
    features: FeatureOptions = FeatureOptions()
    labels: LabelOptions = LabelOptions()
    splits: SplitOptions = SplitOptions()
    train: TrainOptions = TrainOptions()
    objective: Objective = Objective()
    variants: dict[str, VariantOptions] = {}
    """Variants of your own, by name."""
    transfer: dict[FolderName, LabelOptions] = {}
    """Other datasets of the cache that the models are tested on, each with the labels that make its classes the same
    (docs/training.md), such as `crema-d: {preset: crema-4}`."""
    grid: dict[str, Annotated[list[Any], NotEmpty]] = {}
    """Values to try of keys of `objective` and `train`, such as `objective.modality_weight: [0.25, 0.5]`."""
    evaluate: EvaluateOptions = EvaluateOptions()

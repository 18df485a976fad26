"""Every configuration key, its default and its meaning; YAML files and `--set` overrides read into them.

Every key has a default, so a file may hold one section or be left out. Unknown keys are refused with the nearest
known one. A key that is `None` here is decided by the dataset (see `amber.labels` and `amber.splits`) or by the
machine, and the decision is written into each run's `config.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from amber import document
from amber.errors import UserError, nearest, printable
from amber.names import is_folder_name

M = TypeVar("M", bound=BaseModel)


def _folder_name(name: str) -> str:
    if not is_folder_name(name):
        raise ValueError("must be the name of a folder, not a path")
    return name


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

Divergence = Literal["kl", "reverse-kl", "js", "bhattacharyya", "hellinger"]
Weighting = Literal["adaptive", "uniform", "confidence"]
Layer = Literal["last", "mean", "all", "learned"] | Annotated[int, Field(ge=0)]
LayerChoice = Layer | dict[Literal["speech", "text"], Layer]  # one choice for both modalities, or one for each
FolderName = Annotated[str, AfterValidator(_folder_name)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
HeadName = Literal["speech", "text", "fusion"]
ModelName = Literal["heads", "pool", "cross-fit", "uniform", "prior", "logistic", "svm", "mlp", "ridge"]
Scheme = Literal[
    "official", "leave-one-session-out", "leave-one-speaker-out", "speaker-folds", "actor-ranges", "column"
]


# Keys of the objective in earlier versions, for the hint at today's.
_RENAMED = {
    **{name: f"{name}_weight" for name in ("rater", "modality", "experts")},
    "precision": "concentration",
}


class Section(BaseModel):
    """A part of the configuration: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class CorpusOptions(Section):
    """Which corpus, and where it lies."""

    dataset: str = "demo"
    name: FolderName | None = None  # the corpus's folder in the cache; the dataset where absent
    root: str | None = None
    options: dict[str, Any] = {}


class FeatureOptions(Section):
    """Which features are extracted into which cache, and how."""

    cache: str = "cache/"
    speech: str = "logmel"
    text: str = "minilm"
    level: Literal["pooled", "frames"] = "pooled"
    layers: str = "all"
    pooling: Literal["mean"] = "mean"
    dtype: Literal["float16", "float32"] = "float16"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: str = "auto"
    max_seconds: Annotated[float, Field(ge=1.0)] = 30.0
    max_failures: Share = 0.01


class LabelOptions(Section):
    """How votes become label distributions; `amber.labels` gives each option its meaning."""

    preset: str | None = None
    classes: dict[str, list[str]] | None = None
    other: Literal["drop", "keep"] | None = None
    raters: Literal["external", "all"] = "external"
    multiple: Literal["each", "repeat", "split", "first"] = "each"
    secondary: Share = 0.0
    min_votes: Annotated[int, Field(ge=0)] = 1
    subset: Literal["consensus", "any", "majority"] | None = None
    smoothing: Share = 0.0


class SplitOptions(Section):
    """Which utterances train, steer and test; `amber.splits` gives each scheme its meaning."""

    scheme: Scheme | None = None
    k: Annotated[int, Field(ge=3)] = 5
    column: str = "fold"


class Objective(Section):
    """The training objective; `docs/paper.md` derives it and says which choices are the paper's."""

    target: Literal["hard", "soft", "dirichlet"] = "soft"
    concentration: Positive = 10.0  # of Dirichlet targets: alpha = concentration * p
    rater_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # share of votes dropped at random, each step anew
    divergence: Divergence = "kl"
    rater_weight: NotNegative = 1.0  # of the raters' distribution, for the student
    modality_weight: NotNegative = 0.5  # of the guidance by experts, for the student
    experts_weight: NotNegative = 1.0  # of the raters' distribution, for the experts
    weighting: Weighting = "adaptive"
    temperature: Positive = 0.5
    student: HeadName = "fusion"


class CandidateOptions(Section):
    """A kind of head that every run trains; a list of layers or penalties is one candidate for each."""

    layer: LayerChoice | list[LayerChoice] = ["all", "last", "mean"]
    hidden: Annotated[int, Field(ge=0)] = 0  # hidden units; 0: a linear head
    dropout: Rate = 0.5  # of hidden units
    weight_decay: NotNegative | list[NotNegative] = [0.01, 0.1, 1.0]  # an L2 penalty, part of what is minimised
    mixture: bool = False  # of a head for each modality, with weights by utterance, in place of one that reads both


LINEAR = CandidateOptions()
MIXTURE = CandidateOptions(layer="all", weight_decay=[0.03, 0.1], mixture=True)
PERCEPTRON = CandidateOptions(layer="all", hidden=128, weight_decay=0.03)


class Training(Section):
    """How one run trains. Everything here can differ between variants."""

    candidates: Annotated[list[CandidateOptions], Field(min_length=1)] = [LINEAR, MIXTURE, PERCEPTRON]
    select: Literal["pool", "best"] = "pool"  # a run's candidates: pooled with weights from dev, or the best on dev
    # Where one of these four is given, all candidates have this value of it.
    layer: LayerChoice | None = None
    hidden: Annotated[int, Field(ge=0)] | None = None
    dropout: Rate | None = None
    weight_decay: NotNegative | None = None
    stop: Literal["nll", "bc", "accuracy", "loss"] = "nll"  # the score on dev by which a step is the best
    calibrate: bool = True  # fit a temperature on dev, and write its predictions as one more head
    lr: Positive = 2.0e-3
    warmup: Annotated[int, Field(ge=0)] = 50  # steps until the learning rate is reached
    averaging: NotNegative = 8.0  # what is scored is a mean of the weights so far, step t weighing about t ** averaging
    batch_size: Count | None = None  # a fiftieth of the training part, from 32 to 256
    steps: Count = 10_000  # at most
    epochs: Count | None = None  # passes over the training part, at most
    every: Count = 20  # steps between two looks at dev, at least
    patience: Count = 10  # looks at dev without a better one
    gain: NotNegative = 5.0e-4  # by which a score has to be better to be worth waiting for


class TrainOptions(Training):
    """Which runs there are, beside how one trains."""

    variants: list[str] = ["ce", "soft", "amber2"]
    seeds: list[Seed] = [0, 1, 2]
    folds: Literal["all"] | list[Count] = "all"
    device: str = "auto"
    memory: Positive = 8.0  # GB that the features of an experiment may take
    runs: str = "runs/"


class VariantOptions(Section):
    """A named change of the objective or the training, on top of another variant."""

    base: str | None = None
    model: ModelName | None = None  # heads, unless it is one of their rivals (train/rivals.py)
    objective: dict[str, Any] = {}
    train: dict[str, Any] = {}


class EvaluateOptions(Section):
    """How results are judged."""

    resamples: Annotated[int, Field(ge=100)] = 10_000
    seed: Seed = 0


class Config(Section):
    """The whole pipeline."""

    experiment: FolderName | None = None
    corpus: CorpusOptions = CorpusOptions()
    features: FeatureOptions = FeatureOptions()
    labels: LabelOptions = LabelOptions()
    splits: SplitOptions = SplitOptions()
    train: TrainOptions = TrainOptions()
    objective: Objective = Objective()
    variants: dict[str, VariantOptions] = {}
    grid: dict[str, list[Any]] = {}
    evaluate: EvaluateOptions = EvaluateOptions()


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path
        A YAML file; None for the defaults.
    overrides
        `a.b=c` strings, applied in order; values are YAML.

    Raises
    ------
    UserError
        For a file that can't be read, an unknown key (with the nearest known one) or a value that does not fit.

    """
    data = _read_yaml(path) if path else {}
    for override in overrides:
        _set(data, override)
    return validated(Config, data, where=str(path) if path else "--set")


def validated(model: type[M], data: Any, where: str) -> M:
    """Validate `data` as `model`; say the first mistake as a `UserError` that starts with `where`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(model, error)}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            data = document.parse(file.read(document.LARGEST + 1))
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except document.DocumentError as error:
        raise UserError(f"{path}: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected sections such as `train:`, found {type(data).__name__}")
    return data


def _set(data: dict[str, Any], override: str) -> None:
    key, sign, value = override.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts):
        raise UserError(f"--set {_short(override)}: write it as section.key=value")
    for part in parts[:-1]:
        below = data.setdefault(part, {})
        if not isinstance(below, dict):
            raise UserError(f"--set {_short(override)}: {part!r} is a value, not a section")
        data = below
    try:
        data[parts[-1]] = document.parse(value)
    except document.DocumentError as error:
        raise UserError(f"--set {_short(override)}: {error}") from None


def _short(text: str) -> str:
    """Return a text of the user's in one line that is not too long."""
    line = " ".join(text[:1000].split())
    return printable(line if len(line) <= 120 else f"{line[:117]}…")


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    errors = error.errors()
    # A typo is the likelier cause than what follows from it.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(errors) - 1} more mistakes)" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        known, key = _keys(model, first["loc"][:-1]), str(first["loc"][-1])
        return f"unknown key {path!r}{nearest(_RENAMED.get(key, key), known) or '; known: ' + ', '.join(known)}{more}"
    return f"{path or 'the file'}: {first['msg']}, got {_short(repr(first['input']))}{more}"


def _keys(model: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    for part in location:
        known = model.model_fields.get(str(part))
        if known is None:  # a name of the user's own, such as a variant's
            continue
        candidates = [known.annotation, *get_args(known.annotation)]
        sections = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        model = sections[0] if sections else model
    return list(model.model_fields)

"""The extraction stage: corpus -> `utterances.parquet` and a feature set per modality, unit by unit.

Run again, it does exactly the units that are not committed yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from amber import corpus as contract
from amber.cluster import Cluster
from amber.config import NONE, Config
from amber.console import Console
from amber.corpus import MODALITIES, Corpus, Modality
from amber.errors import UserError, abbreviate, count
from amber.features.spec import FeatureSpec
from amber.features.store import FeatureStore
from amber.location import locate, reaching
from amber.machine import Device, choose
from amber.names import is_folder_name

from . import audio, corpora, dialogue, words
from .encoders import EncoderInfo, UnreachableError
from .engine import EncoderReference
from .sets import Outcome, Work, extract, extract_together

__all__ = ["Outcome", "Work", "extract", "load_corpus", "plan", "read_corpus", "run", "survey"]


def load_corpus(config: Config) -> corpora.Loaded:
    """Read the corpus that a configuration names, with the words that it asks for."""
    loaded = read_corpus(config)
    loaded = words.chosen(loaded, config, locate(config.features.cache) / loaded.corpus.name)
    if config.features.text_context:
        dialogue.contexts(loaded.corpus, config.features.text_context)  # is refused here, if it has no dialogues
        dialogue.account(loaded.corpus, loaded.ledger)
    return loaded


def read_corpus(config: Config) -> corpora.Loaded:
    """Read the corpus that a configuration names, with its own words."""
    options = config.corpus
    name = options.name or options.dataset
    if not is_folder_name(name):
        raise UserError(f"corpus.name: {name!r} can't be the name of a folder in the cache")
    source = corpora.Source(
        dataset=options.dataset,
        name=name,
        cache=locate(config.features.cache) / name,
        root=Path(options.root) if options.root else None,
        options=options.options,
    )
    return corpora.load(source)


def survey(config: Config, corpus: Corpus, modalities: Sequence[Modality] = MODALITIES) -> list[Work]:
    """Find encoder, device and spec for each modality of the corpus, and for each encoder of `features.encoders`."""
    works = [_work(reference, config, corpus) for reference in _references(config, corpus, modalities)]
    twice = [name for name, times in Counter(work.spec.name for work in works).items() if times > 1]
    if twice:
        raise UserError(f"features.encoders: {abbreviate(twice)} would be extracted twice")
    return works


def _references(config: Config, corpus: Corpus, modalities: Sequence[Modality]) -> list[EncoderReference]:
    """Return which encoders a configuration means for the modalities that a corpus has."""
    options = config.features
    names = {"speech": options.encoders or [options.speech], "text": [options.text]}
    if all(asked == [NONE] for asked in names.values()):
        raise UserError("features.speech and features.text are both none: there is nothing to extract")
    there = [modality for modality in modalities if names[modality] != [NONE] and _has(corpus, modality)]
    device = choose(options.device, options.precision) if there else None
    return [
        EncoderReference(name, modality, options.layers, options.max_seconds, options.heard_margin, device)
        for modality in there
        for name in names[modality]
        if device
    ]


def _work(reference: EncoderReference, config: Config, corpus: Corpus) -> Work:
    """Find an encoder and the spec of its features; UserError if it is not there or can't do what is asked."""
    info, name = reference.find(), reference.encoder
    if config.features.level == "frames" and not info.has_frames:
        raise UserError(f"--level frames: {name} has one vector per utterance, no frames; choose another encoder")
    _check_text_options(config, info)
    return Work(info, reference, _spec(config, corpus, info, reference.device), config.features.max_failures)


def _has(corpus: Corpus, modality: Modality) -> bool:
    return any(value is not None for value in corpus.column("audio" if modality == "speech" else "text"))


def _idle_encoders(config: Config, corpus: Corpus) -> list[str]:
    """Say which encoder has nothing to encode."""
    options = config.features
    asked: dict[Modality, str] = {"speech": ",".join(options.encoders) or options.speech, "text": options.text}
    what = {"speech": "a recording", "text": "a text"}
    return [
        f"{corpus.name}: no utterance has {what[modality]}, so --{modality} {name} does nothing"
        for modality, name in asked.items()
        if name != NONE and not _has(corpus, modality)
    ]


def run(
    config: Config,
    console: Console,
    cluster: Cluster | None = None,
    retry_failed: bool = False,
    check: bool = False,
) -> list[Outcome]:
    """Extract everything that a configuration asks for and the cache lacks.

    Parameters
    ----------
    config
        The configuration.
    console
        Shows progress and remarks.
    cluster
        Where the work is done; in this process if None.
    retry_failed
        Whether units with failed utterances are done again.
    check
        Whether recordings are compared by their content, not only by size and time of modification.

    Raises
    ------
    UserError
        For mistakes in the configuration or the corpus, before anything is written.
    RunFailure
        If more utterances fail than `features.max_failures` allows.

    """
    loaded = load_corpus(config)
    corpus, folder = loaded.corpus, locate(config.features.cache) / loaded.corpus.name
    work = survey(config, corpus)
    for line in [*(f"{corpus.name}: {line}" for line in loaded.ledger.lines()), *_idle_encoders(config, corpus)]:
        console.say(line)
    with reaching(folder):
        _write_corpus(corpus, folder, console)
        loaded.ledger.write(folder)
        if loaded.prepare:
            loaded.prepare(console)
        where, speech = cluster or Cluster(), [part for part in work if part.info.modality == "speech"]
        outcomes = []
        if not where and len(speech) > 1:  # workers of a cluster can't share what they decode
            outcomes = extract_together(speech, corpus, folder, console, retry_failed, check)
            work = work[len(speech) :]
        outcomes += [extract(part, corpus, folder, console, where, retry_failed, check) for part in work]
    for outcome in outcomes:
        console.say(outcome.line())
        if outcome.errors:
            listed = "; ".join(f"{uid}: {reason}" for uid, reason in list(outcome.errors.items())[:5])
            console.warn(f"{len(outcome.errors)} failed in {outcome.modality}: {listed}")
    return outcomes


def plan(config: Config) -> list[str]:
    """Return what `run` would do, in lines: utterances, hours, bytes, and what is cached already."""
    loaded = load_corpus(config)
    corpus, folder = loaded.corpus, locate(config.features.cache) / loaded.corpus.name
    duration = audio.hours(corpus.root, [path for path in corpus.column("audio") if path])
    hours = f"about {duration:.2f} h of audio" if duration is not None else "audio not there yet"
    lines = [f"extract {corpus.name}: {count(len(corpus), 'utterance')}, {hours}"]
    for reference in _references(config, corpus, MODALITIES):
        try:
            part = _work(reference, config, corpus)
        except UnreachableError as error:
            reason = str(error).splitlines()[1]
            lines.append(f"  {reference.modality}: {reference.encoder}, not checked: it is not here ({reason})")
            continue
        lines.append(_planned(part, folder))
    return [*lines, *(f"  {line}" for line in _idle_encoders(config, corpus))]


def _planned(part: Work, folder: Path) -> str:
    """Return what is known of an encoder's feature set in one line: its shape, its bytes, and whether it is there."""
    spec, layers = part.spec, count(len(part.spec.layers), "layer")
    size = f"{spec.size * spec.vector_bytes / 1e6:.1f} MB" if spec.level == "pooled" else ""
    size = size or f"{spec.vector_bytes / 1e3:.1f} kB per frame"
    done = _committed(folder / spec.name)
    state = "cached" if done == spec.units else "begun" if done else "new"
    return (
        f"  {spec.modality}: {part.info.name}, {layers} of {spec.dim}, {spec.level}, {size}, "
        f"{part.device.precision} on {part.device.name}: {state}, {done} of {spec.units} units cached"
    )


def _committed(location: Path) -> int:
    return int(FeatureStore.open(location).committed().sum()) if location.exists() else 0


def _check_text_options(config: Config, info: EncoderInfo) -> None:
    """Refuse options of texts for an encoder that can't follow them."""
    options = config.features
    asked = {"pooling=last": options.pooling == "last", "text_instruction": bool(options.text_instruction)}
    asked["text_context"] = options.text_context > 0
    wanted = [name for name, is_asked in asked.items() if is_asked]
    if info.modality == "text" and wanted and not info.has_tokens:
        raise UserError(f"features.{wanted[0]}: {info.name} is no model of tokens; choose another text encoder")


def _spec(config: Config, corpus: Corpus, info: EncoderInfo, device: Device) -> FeatureSpec:
    is_text = info.modality == "text"
    pooling = config.features.pooling if is_text else "mean"
    return FeatureSpec(
        corpus=corpus.name,
        release=corpus.release,
        inputs=corpus.input_hash(info.modality, in_dialogue=is_text and config.features.text_context > 0),
        size=len(corpus),
        modality=info.modality,
        encoder=info.name,
        revision=info.revision,
        layers=info.layers,
        dim=info.dim,
        level=config.features.level,
        pooling=pooling if config.features.level == "pooled" else "none",
        sample_rate=info.sample_rate,
        max_seconds=info.max_seconds,
        dtype=config.features.dtype,
        precision=device.precision,
        hop=info.hop if config.features.level == "frames" else None,
        text_instruction=config.features.text_instruction if is_text else "",
        text_context=config.features.text_context if is_text else 0,
        margin=info.margin,
    )


def _write_corpus(corpus: Corpus, folder: Path, console: Console) -> None:
    path = folder / contract.FILE
    former = _former(path, console)
    if corpus.is_at(path, former):
        return
    if former and not former.same_as(corpus):
        gone, new = set(former.ids) - set(corpus.ids), set(corpus.ids) - set(former.ids)
        console.say(f"{corpus.name}: the utterances changed ({len(new)} new, {len(gone)} gone); replacing {path}")
    corpus.write(path)


def _former(path: Path, console: Console) -> Corpus | None:
    """Return the corpus that an earlier run wrote, or None if this version can't read it."""
    if not path.is_file():
        return None
    try:
        return Corpus.read(path)
    except UserError as error:
        console.warn(f"{str(error).splitlines()[0]}\n{path} is written anew")
        return None

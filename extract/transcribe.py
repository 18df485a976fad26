"""The transcription stage: recordings of a corpus -> a table of machine transcripts, unit by unit.

Run again, it does exactly the units that are not done yet, and those whose recordings were replaced since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amber.audio import SAMPLE_RATE, AudioError
from amber.config import Config
from amber.console import Advance, Console
from amber.corpus import Corpus
from amber.errors import RunFailure, UserError, abbreviate, count
from amber.features import recordings
from amber.features.recordings import stamp
from amber.location import locate, reaching
from amber.lock import held
from amber.machine import Device, choose

from . import recognisers, stage, words
from .engine import READERS
from .inputs import Recording, spans
from .recognisers import Recogniser, RecogniserInfo
from .transcripts import STATUS, Transcript, TranscriptSpec, TranscriptStore
from .units import Failure, each, named, read_input
from .word_error import WordErrors, word_errors


@dataclass(frozen=True)
class Outcome:
    """What a table of transcripts holds: counts of utterances by status, why some failed, and the word error rate."""

    location: Path
    origin: str
    counts: dict[str, int]
    errors: dict[str, str]
    wer: WordErrors | None  # where the corpus has human transcripts
    units: int
    units_done_now: int

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return {**self.__dict__, "location": str(self.location), "wer": self.wer.as_json() if self.wer else None}

    def lines(self) -> list[str]:
        """Return the outcome in lines."""
        counts = ", ".join(f"{n} {what}" for what, n in self.counts.items() if n)
        lines = [f"{self.location}: {counts} ({self.units_done_now} of {count(self.units, 'unit')} done now)"]
        return [*lines, self.wer.line()] if self.wer else lines


@dataclass(frozen=True)
class Work:
    """A transcription, determined before anything is recognised."""

    corpus: Corpus
    info: RecogniserInfo
    device: Device
    spec: TranscriptSpec
    max_failures: float  # share of the utterances


def survey(config: Config, corpus: Corpus) -> Work:
    """Find recogniser, device and spec.

    Raises
    ------
    UserError
        If no model is named, there is no such recogniser, or the corpus has no recordings.

    """
    if not config.transcribe.model:
        raise UserError("amber transcribe: say which recogniser with --model (a folder or a hub name)")
    if not any(corpus.column("audio")):
        raise UserError(f"{corpus.name}: has no recordings to transcribe")
    device = choose(config.features.device, config.features.precision)
    info = recognisers.find(config.transcribe.model, config.transcribe.language, config.features.max_seconds)
    spec = TranscriptSpec(
        corpus=corpus.name,
        release=corpus.release,
        inputs=corpus.input_hash("speech"),
        size=len(corpus),
        model=info.name,
        revision=info.revision,
        language=info.language,
        max_seconds=info.max_seconds,
        precision=device.precision,
    )
    return Work(corpus, info, device, spec, config.features.max_failures)


def run(config: Config, console: Console, retry_failed: bool = False) -> Outcome:
    """Transcribe every recording that is not transcribed yet.

    Parameters
    ----------
    config
        The configuration.
    console
        Shows progress and remarks.
    retry_failed
        Whether units with failed utterances are done again.

    Raises
    ------
    UserError
        For mistakes in the configuration or the corpus, before anything is written.
    RunFailure
        If more utterances fail than `features.max_failures` allows.

    """
    loaded = stage.read_corpus(config)
    work, folder = survey(config, loaded.corpus), locate(config.features.cache) / loaded.corpus.name
    with reaching(folder), held(folder, work.spec.name, "it transcribes", "wait until it is done"):
        if loaded.prepare:
            loaded.prepare(console)
        store = TranscriptStore(folder, work.spec, loaded.corpus.ids)
        missing = _missing(store, loaded.corpus, console, retry_failed)
        if missing:
            _transcribe(work, store, missing, console)
        store.finish()
    outcome = _outcome(store, loaded.corpus, len(missing))
    if outcome.errors:
        listed = "; ".join(f"{uid}: {reason}" for uid, reason in list(outcome.errors.items())[:5])
        console.warn(f"{len(outcome.errors)} failed: {listed}")
    return outcome


def is_due(config: Config) -> bool:
    """Return whether a pipeline asks for machine words by a recogniser, and they are not there in full."""
    if config.corpus.transcripts == words.HUMAN:
        return False
    corpus = stage.read_corpus(config).corpus
    return words.wanting(corpus, config, locate(config.features.cache) / corpus.name)


def plan(config: Config) -> list[str]:
    """Return what `run` would do, in lines."""
    corpus = stage.read_corpus(config).corpus
    work = survey(config, corpus)
    store = TranscriptStore(locate(config.features.cache) / corpus.name, work.spec, corpus.ids)
    done = work.spec.units - len(store.missing())
    there = sum(path is not None for path in corpus.column("audio"))
    of, units = count(len(corpus), "utterance"), count(work.spec.units, "unit")
    return [
        f"transcribe {corpus.name}: {count(there, 'recording')} of {of} by {work.spec.origin}",
        f"  {work.device.precision} on {work.device.name}: {done} of {units} done, to {store.location}",
    ]


def _missing(store: TranscriptStore, corpus: Corpus, console: Console, retry_failed: bool) -> list[int]:
    """Return the units to do: missing, damaged, of replaced recordings and, if asked, with failures."""
    for trouble in store.troubles:
        console.warn(f"{trouble}; doing it again")
    done = store.done()
    if done:
        then = np.array([[one.size, one.modified, 0] for one in done.values()], dtype=np.int64)
        places = np.array(list(done), dtype=np.int64)
        now = recordings.look(corpus)
        rows = places[recordings.changed(then, now[places])].tolist()
        if rows:
            names = abbreviate((corpus.column("audio")[row] for row in rows), 3)
            units = store.take_back(rows)
            what = f"{count(len(rows), 'recording')} changed since they were transcribed"
            console.warn(f"{what}: {names}; doing {count(len(units), 'unit')} again")
    if retry_failed:
        store.take_back([row for row, one in done.items() if one.status == "failed"])
    return store.missing()


def _transcribe(work: Work, store: TranscriptStore, missing: Sequence[int], console: Console) -> None:
    """Do the missing units; RunFailure if more utterances fail than is allowed."""
    device, size = work.device, work.spec.size
    console.say(f"{work.spec.origin}, {device.precision} on {device.name} ({device.reason})")
    inputs = spans(work.corpus, SAMPLE_RATE)
    recogniser = work.info.load(device)
    allowed, failed = max(1, int(work.max_failures * size)), len(store.errors())
    before = size - sum(len(store.rows(number)) for number in missing)
    with console.progress("transcribe", size, before) as advance, ThreadPoolExecutor(READERS) as readers:
        for number in missing:
            rows = store.rows(number)
            unit = _unit(work, recogniser, inputs[rows.start : rows.stop], readers, advance)
            store.commit(number, unit)
            failed += sum(one.status == "failed" for one in unit)
            if failed > allowed:
                raise _too_many(store, work.max_failures)


def _unit(
    work: Work,
    recogniser: Recogniser,
    inputs: Sequence[Recording | None],
    readers: ThreadPoolExecutor,
    advance: Advance,
) -> list[Transcript]:
    """Transcribe the recordings of one unit."""
    there = {i: item for i, item in enumerate(inputs) if item is not None}
    stamps = {i: stamp(item.path)[:2] for i, item in there.items()}  # before it is read: a later change is noticed
    found = [Transcript() for _ in inputs]

    def record(i: int, outcome: Any) -> None:
        if isinstance(outcome, Failure):
            found[i] = Transcript(None, "failed", outcome.reason, *stamps[i])
        else:
            found[i] = Transcript(outcome.text, "truncated" if outcome.truncated else "ok", "", *stamps[i])

    lengths = dict(zip(there, readers.map(_length, there.values()), strict=True))
    for i, length in lengths.items():
        if isinstance(length, Failure):
            record(i, length)
    places = [i for i, length in lengths.items() if not isinstance(length, Failure)]
    advance(len(inputs) - len(places))
    for batch in work.info.plan(np.array([lengths[i] for i in places], dtype=np.int64), work.device):
        chosen = [places[place] for place in batch]
        signals = list(readers.map(read_input, [there[i] for i in chosen]))
        for i, outcome in zip(chosen, _recognise(recogniser, signals, work.spec), strict=True):
            record(i, outcome)
        advance(len(chosen))
    return found


def _recognise(recogniser: Recogniser, signals: Sequence[Any], spec: TranscriptSpec) -> list[Any]:
    """Return the words of each signal (T,), or a `Failure`, as which a signal may come.

    Raises
    ------
    RunFailure
        If the model fails on every one of several signals: then the model is at fault.

    """
    outcomes = list(signals)
    read = [place for place, signal in enumerate(signals) if not isinstance(signal, Failure)]
    if read:
        heard = each(recogniser.recognise, [signals[place] for place in read], "the recogniser")
        if len(heard) > 1 and all(isinstance(one, Failure) for one in heard):
            raise RunFailure(f"{spec.model}: {heard[0].reason}, for every utterance of a batch")
        for place, one in zip(read, heard, strict=True):
            outcomes[place] = one
    return outcomes


def _length(item: Recording) -> Any:
    try:
        return item.length()
    except AudioError as error:
        return named(item, error)


def _outcome(store: TranscriptStore, corpus: Corpus, done_now: int) -> Outcome:
    done = store.done()
    counts = Counter(one.status for one in done.values())
    human = corpus.column("text")
    pairs = [(human[row], one.text) for row, one in done.items() if human[row] is not None and one.text is not None]
    return Outcome(
        location=store.location,
        origin=store.spec.origin,
        counts={status: counts[status] for status in STATUS},
        errors=store.errors(),
        wer=word_errors(pairs) if pairs else None,
        units=store.spec.units,
        units_done_now=done_now,
    )


def _too_many(store: TranscriptStore, share: float) -> RunFailure:
    errors = store.errors()
    first = abbreviate((f"{uid} ({reason})" for uid, reason in errors.items()), 3)
    return RunFailure(
        f"{len(errors)} utterances failed, more than --max-failures {share:g} allows; what is done is kept\n"
        f"first: {first}"
    )

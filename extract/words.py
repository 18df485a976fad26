"""Whose words a corpus's text is: the corpus's own, or those of `amber transcribe` (`corpus.transcripts`).

Where machine words are used, the column `text_origin` says of each text whose it is, `human` or
`asr:<model>@<revision>`, and `text_human` keeps the corpus's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from amber.config import Config
from amber.corpus import TEXT_HUMAN, TEXT_ORIGIN, Corpus
from amber.errors import UserError, abbreviate
from amber.features import recordings
from amber.names import model_name

from . import transcripts
from .corpora import Loaded
from .transcript_tables import texts
from .transcripts import Transcript, TranscriptSpec

HUMAN = "human"


def chosen(loaded: Loaded, config: Config, folder: Path) -> Loaded:
    """Return a corpus with the words that `corpus.transcripts` asks for; `folder` is the dataset's in the cache.

    Raises
    ------
    UserError
        If there are no machine transcripts of its recordings, or several; or the corpus has columns of these names.

    """
    wanted, corpus = config.corpus.transcripts, loaded.corpus
    if wanted == "human":
        return loaded
    taken = [name for name in (TEXT_ORIGIN, TEXT_HUMAN) if name in corpus.columns()]
    if taken:
        raise UserError(f"corpus.transcripts={wanted}: the corpus has its own column {taken[0]!r}; rename it there")
    spec, rows, troubles = _find(folder, corpus, config)
    changed = _changed(corpus, rows)
    if changed:
        raise UserError(
            f"{folder}: {len(changed)} recordings changed since they were transcribed: {abbreviate(changed, 3)}\n"
            "run `amber transcribe` again, which does them again"
        )
    _account(loaded, spec, rows, wanted)
    for trouble in troubles:
        loaded.ledger.note(f"not read: {trouble}")
    return replace(loaded, corpus=_with_words(corpus, spec, rows, wanted))


def wanting(corpus: Corpus, config: Config, folder: Path) -> bool:
    """Return whether a configuration asks for machine words by a recogniser, and they are not there in full.

    They are not if there is no finished table of them, it is damaged, or recordings were replaced since.
    """
    if config.corpus.transcripts == HUMAN or not config.transcribe.model:
        return False
    try:
        _, rows, _ = _find(folder, corpus, config)
    except UserError:
        return True
    return bool(_changed(corpus, rows))


def _with_words(corpus: Corpus, spec: TranscriptSpec, rows: Sequence[Transcript], wanted: str) -> Corpus:
    """Return the corpus with its text chosen, and the two columns that say whose it is and keep the human one."""
    fill, human = wanted == "fill", corpus.column("text")
    chosen = texts(corpus, rows, fill)
    origins = [
        None if text is None else HUMAN if fill and own is not None else spec.origin
        for text, own in zip(chosen, human, strict=True)
    ]
    return corpus.with_strings({"text": chosen, TEXT_ORIGIN: origins, TEXT_HUMAN: human})


def _account(loaded: Loaded, spec: TranscriptSpec, rows: Sequence[Transcript], wanted: str) -> None:
    """File in the ledger the utterances that machine words were wanted of, and what became of them."""
    own = loaded.corpus.column("text")
    for uid, human, machine in zip(loaded.corpus.ids, own, rows, strict=True):
        if wanted == "fill" and human is not None:
            continue
        if machine.status == "failed":
            loaded.ledger.add("not transcribed", uid)
        elif machine.status == "absent" and human is not None:
            loaded.ledger.add("no recording to transcribe; the human transcript is not used", uid)
        elif machine.status == "truncated":
            loaded.ledger.add("transcribed in part: longer than the model's longest text", uid)
    loaded.ledger.note(f"text: {'machine words' if wanted == 'asr' else 'gaps filled'} by {spec.origin}")


def _find(folder: Path, corpus: Corpus, config: Config) -> tuple[TranscriptSpec, list[Transcript], list[UserError]]:
    """Return the transcripts of a corpus's recordings that a configuration means, and why others can't be read."""
    wanted, inputs, there = config.transcribe.model, corpus.input_hash("speech"), []
    asked = f"corpus.transcripts={config.corpus.transcripts}"
    troubles = []
    for path in sorted(folder.glob("transcripts-*.parquet")):
        try:
            spec, ids, rows = transcripts.read(path)
        except UserError as error:
            troubles.append(error)
            continue
        # A copy under another name, such as `… (1).parquet` of a program that synchronises folders, is no other table.
        if path.stem == spec.name and spec.inputs == inputs and ids == corpus.ids and _is_meant(spec, config):
            there.append((spec, rows))
    if not there and troubles:
        raise troubles[0]
    if not there:
        by = f" by {wanted}" if wanted else ""
        raise UserError(
            f"{asked}: no finished transcripts of these recordings{by} in {folder}\n"
            f"run `amber transcribe --model {wanted or 'MODEL'}` with the same corpus options first"
        )
    if len(there) > 1:
        listed = abbreviate((spec.name for spec, _ in there), 5)
        raise UserError(
            f"{asked}: {folder} holds several: {listed}\nsay which with --set transcribe.model={there[0][0].name}"
        )
    return (*there[0], troubles)


def _is_meant(spec: TranscriptSpec, config: Config) -> bool:
    """Return whether a configuration means these transcripts."""
    model, language = config.transcribe.model, config.transcribe.language
    names = {spec.model, f"{spec.model}@{spec.revision}", spec.name}
    return (model is None or model in names or model_name(model) == spec.model) and language in (
        None,
        spec.language,
    )


def _changed(corpus: Corpus, rows: Sequence[Transcript]) -> list[str]:
    """Return the recordings that exist now and are not those that were transcribed."""
    then = np.array([(one.size, one.modified, 0) for one in rows], dtype=np.int64).reshape(-1, 3)
    names = corpus.column("audio")
    return [names[row] for row in np.flatnonzero(recordings.changed(then, recordings.look(corpus))).tolist()]

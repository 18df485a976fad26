"""CREMA-D as its repository lays it out: vote tables in CSV, one wav per clip in `AudioWAV` (Git LFS).

A clip is named `<actor>_<sentence>_<acted emotion>_<level>`. It was rated in three conditions: voice alone, face
alone, and both. The acted emotion is often not the perceived one: votes on the voice agree with it on
42 % of the clips.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amber.audio import is_lfs_stub
from amber.corpus import Corpus, Ledger, Utterance, Vote
from amber.errors import UserError, abbreviate

from . import Loaded, Source
from .reading import REPEATED, account, csv_records, home, sounds, whole

OPTIONS = ("condition", "votes")
LETTERS = ("A", "D", "F", "H", "N", "S")
CONDITIONS = {"voice": 1, "face": 2, "audiovisual": 3}  # queryType in the files
TABULATED, PER_RATER = "tabulated", "per-rater"
FILES = {TABULATED: "tabulatedVotes.csv", PER_RATER: "finishedResponses.csv"}
SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
NO_SIGNAL = "1076_MTI_SAD_XX"

_CLIP = re.compile(r"(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_(?P<acted>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<level>LO|MD|HI|XX)")
_AUDIO = ("AudioWAV", "flac")  # the second in copies with converted audio
_SUFFIXES = (".wav", ".flac")
_TIMES = 100_000  # the tabulated file's row names are queryType times this, plus the clip's number
_PRACTICE = {7443, 7444}  # clip numbers, beyond those of the corpus
_MOST_VOTES = 1_000  # on one clip; the corpus has at most 12
Row = Mapping[str, str]


@dataclass(slots=True)
class Rated:
    """What one clip's raters said in one condition; `stated` is the file's own number of votes."""

    votes: list[Vote] = field(default_factory=list)
    consensus: str | None = None
    stated: int | None = None


def load(source: Source) -> Loaded:
    """Read CREMA-D; the root may be the repository or a folder around it.

    Options: `condition` (voice, face or audiovisual) and `votes` (tabulated, or per-rater for finishedResponses.csv).

    Raises
    ------
    UserError
        If there is no file of votes, or it is a Git LFS stub or lacks a column.

    """
    source.only_options(*OPTIONS)
    condition = source.option("condition", "voice", CONDITIONS)
    base = find_base(source.existing_root())
    ledger = Ledger()
    rated = _read_votes(base, votes_kind(source, base), condition, ledger)
    folder = next((base / name for name in _AUDIO if (base / name).is_dir()), base / _AUDIO[0])
    audio = sounds(folder, ledger, _SUFFIXES)
    sexes = _read_sexes(base, ledger)
    paths = {stem: path.relative_to(base).as_posix() for stem, path in audio.items()}
    utterances = [_utterance(clip, rated[clip], paths, sexes) for clip in sorted(rated)]
    account(utterances, (path.stem for path in audio.values()), ledger)
    ledger.add("no usable signal (excluded)", *(clip for clip in (NO_SIGNAL,) if clip in rated))
    ledger.add("ties", *(clip for clip in sorted(rated) if rated[clip].consensus is None))
    about = {"name": source.name, "root": str(base)}
    return Loaded(Corpus.of(utterances, **about), ledger)


def find_base(root: Path) -> Path:
    """Return the repository's folder: `root`, or one at most two levels below it.

    Raises
    ------
    UserError
        If no votes are there.

    """
    root = root.resolve()
    base = home(root, lambda folder: any(votes_file(folder, kind) for kind in FILES)) if root.is_dir() else None
    if base is None:
        raise UserError(f"--root {root}: no processedResults/tabulatedVotes.csv; give the CREMA-D repository's folder")
    return base


def votes_file(base: Path, kind: str) -> Path | None:
    """Return the file of votes of one kind, in `processedResults` or at the root, or None."""
    places = (base / "processedResults" / FILES[kind], base / FILES[kind])
    return next((path for path in places if path.is_file()), None)


def votes_kind(source: Source, base: Path) -> str:
    """Return the kind of votes to read: that of the options, else the tabulated ones if they exist."""
    return str(source.option("votes", TABULATED if votes_file(base, TABULATED) else PER_RATER, FILES))


def read_tabulated(path: Path, condition: str, ledger: Ledger) -> dict[str, Rated]:
    """Read the counts of one condition as votes of unnamed raters."""
    rated: dict[str, Rated] = {}
    queries: set[int] = set()
    for row, where in _rows(path, ("fileName", *LETTERS), ledger):
        clip = row["fileName"].partition(".")[0]
        query = (whole(row[""]) or 0) // _TIMES
        counts = [count for letter in LETTERS if (count := whole(row[letter])) is not None]
        queries.add(query)
        if query not in CONDITIONS.values() or not _CLIP.fullmatch(clip) or not _plausible(counts):
            ledger.add("failed", clip or where)
        elif query == CONDITIONS[condition]:
            if clip in rated:
                ledger.add("listed twice (first kept)", clip)
            rated.setdefault(clip, _counted(counts, row))
    if queries and not queries & set(CONDITIONS.values()):
        raise UserError(
            f"{path}: no row name says in which condition a clip was rated\n"
            "a row name is the condition times 100,000 plus the clip's number, such as 100001; were they numbered anew?"
        )
    odd = (clip for clip, of in rated.items() if of.stated not in (None, len(of.votes)))
    ledger.add("numResponses is not the number of votes", *odd)
    return rated


def read_responses(path: Path, condition: str, ledger: Ledger) -> dict[str, Rated]:
    """Read the raters' own answers in one condition, without practice clips; of each rater and clip the first."""
    rated: dict[str, Rated] = {}
    answered: set[tuple[str, str]] = set()
    ledger.add(REPEATED)
    for row, where in _rows(path, ("localid", "queryType", "clipNum", "clipName", "respEmo"), ledger):
        clip, label, rater = row["clipName"].partition(".")[0], row["respEmo"], row["localid"]
        query = whole(row["queryType"])
        if whole(row["clipNum"]) in _PRACTICE:
            ledger.add("answers to practice clips (dropped)", where)
        elif not _CLIP.fullmatch(clip) or not label or not rater or query not in CONDITIONS.values():
            ledger.add("failed", where)
        elif query == CONDITIONS[condition]:
            if (clip, rater) in answered:
                ledger.add(REPEATED, f"{clip}: {rater}")
                continue
            answered.add((clip, rater))
            if label.upper() not in LETTERS:
                ledger.add("unknown label strings", f"{clip}: {label}")
            rated.setdefault(clip, Rated()).votes.append(Vote(rater, (label,)))
    return rated


def _read_votes(base: Path, kind: str, condition: str, ledger: Ledger) -> dict[str, Rated]:
    path = votes_file(base, kind)
    if path is None:
        raise UserError(f"corpus.options.votes: {kind}, but {base} has no {FILES[kind]}")
    ledger.note(f"votes from {path.relative_to(base).as_posix()}, condition {condition}")
    if kind == TABULATED:
        ledger.note("tabulated votes name no raters and leave out answers whose first click took over 10 s")
        return read_tabulated(path, condition, ledger)
    ledger.note("per-rater votes include answers whose first click took over 10 s, unlike the tabulated ones")
    rated = read_responses(path, condition, ledger)
    tabulated = votes_file(base, TABULATED)  # the per-rater file has no consensus of its own
    known = read_tabulated(tabulated, condition, Ledger()) if tabulated else {}
    for clip, of in rated.items():
        of.consensus = known[clip].consensus if clip in known else None
    return rated


def _rows(path: Path, needed: Sequence[str], ledger: Ledger) -> Iterator[tuple[Row, str]]:
    """Yield the rows of a CSV file of R (the row names, its first column, have no header) and the place of each."""
    if is_lfs_stub(path):
        raise UserError(f"{path} is a Git LFS stub, not votes: run `git lfs pull` in the corpus")
    listed = csv_records(path, ledger)
    header = [name.strip() for name in next(listed, (1, []))[1]]
    if header and "" not in header and header[0] not in needed:
        header[0] = ""  # a copy in which the row names got a header
    missing = [name for name in ("", *needed) if name not in header]
    if missing:
        raise UserError(f"{path}: lacks the column {abbreviate(name or '(unnamed: row names)' for name in missing)}")
    for number, cells in listed:
        if len(cells) == len(header):
            yield dict(zip(header, map(str.strip, cells), strict=True)), f"{path.name}:{number}"
        elif cells:
            ledger.add("failed", f"{path.name}:{number}")


def _plausible(counts: Sequence[int]) -> bool:
    return len(counts) == len(LETTERS) and sum(counts) <= _MOST_VOTES


def _counted(counts: Sequence[int], row: Row) -> Rated:
    named = [letter for letter, count in zip(LETTERS, counts, strict=True) for _ in range(count)]
    consensus, stated = row.get("emoVote", "").upper(), whole(row.get("numResponses", ""))
    return Rated(
        votes=[Vote(str(rater), (letter,)) for rater, letter in enumerate(named, 1)],
        consensus=consensus if consensus in LETTERS else None,
        stated=stated,
    )


def _read_sexes(base: Path, ledger: Ledger) -> dict[str, str]:
    path = base / "VideoDemographics.csv"
    if not path.is_file():
        return {}
    listed = csv_records(path, ledger)
    header = [name.strip() for name in next(listed, (1, []))[1]]
    rows = (dict(zip(header, map(str.strip, cells), strict=False)) for _, cells in listed)
    return {row.get("ActorID", ""): row.get("Sex", "") for row in rows}


def _utterance(clip: str, rated: Rated, audio: Mapping[str, str], sexes: Mapping[str, str]) -> Utterance:
    actor, sentence, acted, level = clip.split("_")
    extra = {"acted": acted, "level": level, "sentence": sentence}
    return Utterance(
        id=clip,
        audio=audio.get(clip.lower()) if clip != NO_SIGNAL else None,
        text=SENTENCES.get(sentence),
        speaker=actor,
        consensus=rated.consensus,
        votes=tuple(rated.votes),
        extra=extra | ({"sex": sexes[actor]} if sexes.get(actor) else {}),
    )

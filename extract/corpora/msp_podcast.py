"""MSP-Podcast, releases 1.6 to 2.0, read from the unpacked release.

Votes come from `labels_detailed.csv`, else `labels.txt`, else `labels_detailed.json` (option `votes` forces one); the
consensus, split and speaker from `labels_consensus.csv`, else `.json`, else `labels.txt`, `Partitions.txt` and
`Speaker_ids.txt`. An utterance is labelled if it has a vote or a consensus code; other audio (Test3) is normal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from amber.corpus import DIALOGUE, TURN, Corpus, Ledger, Utterance, Vote
from amber.corpus_table import garbage_collection_paused
from amber.errors import UserError
from amber.splits import part_of

from . import Loaded, Source
from .msp_release import (
    CONSENSUS,
    NO_AGREEMENT,
    VOTE_FILES,
    ReleaseFiles,
    TurnInfo,
    find_release,
    is_unknown,
    pick,
    read_partitions,
    read_turns,
)
from .msp_transcripts import TABLE, find_table, read_table, read_transcripts
from .msp_votes import (
    DUPLICATES,
    UNLABELLED,
    Row,
    collect,
    csv_rows,
    dialect,
    header_columns,
    json_rows,
    records,
    txt_rows,
)
from .reading import account, sounds

OPTIONS = ("test", "release", "votes", "transcripts")
# Labelled turns by release, which identify it; some figures are quoted from the literature and were not checked.
TOTALS = {
    "1.6": 50_362,
    "1.7": 62_140,
    "1.8": 73_042,
    "1.10": 104_267,
    "1.11": 149_307,
    "challenge": 116_221,
    "1.12": 203_936,
    "2.0": 264_705,
}
_VOTE_ROWS: dict[str, Callable[[Path, Ledger], Iterator[Row]]] = {"csv": csv_rows, "txt": txt_rows, "json": json_rows}


def load(source: Source) -> Loaded:
    """Read a release.

    Options: `votes` (auto, csv, txt or json: the file that votes are read from), `transcripts` (a CSV file with the
    columns FileName and text, for turns without a transcript of their own), `release` (the release's number, where
    the guess is wrong); `test` is for the splits. A table named `transcripts.csv` at the root is found by itself.

    Raises
    ------
    UserError
        If there is no label folder under the root, no readable votes in it, or the transcript table is unusable.

    """
    with garbage_collection_paused():
        return _load(source)


def _load(source: Source) -> Loaded:
    source.only_options(*OPTIONS)
    files = find_release(source.existing_root())
    ledger = Ledger()
    votes = _votes(files, source.option("votes", "auto", ("auto", *VOTE_FILES)), ledger)
    turns = read_turns(files, ledger)
    audio = sounds(files.audio, ledger) if files.audio else {}
    ids = sorted({uid for uid, turn in turns.items() if turn.code} | votes.keys())
    texts = read_transcripts(files.top, ids, ledger)
    given = source.option("transcripts", None)
    if table := given or (TABLE if TABLE in files.top else None):
        texts = read_table(find_table(str(table), files.root, source.existing_root()), ids, ledger) | texts
    splits = _splits(ids, turns, files, ledger)
    release = _release(source.option("release", None), files, len(ids), ledger)
    places = _places(ids)
    nothing, folder = TurnInfo(), files.audio.name if files.audio else ""
    utterances = []
    for uid in ids:
        turn = turns.get(uid, nothing)
        path = audio.get(uid.lower())
        number = uid.split("_")[1]
        utterances.append(
            Utterance(
                id=uid,
                audio=f"{folder}/{path.name}" if path else None,
                text=texts.get(uid),
                speaker=turn.speaker,
                votes=votes.get(uid, ()),
                session=number if number.isdigit() else None,
                split=splits.get(uid),
                release=release or None,
                consensus=turn.code if turn.code not in ("", NO_AGREEMENT) else None,
                extra={**({"gender": turn.gender} if turn.gender else {}), **places.get(uid, {})},
            )
        )
    account(utterances, (path.stem for path in audio.values()), ledger)
    _file(utterances, turns, files, ledger)
    root = str(files.root.resolve())
    about: dict[str, Any] = {"name": source.name, "release": release, "root": root, "consensus_names": CONSENSUS}
    return Loaded(Corpus.of(utterances, **about), ledger)


def _places(ids: list[str]) -> dict[str, dict[str, str]]:
    """Return podcast and turn of each utterance whose name gives them: MSP-PODCAST_<podcast>_<turn>."""
    podcasts: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for uid in ids:
        _, podcast, *numbers = uid.split("_")
        if podcast.isdigit() and numbers and all(number.isdigit() for number in numbers):
            podcasts.setdefault(podcast, []).append((tuple(map(int, numbers)), uid))
    return {
        uid: {DIALOGUE: podcast, TURN: str(place)}
        for podcast, turns in podcasts.items()
        for place, (_, uid) in enumerate(sorted(turns), 1)
    }


def _votes(files: ReleaseFiles, wanted: str, ledger: Ledger) -> dict[str, tuple[Vote, ...]]:
    """Read votes from the wanted file, else from the first that has any."""
    for kind in VOTE_FILES if wanted == "auto" else (wanted,):
        path = pick(files.labels, *VOTE_FILES[kind])
        if path and (votes := collect(_VOTE_ROWS[kind](path, ledger), ledger)):
            ledger.note(f"votes from {path.name}")
            return votes
    names = [name for kind, names in VOTE_FILES.items() if wanted in ("auto", kind) for name in names]
    raise UserError(f"no rater's votes in {files.root}: looked into {', '.join(names)} of the label folder")


def _splits(ids: list[str], turns: dict[str, TurnInfo], files: ReleaseFiles, ledger: Ledger) -> dict[str, str]:
    """Return the split of each utterance that has one: from the consensus file, else from `Partitions.txt`."""
    written = {uid: turn.split for uid, turn in turns.items() if not is_unknown(turn.split)}
    if any(uid not in written for uid in ids):
        written = read_partitions(files, ledger) | written
    names = {name: part_of(name) for name in set(written.values())}
    splits = {uid: split for uid in ids if (split := names.get(written.get(uid, "")))}
    ledger.add("unknown split names", *(uid for uid in ids if uid in written and uid not in splits))
    ledger.add("without split", *(uid for uid in ids if uid not in splits))
    return splits


def _release(given: Any, files: ReleaseFiles, labelled: int, ledger: Ledger) -> str:
    """Return the release: as given, else by its number of turns, its folder's name, the dialect of its files."""
    if given is not None:
        return str(given)
    by_size = next((release for release, total in TOTALS.items() if total == labelled), None)
    in_name = re.search(r"(?<![\d.])[12]\.\d{1,2}(?![\d.])", files.root.resolve().name)
    detailed = pick(files.labels, "labels_detailed.csv")
    by_header = dialect(header_columns(next(records(detailed, Ledger()), []))) if detailed else None
    if by_header == "1.7-1.12":
        spelled = {"concensus": "1.7-1.9", "consensus": "1.10-1.12"}
        of = (release for word, release in spelled.items() if any(word in name for name in files.labels))
        by_header = next(of, by_header)
    guesses = {"number of turns": by_size, "folder's name": in_name and in_name[0], "label files": by_header}
    for reason, guess in guesses.items():
        if guess:
            ledger.note(f"release {guess}, by the {reason}; option `release` overrules")
            return guess
    ledger.note("release unknown; option `release` names it")
    return ""


def _file(utterances: list[Utterance], turns: dict[str, TurnInfo], files: ReleaseFiles, ledger: Ledger) -> None:
    """File what is specific to this corpus."""
    ids = {u.id for u in utterances}
    ledger.add("listed without any label", *(uid for uid in turns if uid not in ids))
    ledger.add("without votes", *(u.id for u in utterances if not u.votes))
    ledger.add("without consensus row", *(u.id for u in utterances if u.id not in turns))
    ledger.add("unknown consensus codes", *(u.id for u in utterances if u.consensus and u.consensus not in CONSENSUS))
    for category in (DUPLICATES, UNLABELLED):
        ledger.add(category)
    if files.audio is None:
        ledger.note("no audio folder (Audios or Audio) in the release")
    if any(len(v.labels) > 1 for u in utterances for v in u.votes):
        ledger.note("several labels in one primary field are kept as the rater's labels (labels.multiple decides)")

"""MSP-Podcast's transcripts: one text file per turn, in a folder or still zipped, or an external table."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from amber.corpus import Ledger
from amber.errors import UserError, abbreviate

from .msp_votes import FAILED, blame, header_columns, records, utterance_id
from .reading import decode, files

TABLE = "transcripts.csv"  # an external table by this name at the release's root needs no option
_SUFFIX = ".txt"
_LARGEST = 1 << 20  # bytes of one transcript


def read_transcripts(top: dict[str, Path], ids: Iterable[str], ledger: Ledger) -> dict[str, str]:
    """Return the release's transcripts of the utterances `ids`; `top` is the root's entries by lower-cased name."""
    wanted = {uid.lower(): uid for uid in ids}
    folder = next((top[name] for name in ("transcripts", "transcript") if name in top and top[name].is_dir()), None)
    archives = [top[name] for name in ("transcripts.zip", "transcript.zip") if name in top]
    found = _texts(_folder_members(folder, wanted), wanted, ledger) if folder else {}
    for archive in [*files(folder, "*.zip"), *archives] if folder else archives:
        if not found:
            found = _texts(_zip_members(archive, wanted, ledger), wanted, ledger)
            ledger.note(f"{len(found)} transcripts read from {archive.name}, which is still a zip")
    if not found:
        ledger.note(
            f"the release has no transcripts; {TABLE} beside it, or option `transcripts`, gives FileName and text"
        )
    return found


def find_table(path: str, *roots: Path) -> Path:
    """Return the file of an external transcript table, given relative to the current folder or to one of `roots`.

    Raises
    ------
    UserError
        If there is no such file.

    """
    given = Path(path).expanduser()
    for candidate in (given, *(root / given for root in roots)):
        if candidate.is_file():
            return candidate
    raise UserError(f"corpus.options.transcripts: no file {path}, neither here nor in {roots[0]}")


def read_table(path: Path, ids: Iterable[str], ledger: Ledger) -> dict[str, str]:
    """Return the transcripts in a CSV file with the columns `FileName` and `text`.

    Raises
    ------
    UserError
        If it lacks these columns.

    """
    listed = records(path, ledger)
    header = next(listed, [])
    columns = header_columns(header)
    if not {"filename", "text"} <= columns.keys():
        raise UserError(
            f"{path}: a transcript table has the columns FileName and text, found {abbreviate(header) or 'none'}"
        )
    wanted = {uid.lower(): uid for uid in ids}
    file, text = columns["filename"], columns["text"]
    found: dict[str, str] = {}
    for cells in listed:
        if len(cells) != len(header):
            ledger.add(FAILED, blame(cells, file, path.name))
        elif (uid := wanted.get((utterance_id(cells[file]) or "").lower())) is not None:
            found[uid] = _joined(cells[text])
    ledger.note(f"{len(found)} utterances have a transcript in {path.name}; the release's own go first")
    return found


def _folder_members(folder: Path, wanted: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if _stem(entry.name) in wanted and entry.is_file():
                yield entry.name, Path(entry.path).read_bytes()


def _zip_members(archive: Path, wanted: dict[str, str], ledger: Ledger) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(archive) as members:
            for info in members.infolist():
                name = PurePosixPath(info.filename).name
                if _stem(name) not in wanted:
                    continue
                if info.file_size > _LARGEST:
                    ledger.add(FAILED, name)
                else:
                    yield name, members.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        ledger.add(FAILED, archive.name)
        ledger.note(f"{archive.name} can't be read: {error}")


def _texts(members: Iterable[tuple[str, bytes]], wanted: dict[str, str], ledger: Ledger) -> dict[str, str]:
    return {wanted[_stem(name)]: _joined(decode(content, name, ledger)) for name, content in members}


def _stem(name: str) -> str:
    """Return the lower-cased stem of a text file's name, an empty one of anything else."""
    lowered = name.lower()
    return lowered.removesuffix(_SUFFIX) if lowered.endswith(_SUFFIX) else ""


def _joined(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())

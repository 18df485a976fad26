"""Ugly tables: each is read as its owner means it, or refused with the line that fixes it, which is then tried."""

from __future__ import annotations

import json
import re
import shlex
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ONE, Amber

from amber.config import LabelOptions, SplitOptions
from amber.errors import UserError
from amber.extract.corpora import Loaded, Source, load
from amber.labels import LabelSpace
from amber.splits import make_folds, resolve

IDS = [f"u{number}" for number in range(1, 7)]
ANGRY = [[2, 0], [1, 1], [0, 2], [2, 0], [1, 1], [0, 2]]  # votes for anger and joy, of every table here
RATED = [["anger"] * a + ["joy"] * j for a, j in ANGRY]


def table(separator: str = ",", head: str = "id,text,speaker,votes", **columns: list[Any]) -> str:
    """Return a table of six utterances; `columns` replaces the cells of a column or adds one."""
    usual = {
        "id": IDS,
        "text": [f"words {uid}" for uid in IDS],
        "speaker": [f"s{number // 2}" for number in range(6)],
        "votes": [" ; ".join(labels) if separator != ";" else f'"{";".join(labels)}"' for labels in RATED],
    }
    cells = list((usual | columns).values())
    names = [*head.split(","), *list(columns)[len(set(columns) & usual.keys()) :]]
    return "\n".join(separator.join(str(cell) for cell in row) for row in [names, *zip(*cells, strict=True)]) + "\n"


def rated(separator: str = ",", names: tuple[str, ...] = ("Emotion1", "Emotion2")) -> str:
    """Return a table with a column per rater and names of its own."""
    rows = [("Clip", "Sentence", "Actor", *names)]
    rows += [(uid, f"words {uid}", f"s{i // 2}", *RATED[i]) for i, uid in enumerate(IDS)]
    return "\n".join(separator.join(row) for row in rows) + "\n"


def workbook(rows: list[list[Any]], *further: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import openpyxl

        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        for name in further:
            book.create_sheet(name).append(["id", "notes"])
        book.save(path)

    return write


EXCEL: list[list[Any]] = [["id", "text", "speaker", "votes"]]
EXCEL += [[uid, f"words {uid}", 7, ";".join(labels)] for uid, labels in zip(IDS, RATED, strict=True)]
COLUMNS = {"id": "Clip", "text": "Sentence", "speaker": "Actor"}
RATERS = {**COLUMNS, "votes": ["Emotion1", "Emotion2"]}
SPLITS = ["Training", "TRAIN", "Valid", "devel", "Eval", "evaluation"]
SPEAKERS = ["a", "a", "b", "b", "c", "c"]


@dataclass(frozen=True)
class Ugly:
    """A table, the options that its owner gives, and what a refusal says where it is refused at first."""

    content: str | bytes | Callable[[Path], None]
    name: str = "t.csv"
    options: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    notes: str = ""
    column: tuple[str, list[Any]] | None = None


COUNTS = {"vote_anger": [f"{a},0" for a, _ in ANGRY], "vote_joy": [j for _, j in ANGRY]}
WRITTEN = ["ANGER;Anger", "anger ;JOY", "joy;joy", "Anger;Anger", "anger;Joy", "JOY;JOY"]

UGLY = {
    "semicolons": Ugly(table(";"), notes="semicolons"),
    "tabs in a csv": Ugly(table("\t"), notes="tabs"),
    "a line that declares the separator": Ugly("sep=|\n" + table("|"), notes="bars"),
    "a byte-order mark": Ugly(table().encode("utf-8-sig")),
    "utf-16": Ugly(table("\t").encode("utf-16"), name="t.tsv"),
    "utf-16 without its mark": Ugly(table().encode("utf-16-le"), refused="encoding=utf-16"),
    "latin-1": Ugly(
        table(speaker=["Müller"] * 6).encode("latin-1"), refused="encoding=latin-1", column=("speaker", ["Müller"] * 6)
    ),
    "cp1252, told": Ugly(
        table(text=["“Ja”"] * 6).encode("cp1252"), options={"encoding": "cp1252"}, column=("text", ["“Ja”"] * 6)
    ),
    "mapped columns": Ugly(rated(), options={"columns": RATERS}),
    "mapped columns after semicolons": Ugly(rated(";"), options={"columns": RATERS}, notes="semicolons"),
    "mapped columns in other case": Ugly(rated(), options={"columns": {**RATERS, "id": "clip"}}),
    "counts by label": Ugly(
        table(votes=[a for a, _ in ANGRY], JOY=[j for _, j in ANGRY], head="id,text,speaker,ANG"),
        options={"columns": {"votes": {"anger": "ANG", "joy": "JOY"}}},
    ),
    "unknown names and a column per rater": Ugly(rated(), refused="votes: [Emotion1, Emotion2]"),
    "raters' columns beside good names": Ugly(
        rated(names=("rater_a", "rater_b")).replace("Clip,Sentence,Actor", "id,text,speaker"),
        refused="--set 'corpus.options.columns={votes: [rater_a, rater_b]}'",
    ),
    "a column that is not there": Ugly(
        rated(names=("Emotion1", "Emotion2")), options={"columns": RATERS | {"id": "Clipp"}}, refused="did you mean"
    ),
    "labels in every case": Ugly(table(votes=WRITTEN), notes="labels that differ in spelling only"),
    "decimal commas": Ugly(
        table(";", head="id,text,speaker,start", votes=["0,5"] * 6, **COUNTS),
        column=("start", [0.5] * 6),
    ),
    "names of parts": Ugly(table(speaker=SPEAKERS, split=SPLITS), column=("split", SPLITS)),
    "excel": Ugly(workbook(EXCEL), name="t.xlsx", column=("speaker", ["7"] * 6)),
    "excel with two sheets": Ugly(workbook(EXCEL, "Notes"), name="t.xlsx", refused="corpus.options.sheet=Sheet"),
    "windows paths": Ugly(
        table(head="id,audio,speaker,votes", text=[f"clips\\{uid}.wav" for uid in IDS]),
        notes="backslashes",
        column=("audio", [f"clips/{uid}.wav" for uid in IDS]),
    ),
}


def put(folder: Path, ugly: Ugly) -> Path:
    path = folder / ugly.name
    if callable(ugly.content):
        ugly.content(path)
    else:
        path.write_bytes(ugly.content.encode() if isinstance(ugly.content, str) else ugly.content)
    (folder / "clips").mkdir()
    for uid in IDS:
        soundfile.write(folder / "clips" / f"{uid}.wav", np.zeros(800), 16_000)
    return path


def read(path: Path, options: dict[str, Any]) -> Loaded:
    return load(Source("table", "mine", path.parent / "cache", path, options))


def fix(message: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the one that a refusal says to add."""
    if nearest := re.search(r"did you mean '(\w+)'", message):
        return {**options, "columns": {**options["columns"], "id": nearest[1]}}
    found = re.search(r"--set ('[^']+'|\S+)", message)
    assert found, message
    name, _, value = shlex.split(found[1])[0].removeprefix("corpus.options.").partition("=")
    return {**options, name: yaml.safe_load(value)}


@pytest.mark.parametrize("ugly", UGLY.values(), ids=UGLY)
def test_read_as_meant_or_refused_with_the_line_that_fixes_it(tmp_path: Path, ugly: Ugly) -> None:
    path, options = put(tmp_path, ugly), ugly.options
    if ugly.refused:
        with pytest.raises(UserError) as error:
            read(path, options)
        assert ugly.refused in str(error.value)
        assert len(str(error.value).splitlines()) <= 3
        options = fix(str(error.value), options)
    loaded = read(path, options)
    assert list(loaded.corpus.ids) == IDS
    assert ugly.notes in "\n".join(loaded.ledger.lines())
    space = LabelSpace.resolve(LabelOptions(subset="any"), loaded.corpus)
    assert space.classes == ("anger", "joy")
    assert space.count(loaded.corpus.votes()).inside.tolist() == ANGRY
    if ugly.column:
        name, cells = ugly.column
        assert loaded.corpus.column(name) == cells


THROUGH = ("semicolons", "utf-16 without its mark", "mapped columns", "unknown names and a column per rater",
           "raters' columns beside good names", "decimal commas", "excel with two sheets", "windows paths")  # fmt: skip


def test_through_the_command_line_the_line_of_a_refusal_can_be_pasted(amber: Amber, tmp_path: Path) -> None:
    for number, name in enumerate(THROUGH):
        ugly = UGLY[name]
        (tmp_path / str(number)).mkdir()
        path = put(tmp_path / str(number), ugly)
        given = [("--set", f"corpus.options.{key}={json.dumps(value)}") for key, value in ugly.options.items()]
        command = ["extract", "--dataset", "table", "--root", path, "--features", tmp_path / "cache", "--dry-run",
                   "--speech", "logmel", "--text", "minilm", *(word for pair in given for word in pair)]  # fmt: skip
        if ugly.refused:
            refused = amber(*command, code=2).stderr
            assert ugly.refused in refused
            assert len(refused.splitlines()) <= 3
            line = re.search(r"--set ('[^']+'|\S+)", refused)
            assert line, refused
            command += ["--set", shlex.split(line[1])[0]]
        assert "extract table: 6 utterances" in amber(*command).stdout, name
    assert not (tmp_path / "cache").exists()


def test_paths_of_another_machine_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(table(head="id,audio,speaker,votes", text=[f"C:\\clips\\{uid}.wav" for uid in IDS]))
    with pytest.raises(UserError, match="none of the 6 audio files is there") as error:
        read(path, {})
    assert "these are paths of another machine; write them relative to the table's folder" in str(error.value)


def test_a_workbook_without_openpyxl_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, UGLY["excel"])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match=re.escape("Excel tables need openpyxl: pip install '.[excel]'")):
        read(path, {})


def with_sheet(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """Write a workbook again with its first sheet's XML changed."""
    other = path.with_name(f"changed-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name.endswith("sheet1.xml") else old.read(name))
    return other


@pytest.mark.parametrize(("row", "column", "letter"), [(0, 3, "D"), (2, 2, "C"), (3, 3, "D"), (6, 4, "E")])
@pytest.mark.parametrize(
    ("cell", "says"), [("#N/A", "the error #N/A"), ('=LEFT("anger",5)', "a formula without a stored value")]
)
def test_a_cell_that_excel_never_computed_is_refused_by_sheet_row_and_column(
    tmp_path: Path, cell: str, says: str, row: int, column: int, letter: str
) -> None:
    rows = [[*cells, None] for cells in EXCEL]
    rows[row][column] = cell
    workbook(rows)(tmp_path / "t.xlsx")
    where = f"sheet 'Sheet', row {row + 1}, column {letter}: holds {says}"
    with pytest.raises(UserError, match=re.escape(where)) as error:
        read(tmp_path / "t.xlsx", {})
    assert "in Excel" in str(error.value)


def test_a_formula_whose_result_is_stored_is_its_result_also_an_empty_one(tmp_path: Path) -> None:
    """Excel stores the result `""` as a string without characters."""
    workbook(EXCEL)(tmp_path / "t.xlsx")

    def computed(sheet: bytes) -> bytes:
        for number, kind, value in ((2, b"n", b"7"), (3, b"str", b"eight"), (4, b"str", b"")):
            cell = b'<c r="C%d" t="%s"><f>A1</f><v>%s</v></c>' % (number, kind, value)
            sheet, found = re.subn(rb'<c r="C%d"[^>]*><v>7</v></c>' % number, cell, sheet)
            assert found == 1
        return sheet

    assert read(with_sheet(tmp_path / "t.xlsx", computed), {}).corpus.column("speaker") == [
        *("7", "eight", None),
        *["7"] * 3,
    ]


@pytest.mark.parametrize("size", ["A1", "A1:D3", "A1:C7", "A1:Z99", "B2:C3"])
def test_the_size_that_a_sheet_says_it_has_hides_nothing(tmp_path: Path, size: str) -> None:
    workbook(EXCEL, "Empty")(tmp_path / "t.xlsx")
    said = f'<dimension ref="{size}"'.encode()
    stale = with_sheet(tmp_path / "t.xlsx", lambda sheet: re.sub(rb'<dimension ref="[^"]*"', said, sheet))
    corpus = read(stale, {"sheet": "Sheet"}).corpus
    assert corpus.ids == tuple(IDS)
    assert [[label for vote in votes for label in vote["labels"]] for votes in corpus.column("votes")] == RATED
    with pytest.raises(UserError, match="2 sheets hold something"):
        read(stale, {})


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("change", [cut, lambda content: bytes(len(content)), lambda _: b""])
def test_a_damaged_sheet_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    workbook(EXCEL)(tmp_path / "t.xlsx")
    with pytest.raises(UserError, match="not a workbook that can be read"):
        read(with_sheet(tmp_path / "t.xlsx", change), {})


def test_damage_to_what_is_compressed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    workbook(EXCEL)(path)
    with zipfile.ZipFile(path) as file:
        sheet = file.getinfo("xl/worksheets/sheet1.xml")
    whole = path.read_bytes()
    for at in range(sheet.header_offset, sheet.header_offset + sheet.compress_size, 20):
        path.write_bytes(whole[:at] + bytes(20) + whole[at + 20 :])
        with pytest.raises(UserError, match=r"not a workbook that can be read|hold something"):
            read(path, {})


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
@pytest.mark.parametrize("content", ["", "\n", "\ufeff"])
def test_an_empty_table_is_said_to_be_empty(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="is empty, or begins with an empty line"):
        read(tmp_path / name, {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("head", ["id,text,speaker,votes", '"id",text,speaker,votes'])
def test_a_second_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, head: str, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes(("\ufeff\ufeff" + table(head=head)).encode(encoding))
    loaded = read(tmp_path / "t.csv", {})
    assert loaded.corpus.ids == tuple(IDS)
    lines = "\ufeff\ufeff" + json.dumps({"id": "a", "text": "x", "votes": "joy"}) + "\n"
    (tmp_path / "t.jsonl").write_bytes(lines.encode(encoding))
    assert read(tmp_path / "t.jsonl", {}).corpus.ids == ("a",)


@pytest.mark.parametrize("name", ["._t.csv", "~$t.xlsx", ".t.parquet"])
def test_what_other_programs_leave_beside_a_table_is_no_table(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_text(table())
    (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert load(Source("table", "mine", tmp_path / "cache", tmp_path)).corpus.ids == tuple(IDS)


def test_names_of_parts_make_a_fold_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    def folds(splits: list[str]) -> list[list[int]]:
        path = tmp_path / "s.csv"
        path.write_text(table(speaker=SPEAKERS, split=splits))
        corpus = read(path, {}).corpus
        (fold,) = make_folds(resolve(SplitOptions(scheme="official"), corpus), corpus)
        return [rows.tolist() for rows in fold.parts().values()]

    assert folds(SPLITS) == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(UserError, match="'holdout'"):
        folds([*SPLITS[:5], "holdout"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table(";", head="id,text,speaker,vote_joy", votes=["1,000"] * 6), "may be a decimal or thousands"),
        (table(head="id,text,speaker,vote_joy", votes=['"1,0"'] * 6), "write decimals with a point"),
        (table(";", head="id,text,speaker,vote_joy", votes=["1,5"] * 6), "whole number"),
    ],
)
def test_a_comma_that_can_be_mistaken_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=f"row 2: .*{says}"):
        read(tmp_path / "t.csv", {})


@pytest.mark.parametrize(
    "vote", ["joy:2", "joy = 2", "joy*3", "joy x3", "joy × 3", "joy (3)", "joy[3]", "2x joy", "2 * joy"]
)
@pytest.mark.parametrize("more", ["", ";anger"])
def test_a_count_in_a_list_of_votes_is_refused(tmp_path: Path, vote: str, more: str) -> None:
    (tmp_path / "t.csv").write_text(table(votes=[vote + more] * 6))
    with pytest.raises(UserError, match=r"row 2: votes: .* looks like a count; write counts as .* or vote_ columns"):
        read(tmp_path / "t.csv", {})


@pytest.mark.parametrize("votes", ["joy 2; anger 1", "2 joy;1 anger"])
def test_a_number_after_every_label_is_a_count(tmp_path: Path, votes: str) -> None:
    (tmp_path / "t.csv").write_text(table(votes=[votes] * 6))
    with pytest.raises(UserError, match=r"row 2: votes: .* looks like a count"):
        read(tmp_path / "t.csv", {})


@pytest.mark.parametrize(
    "votes",
    [
        ["joy", "anger", '"joy, anger"'],
        ["joy;anger", "joy|Anger", "joy"],
        ['"joy, joy, anger"', "calm", "calm"],
        ["joy|joy", "anger", "anger"],
        ['"joy\njoy\nanger"', "calm", "calm"],
        ['"[""joy, anger"", ""joy"", ""anger""]"', "joy", "joy"],
    ],
)
def test_several_votes_between_other_separators_are_refused(tmp_path: Path, votes: list[str]) -> None:
    (tmp_path / "t.csv").write_text(table(votes=votes * 2))
    with pytest.raises(UserError, match="looks like several votes in one; separate votes with ;\nif it is one label,"):
        read(tmp_path / "t.csv", {})


def test_several_votes_in_a_rater_s_column_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(rated(";").replace("anger", "anger|joy", 1))
    with pytest.raises(UserError, match=r"votes of u1: 'anger\|joy' looks like several votes in one"):
        read(tmp_path / "t.csv", {"columns": RATERS})


@pytest.mark.parametrize("cell", ['["joy;anger"]', '{"joy;anger": 2}', '[{"rater": "r", "labels": ["joy; anger"]}]'])
def test_a_semicolon_within_an_item_of_a_list_is_refused(tmp_path: Path, cell: str) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "a", "text": "x", "votes": json.loads(cell)}) + "\n")
    with pytest.raises(UserError, match="is one label with a semicolon; list several as"):
        read(tmp_path / "t.jsonl", {})


@pytest.mark.parametrize(
    "label", ["frustrated/annoyed", '"calm, collected"', "calm|collected", "type 1", "joy (high)", "3rd", "mix3", "x2"]
)
def test_a_label_may_have_such_characters_in_its_name(tmp_path: Path, label: str) -> None:
    (tmp_path / "t.csv").write_text(table(votes=[f"{label};joy" if '"' not in label else label, "joy", "calm"] * 2))
    assert read(tmp_path / "t.csv", {}).corpus.column("votes")[0][0]["labels"] == [label.strip('"')]
    (tmp_path / "v.csv").write_text('id,text,"vote_joy, calm",vote_joy,vote_calm\nu,x,2,1,1\n')
    assert len(read(tmp_path / "v.csv", {}).corpus.column("votes")[0]) == 4


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (["Clip"], "must be a mapping"),
        ({"speeker": "Actor"}, "did you mean 'speaker'"),
        ({"id": ["Clip"]}, "given by name"),
        ({"votes": ["Emotion1", "Emotion1"]}, "named twice"),
    ],
)
def test_a_mapping_that_is_none_is_refused(tmp_path: Path, columns: Any, says: str) -> None:
    (tmp_path / "t.csv").write_text(rated())
    with pytest.raises(UserError, match=says):
        read(tmp_path / "t.csv", {"columns": columns})


def test_trained_from_the_refusal_to_the_model_and_what_is_dropped_is_said(tmp_path: Path, amber: Amber) -> None:
    rows = ["Clip;Sentence;Actor;Part;Emotion1;Emotion2"]
    for n in range(24):
        part = ("Training", "Valid", "eval", "")[n % 8 // 2] if n >= 8 else "train"
        second = "other thing" if n % 6 == 0 else ("ANGER ", "joy")[n % 2]
        rows.append(f"c{n};words {n % 5};s{part}{n % 2};{part};{('Anger', 'Joy')[n % 3 % 2]};{second}")
    (tmp_path / "t.csv").write_bytes("\n".join(rows).encode("utf-16"))
    arguments = ["--dataset", "table", "--root", tmp_path / "t.csv", "--features", tmp_path / "cache"]
    refused = amber("extract", *arguments, "--text", "minilm", code=2)
    found = re.search(r"--set '([^']+)'", refused.stderr)
    assert found, refused.stderr
    assert "votes: [Emotion1, Emotion2]" in found[1]
    amber("extract", *arguments, "--set", found[1], "--text", "minilm")
    settings = ["splits.scheme=column", "splits.column=Part", f"train.runs={tmp_path / 'runs'}"]
    sets = [word for setting in settings for word in ("--set", setting)]
    features = ["--dataset", "table", "--features", tmp_path / "cache", *sets]
    said = amber("train", *features, "--variants", "text", "--set", ONE)
    said_all = said.stdout + said.stderr
    assert "4 of 48 votes, on 4 utterances, are outside the classes: other thing (4)" in said_all
    assert "labels.other=keep" in said_all
    assert re.search(r"4 utterances are in no part of any fold, as column 'Part' is empty: c14, c15", said_all)

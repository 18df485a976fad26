"""Databases in audformat, made with the library itself and read through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import ONE, Amber

from amber.corpus import FILE, Corpus
from amber.errors import UserError
from amber.extract.corpora import Loaded, Source, load

audformat = pytest.importorskip("audformat", reason="audformat is not installed: pip install '.[audformat]'")

FILES = [f"audio/{number:03}.wav" for number in range(12)]


def database(folder: Path, segmented: bool = False, storage: str = "csv") -> Path:
    """Write a database of twelve recordings by three speakers, with two raters and a transcription."""
    (folder / "audio").mkdir(parents=True)
    for number, file in enumerate(FILES):
        soundfile.write(folder / file, np.random.default_rng(number).normal(0, 0.1, 16_000), 16_000)
    db: Any = audformat.Database("moods", license="CC-BY-4.0")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    db.schemes["speaker"] = audformat.Scheme(labels=["a", "b", "c"])
    db.schemes["transcription"] = audformat.Scheme(dtype="str")
    for rater in ("r1", "r2"):
        db.raters[rater] = audformat.Rater()
    index = audformat.filewise_index(FILES)
    db["files"] = audformat.Table(index)
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set(["a", "b", "c"] * 4)
    db["files"]["words"] = audformat.Column(scheme_id="transcription")
    db["files"]["words"].set([None, *[f"word {number}" for number in range(11)]])
    if segmented:
        index = audformat.segmented_index(FILES, ["0s"] * 12, ["0.5s"] * 11 + [None])
    db["ratings"] = audformat.Table(index)
    for rater, labels in (("r1", ["anger", "joy"] * 6), ("r2", ["anger", *["joy"] * 10, None])):
        db["ratings"][f"emotion.{rater}"] = audformat.Column(scheme_id="emotion", rater_id=rater)
        db["ratings"][f"emotion.{rater}"].set(labels)
    db.save(str(folder), storage_format=storage)
    return folder


def votes(corpus: Corpus) -> list[list[tuple[str, str]]]:
    return [[(v["rater"], v["labels"][0]) for v in of] for of in corpus.table["votes"].to_pylist()]


def test_a_database_is_read_and_trained_on(amber: Amber, tmp_path: Path) -> None:
    root, cache = database(tmp_path / "db"), tmp_path / "cache"
    asked = ("--dataset", "audformat", "--root", root, "--features", cache, "--speech", "logmel", "--text", "none")
    assert "licence: CC-BY-4.0" in amber("extract", *asked).stderr
    corpus = Corpus.read(cache / "audformat" / FILE)
    assert list(corpus.ids) == FILES
    assert corpus.column("speaker") == ["a", "b", "c"] * 4
    assert corpus.column("text") == [None, *[f"word {number}" for number in range(11)]]
    assert votes(corpus)[0] == [("r1", "anger"), ("r2", "anger")]
    assert votes(corpus)[11] == [("r1", "joy")]
    amber("-q", "train", "--features", cache, "--runs", tmp_path / "runs", "--variants", "speech,prior", "--seeds", "0",
         "--set", ONE, "--set", "train.epochs=1", "--set", "splits.k=3")  # fmt: skip
    assert len(list((tmp_path / "runs" / "audformat" / "speech").iterdir())) == 3


def test_segments_have_their_span_and_the_file_s_speaker(amber: Amber, tmp_path: Path) -> None:
    root = database(tmp_path / "db", segmented=True, storage="parquet")
    amber("-q", "extract", "--dataset", "audformat", "--root", root, "--features", tmp_path, "--speech", "logmel",
         "--text", "none")  # fmt: skip
    corpus = Corpus.read(tmp_path / "audformat" / FILE)
    assert corpus.ids[0] == "audio/000.wav#0-0.5"
    assert corpus.ids[11] == "audio/011.wav#0-end"
    assert (corpus.column("start")[0], corpus.column("end")[0], corpus.column("end")[11]) == (0.0, 0.5, None)
    assert corpus.column("speaker")[:3] == ["a", "b", "c"]


def written(folder: Path, kind: str, raters: list[str], **columns: list[Any]) -> Path:
    """Write a database of as many recordings as a column has cells; `raters` names those of its columns of emotions."""
    db: Any = audformat.Database("cells")
    db.schemes["emotion"], db.schemes["speaker"] = audformat.Scheme(kind), audformat.Scheme("str")
    db["all"] = audformat.Table(audformat.filewise_index(FILES[: len(next(iter(columns.values())))]))
    named = iter(raters)
    for name, values in columns.items():
        rater = next(named) if name != "speaker" else None
        if rater:
            db.raters[rater] = audformat.Rater()
        db["all"][name] = audformat.Column(scheme_id="emotion" if rater else "speaker", rater_id=rater)
        db["all"][name].set(values)
    db.save(str(folder), storage_format="parquet")
    return folder


def read(root: Path) -> Loaded:
    return load(Source("audformat", "moods", root / "cache", root))


def test_a_rater_with_two_columns_counts_once(tmp_path: Path) -> None:
    loaded = read(
        written(tmp_path, "str", ["r1", "r1", "r2"], a=["joy", "joy", None], b=["joy", "anger", "joy"], c=["joy"] * 3)
    )
    assert votes(loaded.corpus) == [[("r1", "joy"), ("r2", "joy")]] * 3
    assert loaded.ledger.entries["answers that a rater gave again (first kept)"] == [f"{f}: r1" for f in FILES[:2]]


def test_cells_hold_what_those_of_a_table_may_hold(tmp_path: Path) -> None:
    loaded = read(
        written(tmp_path / "a", "str", ["r1"], emotion=["joy ", " ", "joy", None], speaker=["s1 ", "s1", "", None])
    )
    assert votes(loaded.corpus) == [[("r1", "joy")], [], [("r1", "joy")], []]
    assert loaded.corpus.column("speaker") == ["s1", "s1", None, None]
    assert loaded.ledger.entries["without votes"] == [FILES[1], FILES[3]]
    assert votes(read(written(tmp_path / "b", "int", ["r1"], emotion=[1, None])).corpus) == [[("r1", "1")], []]
    with pytest.raises(UserError, match=r"column 'emotion' must be text, found 0\.5"):
        read(written(tmp_path / "c", "float", ["r1"], emotion=[1.0, 0.5]))


def test_what_can_t_be_decided_or_read_is_refused(amber: Amber, tmp_path: Path) -> None:
    root = database(tmp_path / "db")
    asked = ("extract", "--dataset", "audformat", "--features", tmp_path / "c", "--speech", "logmel", "--text", "none",
             "--dry-run")  # fmt: skip

    def refused(*more: object) -> str:
        return amber(*asked, *more, code=2).stderr

    assert "no column of the scheme `emotion`" in refused("--root", root, "--set", "corpus.options.table=files")
    assert "no table 'rating'; did you mean" in refused("--root", root, "--set", "corpus.options.table=rating")
    assert "unknown 'vote'" in refused("--root", root, "--set", "corpus.options.columns={vote: x}")
    one = amber(*asked, "--root", root, "--set", "corpus.options.columns={votes: emotion.r1}").stdout
    assert "extract audformat: 12 utterances" in one
    assert "holds no db.yaml" in refused("--root", tmp_path)
    (root / "db.ratings.pkl").write_bytes(b"")
    assert "tables are pickled" in refused("--root", root)
    (root / "db.ratings.pkl").unlink()
    (root / "db.yaml").write_text("name: [")
    assert "audformat can't read it" in refused("--root", root)

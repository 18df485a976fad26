"""Untrusted input: only the named file is read, no code is run, and every size is limited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Amber, Run
from trees import source, write

from amber import document
from amber.config_file import load
from amber.corpus import Corpus, Utterance, Vote
from amber.errors import UserError
from amber.extract.corpora import Source, crema_d
from amber.extract.corpora import load as load_corpus
from amber.extract.encoders import find

# YAML

LAUGHTER = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 39))])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 500 + "]" * 500, "levels deep"),
        (LAUGHTER, "over 100,000|levels"),
        ("a: &a [*a]", "holds itself"),
        ("a: 2024-13-45", "not valid YAML"),
        ("a: 12:99:99999999999999999999:0\nb: 2001-01-01 99:99:99", "not valid YAML"),
        ('a: "\\uD800"', "not UTF-8"),
        ('a: "\\0"', "NUL"),
        ("a: \x07", "not valid YAML"),
        ("a: 1\na: 2", "'a' is given twice"),
        ("? [a]\n: b", "not valid YAML|key"),
        ("a: " + "1" * 5_000, "not valid YAML"),
        ("a: 0x" + "1" * 5_000, "over 1,024 bits"),
        ("x" * (document.LARGEST + 1), "characters"),
    ],
)  # fmt: skip
def test_yaml_beyond_its_limits_or_invalid_is_a_message(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    for call in (lambda: load(tmp_path / "c.yaml"), lambda: load(None, [f"corpus.options={text}"])):
        with pytest.raises(UserError, match=says) as error:
            call()
        assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", ".x", "", "a\tb"])
def test_an_experiment_and_a_dataset_are_names_of_folders(name: str) -> None:
    for key in ("experiment", "corpus.name"):
        with pytest.raises(UserError, match=f"{key}: .*name of a folder"):
            load(None, [f"{key}={json.dumps(name)}"])


@pytest.mark.parametrize(
    "override",
    [f"train.seeds=[{2**64}]", f"train.seeds=[{2**63}]", f"evaluate.seed={2**70}", "train.lr=.inf", "train.lr=.nan"],
)
def test_numbers_that_nothing_can_hold_are_refused(override: str) -> None:
    with pytest.raises(UserError):
        load(None, [override])


def test_a_number_in_raised_letters_is_no_number(amber: Amber) -> None:
    done = amber("train", "--seeds", "\u00b2", code=2)
    assert "Traceback" not in done.stderr


# Models


def test_a_model_s_own_code_is_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "stranger", "auto_map": {"AutoConfig": "strange.C", "AutoModel": "strange.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "strange.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    with pytest.raises(UserError, match="model folder"):
        find(str(folder), "speech")
    assert not (tmp_path / "ran").exists()


# HDF5


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = "".join(f"u{i},s{i % 3},{1 + i % 2},1\n" for i in range(6))
    return write(tmp_path, "table.csv", f"id,speaker,vote_joy,vote_calm\n{rows}")


def attempt(run_cache: Run, table: Path, inner: str = "x", code: int = 2) -> str:
    place = f"{table.parent / 'f.h5'}:/{inner}"
    cache = ("--features", table.parent / "C")
    return run_cache("import", "--dataset", "d", "--table", table, *cache, "--speech", place, code=code)


def test_values_in_another_file_are_not_read(run_cache: Run, table: Path) -> None:
    secret = write(table.parent, "secret", bytes(6 * 4 * 4))
    with h5py.File(table.parent / "f.h5", "w") as file:
        file.create_dataset("x", shape=(6, 4), dtype="f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    assert "in another file" in attempt(run_cache, table)
    assert not (table.parent / "C").exists()


def test_links_out_of_a_file_are_not_followed_and_those_within_it_are(run_cache: Run, table: Path) -> None:
    with h5py.File(table.parent / "other.h5", "w") as file:
        file["x"] = np.ones((6, 4), np.float32)
    with h5py.File(table.parent / "f.h5", "w") as file:
        file["here/y"] = np.ones((6, 4), np.float32)
        file["x"] = h5py.ExternalLink("other.h5", "/x")
        file["by"] = h5py.SoftLink("/x")
        file["within"] = h5py.SoftLink("/here")
        file["loop"] = h5py.SoftLink("/loop")
    assert "a link to another file, 'other.h5'" in attempt(run_cache, table)
    assert "a link to another file, 'other.h5'" in attempt(run_cache, table, "by")
    assert "leads to itself" in attempt(run_cache, table, "loop")
    assert "is not there" in attempt(run_cache, table, "here/z")
    assert "1 layer of 4 dimensions: 6 ok" in attempt(run_cache, table, "within/y", code=0)


def test_a_virtual_dataset_is_refused(run_cache: Run, table: Path) -> None:
    layout = h5py.VirtualLayout(shape=(6, 4), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(6, 4))
    with h5py.File(table.parent / "f.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    assert "virtual dataset" in attempt(run_cache, table)


def test_a_shape_that_the_file_can_t_hold_is_refused(run_cache: Run, table: Path) -> None:
    with h5py.File(table.parent / "f.h5", "w") as file:
        file.create_dataset("x", shape=(6, 10**10), dtype="f4", chunks=(1, 1024))
        file["empty"] = h5py.Empty("f4")
    assert "can't hold" in attempt(run_cache, table)
    assert "without a shape" in attempt(run_cache, table, "empty")


def test_the_interpretation_of_an_array_s_axes_is_reported(run_cache: Run, table: Path) -> None:
    with h5py.File(table.parent / "f.h5", "w") as file:
        file["x"] = np.ones((6, 50, 8), np.float32)
        file["turned"] = np.ones((8, 6), np.float32)
    said = attempt(run_cache, table, code=0)
    assert "warning: speech: " in said
    assert said.count("50 layers of 8 dimensions") == 2
    assert "are the axes swapped?" in attempt(run_cache, table, "turned")


def test_ids_that_differ_in_spelling_only_are_hinted_at(run_cache: Run, table: Path) -> None:
    with h5py.File(table.parent / "f.h5", "w") as file:
        file["x"] = np.ones((6, 4), np.float32)
        file["upper"] = [f"U{i}" for i in range(6)]
        file["files"] = [f"wav/u{i}.wav" for i in range(6)]
    where, cache = table.parent / "f.h5", ("--features", table.parent / "C")
    for inner, says in (("upper", "'U0' and 'u0' differ in case"), ("files", "differ in an ending or folder only")):
        arrays = ("--speech", f"{where}:/x", "--ids", f"{where}:/{inner}")
        assert says in run_cache("import", "--dataset", "d", "--table", table, *cache, *arrays, code=2)


# Files beside a corpus, and the cache's own


def test_a_pipe_for_a_table_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(UserError, match="pipe"):
        load_corpus(Source("table", "x", tmp_path / "C", tmp_path / "t.csv"))


def test_names_that_are_not_utf8_are_filed_in_letters_that_can_be_written(tmp_path: Path) -> None:
    from amber.corpus import Ledger
    from amber.extract.corpora.reading import account, sounds

    Path(os.fsdecode(bytes(tmp_path) + b"/\xff\xfe.wav")).write_bytes(b"RIFF" + bytes(2_000))
    ledger = Ledger()
    account([], (path.stem for path in sounds(tmp_path, ledger).values()), ledger)
    ledger.write(tmp_path)
    assert ledger.entries["audio without label"] == ["\\udcff\\udcfe"]


def test_row_names_that_do_not_say_the_condition_are_refused(tmp_path: Path) -> None:
    head = '"","A","D","F","H","N","S","fileName","numResponses","emoVote"\n'
    write(tmp_path, "processedResults/tabulatedVotes.csv", head + '"1",1,0,0,0,0,0,"1001_DFA_ANG_XX",1,"A"\n')
    with pytest.raises(UserError, match="in which condition"):
        crema_d.load(source(tmp_path, "crema-d"))
    again = '"100001.0",1.0,0,0,0,0,2,"1001_DFA_ANG_XX",3.0,"s"\n'
    write(tmp_path, "processedResults/tabulatedVotes.csv", head + again)
    corpus = crema_d.load(source(tmp_path, "crema-d")).corpus
    assert corpus.column("consensus") == ["S"]
    assert [vote["labels"] for vote in corpus.column("votes")[0]] == [["A"], ["S"], ["S"]]


def test_a_rater_counts_once_a_clip_whatever_the_rows_are_called(tmp_path: Path) -> None:
    head = '"","localid","queryType","clipNum","clipName","respEmo"\n'
    said = [("P1", "A"), ("P2", "H"), ("P1", "S")]
    rows = "".join(f'"{n}","{r}",1,11,"1001_DFA_ANG_XX","{e}"\n' for n, (r, e) in enumerate(said, 312_183))
    write(tmp_path, "finishedResponses.csv", head + rows)
    loaded = crema_d.load(source(tmp_path, "crema-d", votes="per-rater"))
    assert [(v["rater"], v["labels"]) for v in loaded.corpus.column("votes")[0]] == [("P1", ["A"]), ("P2", ["H"])]
    assert loaded.ledger.entries[crema_d.REPEATED] == ["1001_DFA_ANG_XX: P1"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1" + bytes(100) + b"PAR1"])
def test_damaged_utterances_are_a_message_and_extraction_writes_them_again(
    amber: Amber, tmp_path: Path, content: bytes
) -> None:
    path = write(tmp_path, "C/t/utterances.parquet", content)
    with pytest.raises(UserError, match=r"utterances\.parquet"):
        Corpus.read(path)
    write(tmp_path, "t.csv", "id,text,speaker,votes\nu,words,s,joy\n")
    extract = ("--dataset", "table", "--name", "t", "--root", tmp_path / "t.csv", "--text", "minilm")
    amber("extract", *extract, "--features", tmp_path / "C")
    assert Corpus.read(path).ids == ("u",)


def test_a_process_that_ends_right_after_it_read_parquet_ends_well(tmp_path: Path) -> None:
    votes = (Vote("1", ("joy",)),)
    utterances = (Utterance(f"u{i}", None, "some words " * 20, f"s{i}", votes) for i in range(5_000))
    Corpus.of(utterances, name="x").write(tmp_path / "u.parquet")
    code = f"import sys\nfrom pathlib import Path\nfrom amber.corpus import Corpus\n" \
           f"Corpus.read(Path({str(tmp_path / 'u.parquet')!r}))\nsys.exit(2)"  # fmt: skip
    ends = [subprocess.run([sys.executable, "-c", code], check=False).returncode for _ in range(12)]
    assert ends == [2] * 12


def test_memory_does_not_grow_with_the_rows_of_a_table_but_for_the_corpus(tmp_path: Path) -> None:
    rows = "".join(f"u{i:06d},some words that were said,s{i % 50},joy;joy;calm\n" for i in range(60_000))
    path = write(tmp_path, "t.csv", "id,text,speaker,votes\n" + rows)
    tracemalloc.start()
    corpus = load_corpus(Source("table", "x", tmp_path / "C", path)).corpus
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(corpus) == 60_000
    assert peak < 50e6

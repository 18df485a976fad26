"""Other people's predictions beside our variants: the same figures for the same predictions, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from conftest import ONE, Run, demo_config

from amber import predictions
from amber.cli import main
from amber.console import Console
from amber.train import stage as training

CLASSES = ("neutral", "happy", "sad", "angry")
Rows = list[dict[str, object]]


@pytest.fixture(scope="module")
def experiment(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    quick = ("train.epochs=2", ONE, "train.seeds=[0, 1]", "train.variants=[ce, soft]", "train.calibrate=false")
    training.run(demo_config(demo_cache, *quick, "labels.subset=any", f"train.runs={runs}"), None, Console(quiet=True))
    return runs / "demo"


@pytest.fixture(scope="module")
def own(experiment: Path) -> Rows:
    """The test predictions of `soft` as anyone would write them out."""
    return list(written_out(experiment))


def written_out(experiment: Path) -> Iterator[dict[str, object]]:
    for seed in (0, 1):
        for path in sorted(experiment.glob(f"soft/fold*-seed{seed}/{predictions.FILE}")):
            found = predictions.read(path).of(part="test", head="student")
            for uid, p in zip(found.keys["id"], found.p, strict=True):
                yield {"id": uid, "seed": seed, **{f"p_{c}": float(v) for c, v in zip(CLASSES, p, strict=True)}}


@pytest.fixture
def command(experiment: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Evaluate with imports; return metrics or the complaint, and keep what was warned of."""

    def call(*arguments: object, code: int = 0) -> str:
        fast = ("--set", "evaluate.resamples=100")
        with pytest.raises(SystemExit) as end:
            main(["-q", "evaluate", "--runs", str(experiment), *map(str, arguments), *fast, "--json"])
        captured = capfd.readouterr()
        assert end.value.code == code, captured.err
        if code:
            assert len(captured.err.splitlines()) <= 3
            return captured.err
        return json.dumps({**json.loads(captured.out), "warned": captured.err})

    return call


def write(path: Path, rows: Rows) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, path) if path.suffix == ".parquet" else pa.csv.write_csv(table, path)
    return path


def answers(own: Rows, seed: int = 0) -> Rows:
    return [{k: v for k, v in row.items() if k != "seed"} for row in own if row["seed"] == seed]


def test_our_own_predictions_give_our_own_figures(command: Run, own: Rows, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", own)
    found = json.loads(command("--import", path))
    assert found["summary"]["mine"] == found["summary"]["soft"]
    assert found["truth"]["mine"] == found["truth"]["soft"]
    assert found["ensembles"]["mine ensemble"] == found["ensembles"]["soft ensemble"]
    for levels in found["strata"].values():
        for level in levels.values():
            if level["n"]:
                assert level["variants"]["mine"] == level["variants"]["soft"]
    against = {
        variant: [{**c, "variant": ""} for c in found["versus"]["comparisons"]
                  if (c["variant"], c["reference"]) == (variant, "ce")]
        for variant in ("mine", "soft")
    }  # fmt: skip
    assert against["mine"] == against["soft"] != []
    assert found["imports"] == [
        {"name": "mine", "file": path.name, "sha256": found["imports"][0]["sha256"], "seeds": [0, 1],
         "missing": [], "unknown": []}
    ]  # fmt: skip


def test_imports_stand_in_a_folder_of_their_own(command: Run, own: Rows, experiment: Path, tmp_path: Path) -> None:
    plain = json.loads(command())
    one, two = (write(tmp_path / f"{name}.csv", answers(own)) for name in ("one", "two"))
    both = json.loads(command("--import", one, "--import", two, "--name", "gemini", "--name", "last year"))
    assert list(both["summary"]) == ["ce", "soft", "gemini", "last year"]
    assert both["summary"]["soft"] == plain["summary"]["soft"]
    folder = experiment.parent / "demo+gemini+last year"
    assert "gemini" in (folder / "table.md").read_text()
    assert "gemini" not in (experiment / "table.md").read_text()
    assert "gemini: predictions read from one.csv, 1 seed." in (folder / "report.html").read_text()
    # One seed: nothing that rests on it is called supported.
    assert not [c for c in both["versus"]["comparisons"] if c["variant"] == "gemini" and c["supported"]]
    # Another file of the same name is another evaluation.
    write(one, [{**row, "p_neutral": row["p_sad"], "p_sad": row["p_neutral"]} for row in answers(own)])
    again = json.loads(command("--import", one, "--import", two, "--name", "gemini", "--name", "last year"))
    assert again["summary"]["gemini"] != both["summary"]["gemini"]


def test_what_is_missing_is_left_out_for_all_and_what_is_unknown_is_counted(
    command: Run, own: Rows, tmp_path: Path
) -> None:
    rows = answers(own)
    empty = {name: None for name in rows[0] if name.startswith("p_")}
    short = [*rows[2:-1], {**rows[-1], **empty}, {**rows[0], "id": "stranger"}]
    found = json.loads(command("--import", write(tmp_path / "gemini.csv", short)))
    assert found["utterances"] == 97
    lacking = sorted(str(row["id"]) for row in (*rows[:2], rows[-1]))
    assert sorted(found["imports"][0]["missing"]) == lacking
    assert found["imports"][0]["unknown"] == ["stranger"]
    assert "no prediction for 3 of 100 test utterances" in found["warned"]
    assert "1 ids are no test utterances: stranger" in found["warned"]
    assert sum(map(sum, found["series"]["confusion"])) == 97


def test_sampled_answers_become_shares(command: Run, own: Rows, tmp_path: Path) -> None:
    ids = [row["id"] for row in answers(own)]
    rng = np.random.default_rng(0)
    counts = rng.multinomial(5, [0.4, 0.3, 0.2, 0.1], len(ids))
    said = [[c for c, n in zip(CLASSES, row, strict=True) for _ in range(n)] for row in counts]
    shares = [
        {"id": uid, **{f"p_{c}": n / 5 for c, n in zip(CLASSES, row, strict=True)}}
        for uid, row in zip(ids, counts, strict=True)
    ]
    tables: dict[str, Rows] = {
        "shares.csv": shares,
        "columns.parquet": [
            {"id": row["id"], **{f"vote_{c}": int(n) for c, n in zip(CLASSES, of, strict=True)}}
            for row, of in zip(shares, counts, strict=True)
        ],
        # Labels of the corpus count for their class, labels of no class are counted and left out.
        "listed.jsonl": [
            {"id": uid, "votes": [*("Excited" if c == "happy" else c for c in of), "Frustration"]}
            for uid, of in zip(ids, said, strict=True)
        ],
        "objects.jsonl": [
            {"id": row["id"], "distribution": {c: row[f"p_{c}"] for c in CLASSES}, "label": "x"} for row in shares
        ],
    }
    given = [part for name, rows in tables.items() for part in ("--import", write(tmp_path / name, rows))]
    found = json.loads(command(*given))
    for name in ("columns", "listed", "objects"):
        assert found["summary"][name] == found["summary"]["shares"]
    assert "answers of no class are left out: Frustration (100)" in found["warned"]


def changed(own: Rows, **cells: object) -> Rows:
    return [{**row, **(cells if place == 3 else {})} for place, row in enumerate(answers(own))]


def test_what_cannot_be_used_is_refused_by_name(command: Run, own: Rows, tmp_path: Path) -> None:
    rows = answers(own)
    uid = rows[3]["id"]
    cases: list[tuple[Rows, str]] = [
        (changed(own, p_sad=0.9), f"1 rows don't sum to one: {uid}"),
        (changed(own, p_sad=-0.1), f"1 rows don't sum to one: {uid}"),
        (changed(own, p_sad=None), "p_sad is empty"),
        ([*rows, rows[3]], f"1 ids occur twice: {uid}"),
        ([{**row, "p_bored": 0.0} for row in rows], "bored: no class"),
        ([{k: v for k, v in row.items() if k != "p_sad"} for row in rows], "each class needs one probability"),
        ([{**row, "vote_sad": 1} for row in rows], "keep one of them"),
        ([{"id": row["id"], "answer": "sad"} for row in rows], "it has none"),
        ([{**row, "id": f"other{n}"} for n, row in enumerate(rows)], "no test utterance has a prediction"),
    ]
    for number, (case, complaint) in enumerate(cases):
        assert complaint in command("--import", write(tmp_path / f"case{number}.csv", case), code=2), complaint
    good = write(tmp_path / "soft.csv", rows)
    assert "called soft already" in command("--import", good, code=2)
    for name in ("a/b", "soft ensemble"):
        assert "can't be the name" in command("--import", good, "--name", name, code=2)
    assert "2 names for 1 tables" in command("--import", good, "--name", "a", "--name", "b", code=2)
    assert "two tables are called" in command("--import", good, "--import", good, code=2)
    assert "no such file" in command("--import", tmp_path / "nowhere.csv", code=2)

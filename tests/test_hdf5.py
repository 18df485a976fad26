"""Features to and from HDF5: joined by id, every row accounted for, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ONE, Run, contents, demo_config, flip
from hypothesis import given, settings
from hypothesis import strategies as st

from amber.cli import main
from amber.console import Console
from amber.corpus import FILE, Corpus
from amber.extract import stage
from amber.features.catalog import find_corpus, find_set
from amber.features.store import FeatureStore, feature_sets
from amber.features.unit import Status


def table(folder: Path, ids: list[str], header: str = "id,speaker,session,vote_joy,vote_calm") -> Path:
    rows = [f"{uid},s{i % 10},Ses{i % 5},{1 + i % 2},{i % 3}" for i, uid in enumerate(ids)]
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def arrays(folder: Path, **data: object) -> Path:
    path = folder / "features.h5"
    with h5py.File(path, "w") as file:
        for name, value in data.items():
            file.create_dataset(name, data=value)
    return path


def loaded(cache: Path, dataset: str = "mine") -> dict[str, FeatureStore]:
    return {str(s.spec.modality): s for s in feature_sets(cache, dataset)}


def test_an_export_holds_ids_features_and_specs(run_cache: Run, cache: Path, tmp_path: Path) -> None:
    speech, text = feature_sets(cache, "demo")
    for layer in ("last", "mean", "0", "all"):
        run_cache("export", "--to", tmp_path / f"{layer}.h5", "--features", cache, "--layer", layer)
    with h5py.File(tmp_path / "all.h5") as file:
        assert [str(i) for i in file["ids"].asstr()[:]] == list(speech.ids())
        assert file["text"].shape == (100, 7, 384)
        np.testing.assert_array_equal(file["text"][:, 2], text.layer(2))
        assert json.loads(file["text"].attrs["spec"]) == text.spec.model_dump(mode="json")
        assert file.attrs["dataset"] == "demo"
        assert file.attrs["synthetic"]
    for layer, wanted in (("last", text.layer(6)), ("0", text.layer(0)), ("mean", text.mean_of_layers())):
        with h5py.File(tmp_path / f"{layer}.h5") as file:
            np.testing.assert_array_equal(file["text"][:], wanted)
            assert file["text"].dtype == wanted.dtype


def test_exports_that_can_t_be_leave_nothing(run_cache: Run, cache: Path, tmp_path: Path) -> None:
    to = tmp_path / "f.h5"
    here = ("export", "--features", cache, "--to")
    assert "holds the layers 0; or say last, mean or all" in run_cache(*here, to, "--layer", "9", code=2)
    assert "there is no folder" in run_cache(*here, tmp_path / "no" / "f.h5", code=2)
    assert "no wavlm speech features" in run_cache(*here, to, "--speech", "wavlm", code=2)
    assert "no dataset 'x'" in run_cache(*here, to, "--dataset", "x", code=2)
    to.touch()
    assert "exists already" in run_cache(*here, to, code=2)
    to.unlink()
    store = feature_sets(cache, "demo")[1]
    flip(Path(store.location, "pooled", "c", "1", "0", "0"))
    run_cache(*here, to, code=1)
    store.take_back([0])
    assert "not complete" in run_cache(*here, to, code=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache"]


def test_several_sets_are_chosen_from_by_name(run_cache: Run, cache: Path) -> None:
    stage.run(demo_config(cache, "features.dtype=float32"), Console(quiet=True))
    assert "several speech sets; say which with --speech" in run_cache(
        "export", "--features", cache, "--to", cache / "f.h5", code=2
    )
    corpus = find_corpus(cache, None)
    for store in feature_sets(cache, "demo"):
        found = find_set(cache, corpus, store.spec.modality, store.location.name)
        assert found.location == store.location


@settings(max_examples=15)
@given(data=st.data())
def test_what_is_exported_is_imported_again(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any array, in any order of rows, comes back from the store and from its export as it was."""
    folder = tmp_path_factory.mktemp("roundtrip")
    n, layers, dim = (data.draw(st.integers(1, top)) for top in (150, 3, 5))
    dtype = data.draw(st.sampled_from(["float16", "float32", "float64", "int16", ">f4"]))
    ids = [f"ü {i}" for i in range(n)]
    order = data.draw(st.permutations(range(n)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    features = (rng.normal(size=(n, layers, dim)) * 9).astype(dtype)
    lacking = rng.random(n) < 0.2 if dtype != "int16" and n > 20 else np.zeros(n, dtype=bool)
    features[lacking] = np.nan if lacking.any() else 0
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("x/speech", data=features[order], chunks=data.draw(st.sampled_from([None, True])))
        names = [ids[i].encode() for i in order]
        file.create_dataset("names", data=names if data.draw(st.booleans()) else np.array(names, dtype="S12"))
    place, join = f"{folder / 'a.h5'}:x/speech", ("--ids", f"{folder / 'a.h5'}:/names")
    _call("import", "--dataset", "mine", "--table", table(folder, ids), "--speech", place, *join, "--features", folder)
    store = loaded(folder)["speech"]
    kept = "float16" if dtype == "float16" else "float32"
    assert (store.spec.dtype, store.spec.layers) == (kept, tuple(range(layers)))
    assert store.ids() == tuple(ids)
    np.testing.assert_array_equal(store.status() == Status.FAILED, lacking)
    wanted = np.where(lacking[:, None, None], 0, features).astype(kept)
    for layer in range(layers):
        np.testing.assert_array_equal(store.layer(layer), wanted[:, layer])

    _call("export", "--to", folder / "b.h5", "--features", folder, "--layer", "all")
    with h5py.File(folder / "b.h5") as file:
        assert list(file["ids"].asstr()[:]) == ids
        np.testing.assert_array_equal(file["speech"][:], features.astype(kept))
    place = f"{folder / 'b.h5'}:/speech"
    _call("import", "--dataset", "mine", "--table", folder / "table.csv", "--speech", place, "--features", folder / "2")
    again = loaded(folder / "2")["speech"]
    np.testing.assert_array_equal(again.layer(0), store.layer(0))
    np.testing.assert_array_equal(again.status(), store.status())


def _call(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in ("-q", "cache", *arguments)])
    assert end.value.code == 0


def test_import_joins_by_id_and_accounts_for_every_row(run_cache: Run, tmp_path: Path) -> None:
    ids = [f"u{i}" for i in range(8)]
    rows = np.arange(9, dtype=np.float32)[:, None] * np.ones((1, 3), dtype=np.float32)
    rows[2, 1] = np.inf
    names = ["extra", "u7", "u2", *(f"u{i}" for i in range(3, 7)), "u0", "more"]
    path = arrays(tmp_path, speech=rows, ids=names)
    asked = ("import", "--dataset", "mine", "--table", table(tmp_path, ids), "--features", tmp_path / "c")
    asked = (*asked, "--speech", f"{path}:/speech", "--ids", f"{path}:/ids")
    said = run_cache(*asked)
    assert "6 ok" in said
    assert "1 absent, 6 ok, 1 failed (1 of 1 unit done now)" in said
    assert "not in the table: 2 (extra, more)" in said
    assert "without features: 1 (u1)" in said
    assert "1 row not finite in float32 (u2)" in said
    store = loaded(tmp_path / "c")["speech"]
    assert store.layer(0)[:, 0].tolist() == [7, 0, 0, 3, 4, 5, 6, 1]
    assert store.errors() == {"u2": "the row in features.h5:/speech is not finite in float32"}
    assert store.spec.encoder == "import-speech"
    ledger = json.loads((tmp_path / "c" / "mine" / "ledger.json").read_text())
    assert ledger["entries"]["without features"] == ["u1"]
    before = contents(tmp_path / "c")
    assert "0 of 1 unit done now" in run_cache(*asked)
    assert contents(tmp_path / "c") == before
    run_cache("verify", "--features", tmp_path / "c")
    flip(Path(store.location, "pooled", "c", "0", "0", "0"))
    assert "1 of 1 unit done now" in run_cache(*asked)
    assert contents(tmp_path / "c") == before
    # The same rows of other utterances are other features.
    with h5py.File(path, "a") as file:
        file["ids"][1:3] = ["u2", "u7"]
    run_cache(*asked)
    assert len(feature_sets(tmp_path / "c", "mine")) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "with --speech, --text or both"),
        (("--speech", "{h}"), "write it as FILE:/PATH"),
        (("--speech", "{h}:/"), "write it as FILE:/PATH"),
        (("--speech", "{d}/none.h5:/speech"), "no such file"),
        (("--speech", "{d}/table.csv:/speech"), "can't be read as HDF5"),
        (("--speech", "{h}:/none"), "is not there; the file holds /dup, /empty, /fewer"),
        (("--speech", "{h}:/group"), "is a group"),
        (("--speech", "{h}:/flat"), "must be numbers (N, D) or (N, L, D)"),
        (("--speech", "{h}:/words"), "must be numbers"),
        (("--speech", "{h}:/empty"), "must be numbers"),
        (("--speech", "{h}:/fewer"), "3 rows, but 4 in the table; join by id"),
        (("--speech", "{h}:/nan"), "no row is finite in float32"),
        (("--speech", "{h}:/speech", "--text", "{h}:/fewer"), "3 rows"),
        (("--speech", "{h}:/speech", "--ids", "{h}:/flat"), "ids must be strings"),
        (("--speech", "{h}:/speech", "--ids", "{h}:/dup"), "1 id there more than once: u1"),
        (("--speech", "{h}:/speech", "--ids", "{h}:/latin"), "must be UTF-8"),
        (("--speech", "{h}:/fewer", "--ids", "{h}:/ids"), "3 rows, but 4 ids"),
        (
            ("--speech", "{h}:/speech", "--ids", "{h}:/others"),
            "none of them (a, b, c and 1 more) is in the table (u0, u1, u2 and 1 more)",
        ),
        (("--speech", "{d}/other.h5:/speech"), "give --ids {d}/other.h5:/ids"),
        (("--speech", "{d}/shifted.h5:/speech"), "give --ids {d}/shifted.h5:/ids"),
        (("--speech", "{d}/twice.h5:/speech"), "others than the table's or in another order"),
        (("--speech", "{h}:/speech", "--text", "{d}/longer.h5:/speech"), "rename /ids if it isn't of these rows"),
        (("--speech", "{h}:/speech", "--dataset", "../x"), "can't be the name of a folder"),
        (("--speech", "{h}:/speech", "--table", "{d}/none.csv"), "no such file"),
    ],
)
def test_mistakes_of_an_import_are_named_and_nothing_is_written(
    run_cache: Run, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    good, ids = np.ones((4, 2), dtype=np.float32), ["u0", "u1", "u2", "u3"]
    beside = {"other": ids[::-1], "shifted": [*ids[1:], "u4"], "twice": ["u1", *ids[1:]], "longer": [*ids, "u4"]}
    for name, of in beside.items():
        arrays(tmp_path, speech=good, ids=of).rename(tmp_path / f"{name}.h5")
    path = arrays(
        tmp_path,
        speech=good,
        ids=ids,
        fewer=good[:3],
        flat=np.ones(4),
        words=[["a"], ["b"], ["c"], ["d"]],
        empty=np.ones((4, 0)),
        nan=good * np.nan,
        dup=["u1", "u1", "u2", "u3"],
        others=["a", "b", "c", "d"],
        latin=np.array([b"\xff", b"b", b"c", b"d"]),
        **{"group/x": good},
    )
    here = ("--dataset", "mine", "--table", table(tmp_path, ids), "--features", tmp_path / "c")
    given_ = [option.format(h=path, d=tmp_path) for option in options]
    assert says.replace("{d}", str(tmp_path)) in run_cache("import", *here, *given_, code=2)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["a", "b"], "none of these ids (a, b) is in the table (u0, u1)"),
        ([0, 1], "ids must be strings"),
        (["u0", "u1"], ""),
        (None, ""),
    ],
)
def test_rows_that_are_joined_by_position_beside_other_ids_are_said(
    run_cache: Run, tmp_path: Path, ids: list[object] | None, says: str
) -> None:
    path = arrays(tmp_path, speech=np.ones((2, 3)), **({"ids": ids} if ids else {}))
    asked = ("--dataset", "mine", "--table", table(tmp_path, ["u0", "u1"]), "--features", tmp_path / "c")
    said = run_cache("import", *asked, "--speech", f"{path}:/speech")
    assert says in said
    assert ("by position" in said) == bool(says)
    assert "2 ok" in said


def test_another_dataset_s_utterances_are_not_replaced(run_cache: Run, cache: Path, tmp_path: Path) -> None:
    before = contents(cache)
    path = arrays(tmp_path, speech=np.ones((4, 2)))
    asked = ("import", "--table", table(tmp_path, list("abcd")), "--speech", f"{path}:/speech", "--features", cache)
    assert "holds other utterances" in run_cache(*asked, "--dataset", "demo", code=2)
    assert contents(cache) == before
    run_cache(*asked, "--dataset", "mine")
    # A table that grew is the same place's, and is taken.
    path = arrays(tmp_path, speech=np.ones((5, 2)))
    table(tmp_path, list("abcde"))
    run_cache(*asked, "--dataset", "mine")
    assert len(Corpus.read(cache / "mine" / FILE)) == 5


def test_synthetic_data_stay_marked_as_synthetic(run_cache: Run, cache: Path, tmp_path: Path) -> None:
    corpus = Corpus.read(cache / "demo" / FILE)
    run_cache("export", "--to", tmp_path / "f.h5", "--features", cache)
    rows = [f"{uid},1,0,0.25,0.75" for uid in corpus.ids]
    (tmp_path / "t.csv").write_text("\n".join(["id,vote_joy,vote_calm,truth_joy,truth_calm", *rows]) + "\n")
    asked = ("import", "--dataset", "mine", "--table", tmp_path / "t.csv", "--features", tmp_path / "c")
    run_cache(*asked, "--speech", f"{tmp_path / 'f.h5'}:/speech")
    made = Corpus.read(tmp_path / "c" / "mine" / FILE)
    assert made.synthetic
    assert (made.classes, made.column("truth")[0]) == (("joy", "calm"), [0.25, 0.75])
    # The other modality can come later.
    run_cache(*asked, "--text", f"{tmp_path / 'f.h5'}:/text", "--ids", f"{tmp_path / 'f.h5'}:/ids")
    assert set(loaded(tmp_path / "c")) == {"speech", "text"}


def test_from_a_table_and_arrays_to_a_report(run_cache: Run, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    joy = rng.integers(0, 4, size=120)
    ids = [f"u{i}" for i in range(120)]
    lines = [f"{uid},gone/{uid}.wav,s{i % 10},Ses{i % 5},{joy[i]},{3 - joy[i]}" for i, uid in enumerate(ids)]
    (tmp_path / "t.csv").write_text("\n".join(["id,audio,speaker,session,vote_joy,vote_calm", *lines]) + "\n")
    signal = joy[:, None, None] + rng.normal(size=(120, 2, 6))
    path = arrays(tmp_path, speech=signal.astype(np.float16), text=signal[:, 0])
    cache, runs = tmp_path / "c", tmp_path / "runs"
    places = ("--speech", f"{path}:/speech", "--text", f"{path}:/text")
    run_cache("import", "--dataset", "mine", "--table", tmp_path / "t.csv", *places, "--features", cache)
    quick = ("--seeds", 0, "--variants", "soft,amber2", "--set", "train.epochs=5", "--set", ONE)
    for command in (
        ("train", "--features", cache, "--dataset", "mine", "--runs", runs, *quick),
        ("evaluate", "--runs", runs / "mine", "--set", "evaluate.resamples=200", "--json"),
    ):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in ("-q", *command)])
        captured = capfd.readouterr()
        assert end.value.code == 0, captured.err
    results = json.loads(captured.out)
    assert len(results["folds"]) == 5
    assert results["summary"]["soft"]["bc"]["mean"] > 0.8

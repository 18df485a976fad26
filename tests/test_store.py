"""The feature store: a committed unit was written completely, anything else counts as missing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import contents, flip
from hypothesis import given, settings
from hypothesis import strategies as st

from amber.errors import RunFailure, UserError
from amber.features import reader, zarr_arrays
from amber.features.fill import drop_damaged
from amber.features.spec import FeatureSpec
from amber.features.store import FeatureStore, feature_sets
from amber.features.unit import Status, Unit


def spec(size: int = 150, **changes: object) -> FeatureSpec:
    fields: dict[str, object] = {
        "corpus": "x",
        "release": "",
        "inputs": "h",
        "size": size,
        "modality": "speech",
        "encoder": "org/some encoder",
        "revision": "1",
        "layers": (0, 3),
        "dim": 4,
        "level": "pooled",
        "pooling": "mean",
        "sample_rate": 16_000,
        "max_seconds": None,
        "dtype": "float16",
        "precision": "fp32",
    }
    return FeatureSpec.model_validate({**fields, **changes})


def ids(size: int = 150) -> list[str]:
    return [f"ü{i}" for i in range(size)]


def fill(store: FeatureStore, numbers: range | list[int]) -> None:
    for number in numbers:
        rows = store.unit(number)
        pooled = np.stack([np.full((2, 4), row, dtype=np.float32) for row in rows])
        store.commit(number, Unit(pooled, np.full(len(rows), Status.OK, dtype=np.uint8), [""] * len(rows)))


def test_what_is_committed_is_read_back(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path, spec(), ids())
    assert store.committed().tolist() == [False] * 3
    fill(store, range(3))
    again = FeatureStore.open(store.location)
    assert again.complete()
    assert again.ids() == tuple(ids())
    np.testing.assert_array_equal(again.layer(1)[:, 0], np.arange(150))
    np.testing.assert_array_equal(again.mean_of_layers()[:, 0], np.arange(150))
    assert [s.spec for s in feature_sets(tmp_path.parent, tmp_path.name)] == [spec()]


@pytest.mark.parametrize(("units", "starts"), [(0.5, [0, 64, 128]), (2, [0, 128]), (2.9, [0, 128]), (100, [0])])
def test_pieces_are_whole_units_that_follow_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, units: float, starts: list[int]
) -> None:
    store = FeatureStore.create(tmp_path, spec(), ids())
    fill(store, range(3))
    monkeypatch.setattr(reader, "PIECE_BYTES", int(units * len(store.unit(0)) * store.spec.vector_bytes))
    pieces = list(store.pieces())
    assert [start for start, _ in pieces] == starts
    np.testing.assert_array_equal(np.concatenate([features for _, features in pieces]), store.every_layer())
    np.testing.assert_array_equal(store.layer(1)[:, 0], np.arange(150))


def test_an_interrupted_set_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = FeatureStore.create(tmp_path / "a", spec(), ids())
    fill(whole, range(3))
    part = FeatureStore.create(tmp_path / "b", spec(), ids())
    fill(part, [1])
    # A write that a killed process left behind.
    (part.location / "pooled" / "c" / "2.0123.partial").write_bytes(b"half")
    part = FeatureStore.create(tmp_path / "b", spec(), ids())
    assert part.committed().tolist() == [False, True, False]
    fill(part, [0, 2])
    assert contents(part.location) == contents(whole.location)


def test_a_layout_that_was_cut_short_is_laid_out_anew(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path, spec(), ids())
    whole = contents(store.location)
    for name in ("zarr.json", "ids", "commits", "status"):
        path = store.location / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if name != "zarr.json":
            # The spec is written last, so a cut layout never has one.
            (store.location / "zarr.json").unlink()
        assert contents(Path(FeatureStore.create(tmp_path, spec(), ids()).location)) == whole


def test_other_ids_are_refused(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path, spec(), ids())
    with pytest.raises(UserError, match="other utterances"):
        FeatureStore.create(tmp_path, spec(), ids()[::-1])


def test_another_spec_is_refused_with_the_difference(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path, spec(), ids())
    with pytest.raises(UserError, match="precision: 'fp32' here, 'bf16' wanted"):
        store.check(spec(precision="bf16"))


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": "other"},
        {"revision": "2"},
        {"layers": (3,)},
        {"dtype": "float32"},
        {"precision": "bf16"},
        {"max_seconds": 30.0},
        {"encoder": "other"},
        {"release": "1.1"},
    ],
)
def test_everything_that_matters_is_in_the_name(change: dict[str, object]) -> None:
    assert spec().name != spec(**change).name
    assert spec().name == spec().name == f"speech-some-encoder-{spec().key}.zarr"


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path, spec(), ids())
    fill(store, range(3))
    chunk = store.location / "pooled" / "c" / "1" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[7] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(RunFailure, match="pooled/c/1/0/0: a chunk is damaged"):
        store.layer(0)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("name", ["pooled/c/1/0/0", "status/c/1"])
def test_a_missing_chunk_is_not_read_as_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, local: bool
) -> None:
    monkeypatch.setattr(zarr_arrays, "is_local", lambda _: local)  # elsewhere chunks are read through Zarr
    store = FeatureStore.create(tmp_path, spec(), ids())
    fill(store, range(3))
    (store.location / name).unlink()
    for read in [lambda: store.layer(0), store.mean_of_layers] if name.startswith("pooled") else [store.status]:
        with pytest.raises(RunFailure, match="a chunk is missing; `amber cache verify` names the damage"):
            read()
    with pytest.raises(RunFailure, match=f"{name}: a chunk is missing" if local else "a chunk is missing"):
        store.read_unit(1)


def test_zeros_and_absent_utterances_are_stored_like_all_others(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path, spec(64), ids(64))
    store.commit(0, Unit(np.zeros((64, 2, 4)), np.full(64, Status.ABSENT, dtype=np.uint8), [""] * 64))
    assert not store.every_layer().any()
    assert not store.status().any()
    assert drop_damaged(store) == {}


def test_features_that_do_not_fit_are_not_committed(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path, spec(), ids())
    status, errors = np.ones(64, dtype=np.uint8), [""] * 64
    for value in (np.nan, 1e6):
        with pytest.raises(ValueError, match="not finite"), np.errstate(over="ignore"):
            store.commit(0, Unit(np.full((64, 2, 4), value, dtype=np.float32), status, errors))
    with pytest.raises(ValueError, match="unit 0 is pooled of 64 utterances"):
        store.commit(0, Unit(np.zeros((63, 2, 4), dtype=np.float32), status, errors))
    assert not store.committed().any()


@settings(max_examples=30)
@given(size=st.integers(1, 5000), layers=st.integers(1, 30), dim=st.integers(1, 1500))
def test_units_cover_every_row_once(size: int, layers: int, dim: int) -> None:
    made = spec(size=size, layers=tuple(range(layers)), dim=dim)
    store = FeatureStore("nowhere", None, made)  # type: ignore[arg-type]
    units = [store.unit(number) for number in range(-(-size // made.unit_rows))]
    assert [row for unit in units for row in unit] == list(range(size))
    assert made.unit_rows * layers * dim * 2 <= max(2 << 20, 64 * layers * dim * 2)


def frames_unit(lengths: list[int], first: int = 0) -> Unit:
    features = np.arange(first, first + sum(lengths) * 8, dtype=np.float32).reshape(-1, 2, 4)
    status = np.where(np.array(lengths) > 0, Status.OK, Status.FAILED).astype(np.uint8)
    return Unit(features, status, ["" if n else "gone" for n in lengths], np.array(lengths, dtype=np.int64))


@pytest.mark.slow
@settings(max_examples=20)
@given(st.lists(st.integers(0, 30), min_size=70, max_size=130), st.integers(1, 9))
def test_frames_are_read_back_by_span(lengths: list[int], chunk: int) -> None:
    made = spec(len(lengths), level="frames", dtype="float32")
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(FeatureSpec, "chunk_frames", property(lambda self: chunk))
        store = FeatureStore.create(Path(folder), made, ids(len(lengths)))
        parts = [frames_unit(lengths[u.start : u.stop], 1000 * u.start) for u in map(store.unit, range(made.units))]
        for number, part in enumerate(parts):
            store.commit(number, part)
        again = FeatureStore.open(store.location)
        frames, spans = again._arrays["frames"], again.spans()
        assert (spans[:, 1] - spans[:, 0]).tolist() == lengths
        for number, part in enumerate(parts):
            np.testing.assert_array_equal(again.read_unit(number).features, part.features)
            for row, one in zip(again.unit(number), part.split(), strict=True):
                np.testing.assert_array_equal(np.asarray(frames[slice(*spans[row])]), one)
        for one, part in zip(again.stream(range(made.units)[::-1]), parts[::-1], strict=True):
            np.testing.assert_array_equal(one.features, part.features)
            assert one.lengths is not None
            assert one.lengths.tolist() == [len(frames) for frames in part.split()]
        # A chunk belongs to one unit.
        owners = [{span // chunk for span in spans[u.start : u.stop, 0]} for u in map(store.unit, range(made.units))]
        assert not set.intersection(*owners) or made.units == 1


@pytest.mark.parametrize("name", ["frames/c/0/0/0", "frames/c/1/0/0", "spans/c/0/0", "status/c/0"])
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_damage_to_frames_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str) -> None:
    monkeypatch.setattr(FeatureSpec, "chunk_frames", property(lambda self: 100))
    store = FeatureStore.create(tmp_path, spec(64, level="frames", dtype="float32"), ids(64))
    store.commit(0, frames_unit([3] * 64, first=1))
    assert store.read_unit(0).features.shape == (192, 2, 4)
    assert [len(unit.features) for unit in store.stream([0])] == [192]
    flip(store.location / name) if how == "flipped" else (store.location / name).unlink()
    with pytest.raises(RunFailure):
        store.read_unit(0)
    with pytest.raises(RunFailure, match="damaged" if how == "flipped" else "missing"):
        list(store.stream([0]))
    assert list(drop_damaged(store)) == [0]
    assert not store.complete()

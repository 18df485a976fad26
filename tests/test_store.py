"""The feature store: committed means written whole, anything else is not believed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import contents
from hypothesis import given, settings
from hypothesis import strategies as st

from amber.errors import RunFailure, UserError
from amber.features import FeatureSpec
from amber.store import FeatureStore, feature_sets
from amber.unit import Status, Unit


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


def test_an_interrupted_set_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = FeatureStore.create(tmp_path / "a", spec(), ids())
    fill(whole, range(3))
    part = FeatureStore.create(tmp_path / "b", spec(), ids())
    fill(part, [1])
    # A write that a killed process left behind.
    (Path(part.location) / "pooled" / "c" / "2.0123.partial").write_bytes(b"half")
    part = FeatureStore.create(tmp_path / "b", spec(), ids())
    assert part.committed().tolist() == [False, True, False]
    fill(part, [0, 2])
    assert contents(Path(part.location)) == contents(Path(whole.location))


def test_a_layout_that_was_cut_short_is_laid_out_anew(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path, spec(), ids())
    whole = contents(Path(store.location))
    for name in ("zarr.json", "ids", "commits", "status"):
        path = Path(store.location) / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if name != "zarr.json":
            # The spec is written last, so a cut layout never has one.
            (Path(store.location) / "zarr.json").unlink()
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
    chunk = Path(store.location) / "pooled" / "c" / "1" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[7] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(RunFailure, match="pooled: a chunk is damaged"):
        store.layer(0)


def test_features_that_do_not_fit_are_not_committed(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path, spec(), ids())
    status, errors = np.ones(64, dtype=np.uint8), [""] * 64
    for value in (np.nan, 1e6):
        with pytest.raises(ValueError, match="not finite"), np.errstate(over="ignore"):
            store.commit(0, Unit(np.full((64, 2, 4), value, dtype=np.float32), status, errors))
    with pytest.raises(ValueError, match="unit 0 is pooled of 64 utterances"):
        store.commit(0, Unit(np.zeros((63, 2, 4), dtype=np.float32), status, errors))
    assert not store.committed().any()


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 5000), layers=st.integers(1, 30), dim=st.integers(1, 1500))
def test_units_cover_every_row_once(size: int, layers: int, dim: int) -> None:
    made = spec(size=size, layers=tuple(range(layers)), dim=dim)
    store = FeatureStore("nowhere", None, made)  # type: ignore[arg-type]
    units = [store.unit(number) for number in range(-(-size // made.unit_rows))]
    assert [row for unit in units for row in unit] == list(range(size))
    assert made.unit_rows * layers * dim * 2 <= max(2 << 20, 64 * layers * dim * 2)

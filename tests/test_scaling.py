"""Scaling by the training part: numpy's statistics, block by block, and a projection that keeps lengths and angles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from amber.train import scaling as module
from amber.train.scaling import WIDEST, Blocks, Scaling, in_blocks, reduced_width

TRAIN = np.random.default_rng(1).permutation(90)[:50]


def features(*shape: int, dtype: str = "float32", n: int = 90) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, *shape)) * rng.uniform(0.5, 3, size=shape) + rng.normal(size=shape) * 9).astype(dtype)


def divided(x: np.ndarray, *sizes: int) -> Blocks:
    """Read rows in blocks of these sizes, as a store may hold them: not in order."""
    order = np.random.default_rng(2).permutation(len(x))

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows in np.split(order, np.cumsum(sizes)):
            yield rows, x[rows]

    return blocks


def by_hand(x: np.ndarray, rows: np.ndarray = TRAIN) -> np.ndarray:
    """Standardise by some rows, then normalise vectors; in float64."""
    x = x.astype(np.float64)
    deviation = x[rows].std(axis=0)
    z = (x - x[rows].mean(axis=0)) / np.where(deviation < 1e-6, 1, deviation)
    centred = z - z.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("shape", [(7,), (3, 7)])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_statistics_are_those_of_the_training_part_alone(shape: tuple[int, ...], dtype: str) -> None:
    x = features(*shape, dtype=dtype)
    others = x.copy()
    others[np.setdiff1d(np.arange(len(x)), TRAIN)] = 1000
    for given in (x, others):
        found = Scaling.fit(in_blocks(given), TRAIN)
        np.testing.assert_allclose(found.mean, x[TRAIN].astype(np.float64).mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(found.std, x[TRAIN].astype(np.float64).std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(Scaling.fit(in_blocks(x), TRAIN).apply_all(in_blocks(x), len(x)), by_hand(x), atol=1e-4)


@pytest.mark.parametrize("sizes", [(), (1,), (10, 0, 30), (89,)], ids=str)
@pytest.mark.parametrize("dim", [7, 400])
def test_block_by_block_is_at_once(sizes: tuple[int, ...], dim: int) -> None:
    x = features(3, dim)
    at_once, found = (Scaling.fit(b, TRAIN, side_by_side=True) for b in (in_blocks(x), divided(x, *sizes)))
    np.testing.assert_allclose(found.mean, at_once.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.std, at_once.std, rtol=1e-5)
    assert found.width == at_once.width
    # What is read in another order may have another basis, of the same space.
    made = [one.apply_all(b, len(x)) for one in (at_once, found) for b in (in_blocks(x), divided(x, *sizes))]
    torch.testing.assert_close(made[1], made[0], atol=1e-5, rtol=1e-5)
    for other in made[2:]:
        torch.testing.assert_close(other @ other.T, made[0] @ made[0].T, atol=2e-3, rtol=1e-4)


def test_blocks_in_memory_are_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = features(3, 7)
    monkeypatch.setattr(module, "BLOCK_VALUES", 100)
    made = list(in_blocks(x)())
    assert len(made) == len(x) / 4 + 0.5
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in made]), np.arange(len(x)))
    np.testing.assert_array_equal(np.concatenate([block for _, block in made]), x)


def test_little_that_varies_far_from_zero_keeps_its_digits() -> None:
    x = (1e4 + features(5) * 1e-2).astype(np.float64)
    found = Scaling.fit(in_blocks(x), TRAIN)
    np.testing.assert_allclose(found.std, x[TRAIN].std(axis=0), rtol=1e-3)


def test_narrow_layers_side_by_side_are_each_scaled_and_nothing_else() -> None:
    x = features(3, 7)
    found = Scaling.fit(in_blocks(x), TRAIN, side_by_side=True)
    assert found.width == 21
    scaled = found.apply_all(in_blocks(x), len(x))
    assert scaled.shape == (90, 21)
    np.testing.assert_allclose(scaled, by_hand(x).reshape(90, 21), atol=1e-4)


def test_wide_layers_side_by_side_keep_lengths_and_angles_of_the_training_part() -> None:
    """There are no more directions than utterances, less their mean, and all of them are kept."""
    x = features(3, 400)
    found = Scaling.fit(in_blocks(x), TRAIN, side_by_side=True)
    assert found.projection is not None
    assert found.projection.shape == (1200, 49)
    assert found.width == 49
    np.testing.assert_allclose(found.projection.T @ found.projection, np.eye(49), atol=1e-5)
    scaled = found.apply_all(in_blocks(x), len(x)).double().numpy()
    assert scaled.shape == (90, 49)
    full = by_hand(x).reshape(90, 1200)
    a, b = (part[TRAIN] - part[TRAIN].mean(axis=0) for part in (scaled, full))
    np.testing.assert_allclose(a @ a.T, b @ b.T, atol=2e-2)  # of lengths of about 1200
    # Of others, what is not in that space is lost and nothing added.
    held = np.setdiff1d(np.arange(90), TRAIN)
    assert (np.linalg.norm(scaled[held], axis=1) < np.linalg.norm(full[held], axis=1)).all()


def test_where_not_all_directions_are_kept_they_are_the_leading_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIDEST", 10)
    x = features(3, 20)
    found = Scaling.fit(in_blocks(x), TRAIN, side_by_side=True)
    assert found.width == 10
    z = by_hand(x)[TRAIN].reshape(50, 60)
    singular = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    kept = found.apply(x[TRAIN]).double().numpy()
    variance = np.square(kept - kept.mean(axis=0)).sum(axis=0)
    assert variance.sum() == pytest.approx(np.square(singular[:10]).sum(), rel=1e-3)
    # Turned at random, no coordinate carries as much as the first direction does.
    assert variance.max() < 0.8 * singular[0] ** 2
    assert variance.min() > np.square(singular[9]) * 0.5


def test_the_subspace_is_that_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 20)
    x = features(3, 400)
    assert Scaling.fit(in_blocks(x), TRAIN, side_by_side=True).width == 19
    # Mean and deviation are those of all.
    found = Scaling.fit(in_blocks(x), TRAIN, side_by_side=True)
    np.testing.assert_allclose(found.mean, x[TRAIN].mean(axis=0), rtol=1e-4)


def test_the_width_that_layers_are_reduced_to() -> None:
    assert reduced_width(WIDEST, 10) == WIDEST
    assert reduced_width(WIDEST + 1, 10) == 10
    assert reduced_width(13 * 768, 10**6) == WIDEST
    assert reduced_width(21, 5) == 21


def test_a_constant_feature_is_left_unscaled() -> None:
    x = features(5)
    x[:, 2] = 7
    found = Scaling.fit(in_blocks(x), TRAIN)
    assert (float(found.mean[2]), float(found.std[2])) == (7, 1)
    assert torch.isfinite(found.apply(x)).all()
    np.testing.assert_allclose(found.apply(x), by_hand(x), atol=1e-4)


@pytest.mark.parametrize("dim", [7, 400])
def test_features_of_which_none_varies_say_nothing(dim: int) -> None:
    """As of a corpus in which every transcript is the same; also where they are wide."""
    x = np.broadcast_to(features(3, dim)[:1], (90, 3, dim))
    scaled = Scaling.fit(in_blocks(x), TRAIN, side_by_side=True).apply_all(in_blocks(x), 90)
    assert not scaled.any()
    assert scaled.shape[1] > 0

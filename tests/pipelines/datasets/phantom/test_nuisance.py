from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipelines.datasets.phantom.nuisance import INK, SHARES, annotate, draw_kinds

IMAGE = np.full((120, 160), 60, np.uint8)
MASKS = np.zeros((1, 120, 160), bool)
MASKS[0, 40:81, 50:111] = True


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_shares_and_no_calipers_without_a_lesion() -> None:
    found = Counter(kind for seed in range(1000) for kind in draw_kinds(rng(seed), True))
    for kind, share in SHARES.items():
        assert found[kind] / 1000 == pytest.approx(share, abs=0.03)
    assert all("calipers" not in draw_kinds(rng(seed), False) for seed in range(200))


def test_calipers_mark_the_ends_of_the_lesion() -> None:
    image, masks = annotate(IMAGE, MASKS, ("calipers",), rng())
    assert np.array_equal(masks, MASKS)
    marks = np.argwhere(image == INK)
    assert marks[:, 0].min() == 36
    assert marks[:, 0].max() == 84
    assert marks[:, 1].min() == 46
    assert marks[:, 1].max() == 114
    assert len(marks) < 150


def test_text_and_ruler_stay_small() -> None:
    for kind in ("text", "ruler"):
        image, _ = annotate(IMAGE, MASKS, (kind,), rng())
        assert 0.002 < (image != 60).mean() < 0.04
    assert (annotate(IMAGE, MASKS, ("ruler",), rng())[0][:, :150] == 60).all()


def test_a_border_moves_image_and_mask_alike() -> None:
    image, masks = annotate(IMAGE, MASKS, ("border",), rng(1))
    assert image.shape == masks.shape[1:]
    assert image.shape[0] > 128
    assert image.shape[1] > 168
    assert np.array_equal(image > 0, np.isin(np.arange(image.size).reshape(image.shape), np.flatnonzero(image)))
    assert (image > 0).sum() == IMAGE.size
    assert masks.sum() == MASKS.sum()
    top, left = np.argwhere(image > 0)[0]
    assert masks[0, top + 40, left + 50]
    assert not masks[0, top + 39, left + 50]
    assert np.array_equal(annotate(IMAGE, MASKS, (), rng())[0], IMAGE)

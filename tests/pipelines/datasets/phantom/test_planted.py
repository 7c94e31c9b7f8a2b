from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.phantom.plan import plan
from pipelines.datasets.phantom.planted import KINDS, PAIRS, choose, mirror, overlay_color, reframe

CLASSES = ("benign", "malignant", "normal")


@pytest.mark.parametrize("seed", range(6))
def test_every_kind_finds_a_place_at_site_a_in_a_patient_of_its_own(seed: int) -> None:
    views = plan(seed, 48, CLASSES, 0.2)
    oddities, missing = choose(views)
    assert missing == []
    assert {oddity.kind for oddity in oddities} == {kind for kind, _ in KINDS}
    chosen = [view for oddity in oddities for view in oddity.views]
    assert len({view.patient for view in chosen}) == len(chosen) == 12
    assert {view.site for view in chosen} == {"A"}
    assert all(view in views for view in chosen)
    for oddity in oddities:
        assert tuple(view.class_name for view in oddity.views) == dict(KINDS)[oddity.kind]


def test_a_longer_plan_plants_the_same() -> None:
    for seed in range(6):
        short, long = (choose(plan(seed, count, CLASSES, 0.2))[0] for count in (48, 240))
        assert short == long


def test_none_in_small_or_incomplete_sets_and_what_has_no_place_is_named() -> None:
    assert choose(plan(0, 47, CLASSES)) == ([], [])
    assert choose(plan(0, 96, ("benign", "normal"))) == ([], [])
    few = [view for view in plan(0, 96, CLASSES) if view.class_name != "malignant" or view.number < 2]
    oddities, missing = choose(few)
    assert missing == ["reframed", "calipers"]  # the only malignant patient is in the identical pair
    assert len(oddities) == len(KINDS) - 2


def test_copies_by_hand() -> None:
    image = np.arange(100 * 200, dtype=np.int64).reshape(100, 200).astype(np.uint8)
    masks = np.zeros((1, 100, 200), bool)
    masks[0, 40:60, 10:50] = True
    flipped, mask = mirror(image, masks)
    assert np.array_equal(flipped[:, 0], image[:, 199])
    assert mask[0, 50, 170]
    assert not mask[0, 50, 20]
    smooth = np.tile(np.linspace(0, 250, 200), (100, 1)).astype(np.uint8)
    cut, mask = reframe(smooth, masks)
    assert cut.shape == (86, 171) == mask.shape[1:]  # .9 * 96 rows, .9 * 190 columns
    assert cut[40, 0] == pytest.approx(smooth[40, 6], abs=1)
    assert mask[0].sum() / 0.81 == pytest.approx(20 * 40, rel=0.06)
    assert set(PAIRS) == {"reframed", "identical", "mirrored"}


def test_overlay_is_colored_and_local() -> None:
    gray = np.full((120, 160), 90, np.uint8)
    colored = overlay_color(gray, np.random.default_rng(0)).astype(int)
    spread = colored.max(axis=2) - colored.min(axis=2)
    assert 0.005 < (spread > 12).mean() < 0.2
    assert not spread[:25].any()
    assert ((colored[..., 0] - colored[..., 2]) > 100).any()
    assert ((colored[..., 2] - colored[..., 0]) > 100).any()

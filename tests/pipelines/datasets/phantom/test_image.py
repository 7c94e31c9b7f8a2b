from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.phantom.image import draw_geometry, make_image, scan_image
from pipelines.datasets.phantom.plan import plan

CLASSES = ("benign", "malignant", "normal")


def test_fields_of_view_of_the_two_sites() -> None:
    for seed in range(40):
        a, width = draw_geometry(np.random.default_rng(seed), "A")
        assert a.radius == 0.0
        assert 0.8 <= a.width / a.depth <= 1.6
        assert 256 <= width <= 336
        b, width = draw_geometry(np.random.default_rng(seed), "B")
        assert 60.0 <= np.rad2deg(b.fan) <= 70.0
        assert 0.8 <= b.width / b.height <= 1.6
        assert 300 <= width <= 380


def test_images_of_both_sites_are_usable() -> None:
    for view in plan(3, 12, CLASSES, 0.4):
        made = scan_image(3, view)
        height, width = made.image.shape
        assert made.image.dtype == np.uint8
        assert 150 <= height <= 430
        assert 20 < made.image.mean() < 160
        assert made.image.std() > 15
        assert len(made.masks) == len(made.lesions) == view.lesions
        assert all(0 < mask.mean() < 0.6 for mask in made.masks)
        assert made.scanner.site == view.site
        corner = made.image[:20, :20]
        assert (corner.max() == 0) == (view.site == "B")  # black beside the fan
        assert made.millimeters * width == pytest.approx(40.0 if view.site == "A" else 80.0, rel=0.4)


def test_an_image_depends_on_seed_patient_and_view_alone() -> None:
    views = plan(0, 12, CLASSES)
    first, again = scan_image(0, views[7]), scan_image(0, views[7])
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(scan_image(1, views[7]).image[:150, :150], first.image[:150, :150])


def test_the_two_arms_differ_by_what_is_drawn_over_alone() -> None:
    view = next(view for view in plan(0, 12, CLASSES) if view.class_name == "malignant")
    plain, marked = scan_image(0, view), make_image(0, view, ("calipers",))
    assert marked.nuisances == ("calipers",)
    assert np.array_equal(plain.masks, marked.masks)
    assert 0.0 < (plain.image != marked.image).mean() < 0.03
    assert np.array_equal(make_image(0, view, ()).image, plain.image)
    views = plan(0, 4, CLASSES)
    assert [make_image(0, one).nuisances for one in views] == [make_image(0, one).nuisances for one in views]

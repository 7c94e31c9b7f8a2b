from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipelines.datasets.phantom.plan import plan

CLASSES = ("benign", "malignant", "normal")


def test_class_ratio_of_busi() -> None:
    for count in (48, 240, 780):
        views = plan(0, count, CLASSES)
        assert len(views) == count
        found = Counter(view.class_name for view in views)
        for name, share in (("benign", 437 / 780), ("malignant", 210 / 780), ("normal", 133 / 780)):
            assert abs(found[name] - share * count) <= 3
    assert {view.class_name for view in plan(0, 20, ("benign",))} == {"benign"}


def test_nested_and_patients_have_one_to_three_views_of_one_class_at_one_site() -> None:
    views = plan(5, 240, CLASSES, 0.2)
    assert plan(5, 120, CLASSES, 0.2)[:117] == views[:117]
    patients: dict[int, list] = {}
    for view in views:
        patients.setdefault(view.patient, []).append(view)
    assert {len(own) for own in patients.values()} == {1, 2, 3}
    assert all(len({(view.class_name, view.site) for view in own}) == 1 for own in patients.values())
    assert all([view.view for view in own] == list(range(len(own))) for own in patients.values())
    assert len({view.case for view in views}) == 240
    assert plan(6, 240, CLASSES) != views


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_share_of_patients_at_site_b_in_every_class(seed: int, share: float) -> None:
    views = plan(seed, 240, CLASSES, share)
    for name in CLASSES:
        sites = {view.patient: view.site for view in views if view.class_name == name}
        at_b = sum(site == "B" for site in sites.values())
        assert abs(at_b - share * len(sites)) <= 1.0


def test_sizes_and_contrasts_cover_their_range_evenly_in_small_sets_too() -> None:
    views = plan(0, 120, CLASSES)
    for name in CLASSES[:2]:
        patients = {view.patient: (view.size, view.contrast) for view in views if view.class_name == name}
        for ranks in zip(*patients.values(), strict=True):
            worst = max(abs(np.mean(np.array(ranks) < limit) - limit) for limit in np.linspace(0.1, 0.9, 9))
            assert worst < 2.5 / len(patients)


def test_two_lesions_occur_in_small_sets_too() -> None:
    assert [view.lesions for view in plan(0, 48, CLASSES)].count(2) >= 1

import numpy as np
import pytest

from pipelines.report.table import arm_rows
from pipelines.runtime.errors import ArtifactError
from tests.support.report_world import gathered, line


def test_scores_are_averaged_over_seeds_then_images():
    cells = {("real", 0): [line("a1", 0.2), line("b1", 0.6)], ("real", 1): [line("a1", 0.4), line("b1", 0.8)]}
    (row,) = arm_rows(gathered(cells, ("real",), (0, 1, 2)), 200)
    assert row.dice.mean == pytest.approx(0.5)
    assert row.per_image == pytest.approx((0.3, 0.7))
    assert row.median == pytest.approx(0.5)
    assert row.seed_sd == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert (row.seeds, row.missing, row.images, row.groups) == ((0, 1), (2,), 2, 2)
    assert row.means["hd95_mm"] is None


def test_gain_is_paired_by_image_and_common_seed():
    cells = {
        ("control", 0): [line("a1", 0.5), line("b1", 0.1)],
        ("real", 0): [line("b1", 0.3), line("a1", 0.7)],  # another order of rows
        ("real", 1): [line("a1", 0.0), line("b1", 0.0)],  # no control of this seed
    }
    control, real = arm_rows(gathered(cells, ("control", "real"), (0, 1)), 200)
    assert control.gain is None
    assert (real.gain.mean, real.gain.low, real.gain.high) == pytest.approx((0.2, 0.2, 0.2))


def test_no_gain_without_control():
    (row,) = arm_rows(gathered({("real", 0): [line("a1", 0.5)]}, ("real",), (0,)), 200)
    assert row.gain is None


def test_copies_of_test_images_withdraw_the_gain():
    cells = {("control", 0): [line("a1", 0.5)], ("both", 0): [line("a1", 0.9)]}
    for hard, expected in ((0, 0.4), (1, None)):
        found = gathered(
            cells, ("control", "both"), (0,), both={"copies_of_test": {"samples": 5, "flagged": 2, "hard": hard}}
        )
        row = arm_rows(found, 200)[1]
        assert row.copies == (2, hard)
        assert (row.gain.mean if row.gain else None) == (pytest.approx(expected) if expected else None)


def test_lesion_free_and_missed_images():
    rows = [
        line("a1", 0.0, empty="prediction"),
        line("b1", 0.8),
        line("n1", 1.0, area=0.0, empty="both", predicted=0.0),
    ]
    rows.append(line("n2", 0.0, area=0.0, empty="target", predicted=0.004))
    (row,) = arm_rows(gathered({("real", 0): rows}, ("real",), (0,)), 200)
    assert row.dice.mean == pytest.approx(0.4)
    assert row.missed == 1.0
    assert (row.lesion_free, row.false_positive, row.false_component) == (2, 0.5, 0.0)


def test_modes_are_rows_of_their_own_and_arms_not_run_are_empty():
    cells = {("real", 0): [line("a1", 0.5), line("a1", 0.4, mode="direct")]}
    rows = arm_rows(gathered(cells, ("real", "both"), (0,)), 200)
    assert [(row.arm, row.mode, row.seeds) for row in rows] == [
        ("real", "refine", (0,)),
        ("real", "direct", (0,)),
        ("both", "", ()),
    ]


def test_arms_on_other_test_images_are_an_error():
    cells = {("control", 0): [line("a1", 0.5)], ("real", 0): [line("a1", 0.5), line("b1", 0.5)]}
    with pytest.raises(ArtifactError, match="b1"):
        arm_rows(gathered(cells, ("control", "real"), (0,)), 200)


def test_dice_by_call_is_averaged_over_seeds_for_the_first_mode():
    cells = {("real", seed): [line("a1", 0.5), line("a1", 0.4, mode="direct")] for seed in (0, 1)}
    found = gathered(cells, ("real",), (0, 1), real={"primary": "refine", "dice_by_call": {"lesion": [0.2, 0.6]}})
    rows = arm_rows(found, 200)
    assert rows[0].by_call == pytest.approx((0.2, 0.6))
    assert rows[1].by_call == ()


def test_leaked_images_are_scored_and_then_left_out():
    lines = [line("a1", 0.9, leaked=True), line("b1", 0.5), line("c1", 0.7), line("d1", 1.0, area=0.0, leaked=True)]
    (row,) = arm_rows(gathered({("real", 0): lines}, ("real",), (0,)), 200)
    assert (row.leaked, row.images) == (1, 3)
    assert (row.dice.mean, row.clean.mean) == pytest.approx((0.7, 0.6))
    assert row.clean.low >= 0.5
    (row,) = arm_rows(gathered({("real", 0): lines[:1]}, ("real",), (0,)), 200)
    assert (row.leaked, row.clean) == (1, None)
    (row,) = arm_rows(gathered({("real", 0): lines[1:3]}, ("real",), (0,)), 200)
    assert (row.leaked, row.clean, row.sites) == (0, None, ())


def test_sites_are_scored_apart():
    lines = [line("a1", 0.9, site="A"), line("b1", 0.5, site="B"), line("b2", 0.7, site="B")]
    lines += [line("c1", 0.0, area=0.0, site="B"), line("c2", 0.0, area=0.0, predicted=0.0, site="B")]
    cells = {("real", 0): lines, ("real", 1): [row | {"dice": "0.1"} for row in lines[::-1]]}
    (row,) = arm_rows(gathered(cells, ("real",), (0, 1)), 200)
    first, second = row.sites
    assert (first.site, first.images, first.groups, first.lesion_free, first.false_positive) == ("A", 1, 1, 0, None)
    assert (second.site, second.images, second.groups, second.lesion_free) == ("B", 2, 1, 2)
    assert (first.dice.mean, second.dice.mean) == pytest.approx((0.5, 0.35))
    assert second.false_positive == 0.5

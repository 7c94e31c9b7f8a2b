import numpy as np
import pytest

from pipelines.report.table import arm_rows
from pipelines.runtime.artifacts import read_csv, write_csv
from pipelines.runtime.errors import ArtifactError
from segmentation.scores import COLUMNS, Scoring, score_all
from segmentation.statistics import aggregate
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


def vanished(case, native, **more):
    """Nothing is predicted, and the lesion has no pixel at working size: both masks are empty there."""
    return line(case, 1.0, empty="both", empty_native="prediction", **more) | {"dice_native": str(native)}


def test_lesions_that_vanish_at_working_size_score_at_native_size_alone():
    lines = [line("a1", 0.2), line("b1", 0.4, leaked=True), vanished("c1", 0.0), vanished("c2", 0.0, site="B")]
    control = [row | {"dice": "0.1"} for row in lines]
    _, row = arm_rows(gathered({("control", 0): control, ("real", 0): lines}, ("control", "real"), (0,)), 200)
    assert (row.images, row.vanished, row.groups, row.missed) == (4, 2, 3, 2.0)
    assert (row.dice.mean, row.median, row.means["iou"]) == pytest.approx((0.3, 0.3, 0.3))
    assert row.means["dice_native"] == pytest.approx((0.2 + 0.4) / 4)
    assert row.per_image == pytest.approx((0.2, 0.4))
    assert (row.leaked, row.clean.mean, row.gain.mean) == (1, pytest.approx(0.2), pytest.approx(0.2))
    first, second = row.sites
    assert (first.images, first.vanished, first.dice.mean) == (3, 1, pytest.approx(0.3))
    assert (second.images, second.vanished, second.dice) == (1, 1, None)
    (row,) = arm_rows(gathered({("real", 0): lines[2:]}, ("real",), (0,)), 200)
    assert (row.dice, row.median, row.gain, row.images, row.vanished) == (None, None, None, 2, 2)


def test_report_and_evaluate_give_the_same_numbers(tmp_path):
    """Four images of 640 pixels scored at 64, nothing predicted but in the first; three lesions vanish."""
    place = {"class": "x", "site": "", "inner_top": "0", "inner_left": "0", "inner_height": "64", "inner_width": "64"}
    place |= {"width": "640", "height": "640", "spacing_x": "", "spacing_y": ""}
    natives, labels = np.zeros((4, 640, 640), np.uint8), np.zeros((4, 64, 64), np.uint8)
    natives[0, 100:300, 100:300] = labels[0, 10:30, 10:30] = 1
    natives[1:, 101:104, 101:104] = 1
    probability = np.zeros((4, 1, 64, 64), np.float32)
    probability[0, 0, 10:30, 10:20] = 1
    cases = [place | {"case": name} for name in "abcd"]
    groups = {name: name for name in "abcd"}
    rows = score_all(probability, labels, natives, cases, groups, set(), "direct", Scoring(("lesion",), 15, 0.2))
    evaluated = aggregate(rows, 200, np.random.default_rng(0))["lesion"]
    write_csv(tmp_path / "per_case.csv", rows, COLUMNS)
    (row,) = arm_rows(gathered({("real", 0): read_csv(tmp_path / "per_case.csv")}, ("real",), (0,)), 200)
    assert row.dice.mean == evaluated["dice"]["mean"] == pytest.approx(2 / 3)
    assert (row.images, row.vanished, row.missed) == (4, 3, 3.0)
    assert (evaluated["images"], evaluated["vanished"], evaluated["missed"]) == (4, 3, 3)
    for metric, value in row.means.items():
        assert value == evaluated[metric]["mean"], metric

import numpy as np
import pytest

from segmentation import statistics
from segmentation.statistics import aggregate, extremes, reliability, summary


def row(
    case: str, dice: float, *, group: str = "", empty: str = "", target: float = 0.1, predicted: float = 0.1
) -> dict:
    metrics = dict.fromkeys((*statistics.OVERLAP, *statistics.DISTANCES, *statistics.CALIBRATION), dice)
    metrics |= {"hd95_mm": None, "assd_mm": None}
    shares = {"target_area": target, "predicted_area": predicted, "largest_component": predicted}
    return {"case": case, "group": group or case, "empty": empty, "empty_native": empty, **metrics, **shares}


def numbers(rows: list[dict]) -> dict:
    return aggregate(rows, 200, np.random.default_rng(0))


def test_summary_by_hand():
    assert summary([1.0, None, 3.0, 8.0]) == {
        "n": 3,
        "mean": 4.0,
        "median": 3.0,
        "sd": pytest.approx(np.sqrt(13.0)),
    }
    assert summary([None]) == {"n": 0, "mean": None, "median": None, "sd": None}


def test_lesion_free_images_never_enter_the_lesion_scores():
    lesions = [row("a", 0.8), row("b", 0.6)]
    free = [
        row("n1", 1.0, empty="both", target=0.0, predicted=0.0),
        row("n2", 0.0, empty="target", target=0.0, predicted=0.004),
        row("n3", 0.0, empty="target", target=0.0, predicted=0.02),
        row("n4", 0.0, empty="target", target=0.0, predicted=0.005),
    ]
    found = numbers(lesions + free)
    assert found["lesion"]["dice"]["mean"] == pytest.approx(0.7)
    assert found["lesion"]["images"] == 2
    assert found["lesion_free"] == {"images": 4, "groups": 4, "any_pixel": 0.75, "component": 0.25}


def test_missed_lesions_are_counted_and_distances_given_on_the_others():
    rows = [row("a", 0.5), row("b", 0.9), row("c", 50.0, empty="prediction", predicted=0.0)]
    found = numbers(rows)["lesion"]
    assert found["missed"] == 1
    assert found["hd95"] == {
        "n": 3,
        "mean": pytest.approx(51.4 / 3),
        "median": 0.9,
        "sd": pytest.approx(np.std([0.5, 0.9, 50], ddof=1)),
    }
    assert found["found"]["hd95"]["n"] == 2
    assert found["found"]["hd95"]["mean"] == pytest.approx(0.7)
    assert found["hd95_mm"]["n"] == 0


def test_interval_holds_the_mean_and_counts_groups():
    rows = [row(f"c{i}", 0.5 + 0.04 * (i % 5), group=f"g{i // 2}") for i in range(20)]
    found = numbers(rows)["lesion"]
    assert found["groups"] == 10
    assert found["dice"]["low"] < found["dice"]["mean"] < found["dice"]["high"]


def test_no_image_at_all_gives_no_number():
    found = numbers([])
    assert found["lesion"]["images"] == 0
    assert found["lesion"]["dice"]["mean"] is None
    assert found["lesion_free"]["any_pixel"] is None
    assert found["collapsed"] is False


@pytest.mark.parametrize(("predicted", "collapsed"), [(0.0, True), (1.0, True), (0.3, False)])
def test_collapse_is_named(predicted, collapsed):
    rows = [row(name, 0.0, predicted=predicted) for name in "ab"]
    assert numbers(rows)["collapsed"] is collapsed


def test_extremes_are_ordered_and_disjoint():
    chosen = extremes([row(f"c{i:02d}", i / 20) for i in range(20)], 3)
    assert [r["case"] for r in chosen["best"]] == ["c19", "c18", "c17"]
    assert [r["case"] for r in chosen["worst"]] == ["c02", "c01", "c00"]
    assert [r["case"] for r in chosen["median"]] == ["c11", "c10", "c09"]


@pytest.mark.parametrize("images", range(8))
def test_extremes_of_few_images_repeat_none(images):
    chosen = extremes([row(str(i), i / 10) for i in range(images)] + [row("free", 1.0, target=0.0)], 4)
    names = [r["case"] for kind in ("best", "median", "worst") for r in chosen[kind]]
    assert len(names) == len(set(names)) == images
    assert "free" not in names


def test_a_lesion_too_small_for_the_working_size_is_not_scored_there_but_counts_as_missed():
    vanished = row("tiny", 1.0, empty="both") | {"empty_native": "prediction", "dice_native": 0.0}
    found = numbers([row("a", 0.6), row("b", 0.8), vanished])["lesion"]
    assert found["images"] == 3
    assert found["vanished"] == 1
    assert found["dice"]["mean"] == pytest.approx(0.7)
    assert found["dice"]["n"] == 2
    assert found["dice_native"]["mean"] == pytest.approx((0.6 + 0.8 + 0.0) / 3)
    assert found["missed"] == 1
    chosen = extremes([row("a", 0.6), row("b", 0.8), vanished], 2)
    assert {kind: [r["case"] for r in rows] for kind, rows in chosen.items()} == {
        "best": ["b"],
        "median": [],
        "worst": ["a"],
    }


def test_reliability_counts_pixel_errors_everywhere_and_refers_images_with_a_lesion_alone():
    doubt = {"uncertainty": 1.0, "error_auroc": 0.7, "error_auroc_box": None}
    rows = [
        row(f"c{i}", i / 10) | {"uncertainty": 1 - i / 10, "error_auroc": 0.9, "error_auroc_box": 0.8}
        for i in range(10)
    ]
    found = reliability([*rows, row("free", 1.0, empty="both", target=0.0) | doubt])
    assert (found["error_auroc"]["n"], found["error_auroc"]["mean"]) == (11, pytest.approx((9.0 + 0.7) / 11))
    assert (found["error_auroc_box"]["n"], found["error_auroc_box"]["mean"]) == (10, pytest.approx(0.8))
    assert found["referral"]["images"] == 10
    assert found["referral"]["of_oracle"] == pytest.approx(1.0)
    assert [line["uncertainty"] for line in found["referral"]["table"]] == pytest.approx([0.45, 0.45, 0.5, 0.55, 0.6])

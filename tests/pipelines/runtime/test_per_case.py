from pipelines.runtime.per_case import empty_column, lesion_free, missed, scored, seen, with_lesion

ROWS = [
    {"case": "a", "target_area": "0.1", "empty": "", "empty_native": ""},
    {"case": "gone, nothing predicted", "target_area": "1e-05", "empty": "both", "empty_native": "prediction"},
    {"case": "gone, something predicted", "target_area": 1e-5, "empty": "target", "empty_native": ""},
    {"case": "missed", "target_area": 0.1, "empty": "prediction", "empty_native": "prediction"},
    {"case": "free", "target_area": "0.0", "empty": "both", "empty_native": "both"},
]


def names(rows):
    return [row["case"] for row in rows]


def test_lesions_that_vanish_at_working_size_count_at_native_size_alone():
    assert names(lesion_free(ROWS)) == ["free"]
    assert names(seen(with_lesion(ROWS))) == ["a", "missed"]
    for metric in ("dice", "iou", "hd95", "ece_box"):
        assert names(scored(ROWS, metric)) == ["a", "missed"]
    for metric in ("dice_native", "hd95_mm"):
        assert names(scored(ROWS, metric)) == names(ROWS[:4])
    assert (empty_column("dice"), empty_column("brier_native"), empty_column("assd_mm")) == (
        "empty",
        *("empty_native",) * 2,
    )
    assert missed(with_lesion(ROWS)) == 2

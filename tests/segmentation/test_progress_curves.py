"""Whether a training ended in nothing."""

import pytest

from segmentation.progress_curves import collapse


@pytest.mark.parametrize(
    ("share", "word"), [("0.0", "called background"), ("1.0", "called foreground"), ("1e-05", ""), ("0.99", "")]
)
def test_one_mask_for_all_validation_images_is_a_collapse(share: str, word: str) -> None:
    rows = [{"step": "10", "foreground_val": "0.0"}, {"step": "20", "foreground_val": share}]
    found = collapse([*rows, {"step": "30", "foreground_val": ""}])
    assert len(found) == bool(word)
    assert all(word in text and "at step 20" in text and "segmenter.label_fraction" in text for text in found)


def kept(values: list[float]) -> list[dict[str, str]]:
    return [{"step": str(10 * (place + 1)), "keep_foreground": str(value)} for place, value in enumerate(values)]


def test_pseudo_labels_without_foreground_in_the_last_fifth_are_a_collapse() -> None:
    (found,) = collapse(kept([0.4] * 8 + [0.0, 0.0]))
    assert "last 20% of the steps" in found
    assert "kappa_foreground" in found
    assert collapse(kept([0.0] * 8 + [0.001, 0.0])) == []
    assert collapse(kept([0.4] * 8 + [0.0, 0.0]), learns=False) == []
    assert collapse([{"step": "10", "total": "1.0"}]) == []

"""Ratios and verdicts of given seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.costs import Spread
from benchmarks.segmenters_table import ARRAYS, BATCH, PREDICTION, READY, Row, Target, markdown, targets

NET, BASE = "unet, resnet34", "unet"


def training(system: str, arrays: list[float], ready: list[float]) -> list[Row]:
    return [
        Row(system, ARRAYS, 16, flops=32 * 10**9, seconds=arrays),
        Row(system, READY, 16, seconds=ready),
        Row(system, BATCH, 16, seconds=[0.1] * len(ready)),
    ]


def predictions(images: int, sampled: list[float]) -> list[Row]:
    """One image of the ResNet-34 takes 1 s, one of the baseline .1 s, then .2 s."""
    return [
        Row(NET, PREDICTION, images, seconds=[images * 1.0, images * 1.0]),
        Row(BASE, PREDICTION, images, seconds=[images * 0.1, images * 0.2]),
        Row("crossdiff", PREDICTION, images, detail="1 seed", seeds=1, seconds=[images * value for value in sampled]),
        Row("crossdiff", PREDICTION, images, detail="4 seeds", seeds=4, seconds=[images * 9.0, images * 9.0]),
    ]


def verdicts(rows: list[Row], size: int = 256, two_cores: bool = True) -> dict[str, tuple[Spread, str]]:
    return {target.name: (target.found, target.verdict) for target in targets(rows, size=size, two_cores=two_cores)}


@pytest.mark.parametrize(
    ("arrays", "verdict"), [([1.1, 2.3, 9.0], "at most 1.15: met"), ([1.1, 2.4, 9.0], "at most 1.15: missed")]
)
def test_what_waits_for_data(arrays: list[float], verdict: str) -> None:
    """Ratios by turn: 1.1, then 1.15 or 1.2, then 4.5; the median decides."""
    found = verdicts(training("unet", arrays, [1.0, 2.0, 2.0]))
    assert list(found) == [f"unet: {ARRAYS} / {READY}"]
    ratio, said = next(iter(found.values()))
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((arrays[1] / 2.0, 1.1, 4.5))
    assert said == verdict


def test_predictions_are_compared_at_their_own_batch_size() -> None:
    found = verdicts([*predictions(1, [2.0, 2.9]), *predictions(16, [2.5, 2.9])])
    one, many = (found[f"crossdiff / unet, resnet34: prediction, 1 seed, batch {images}"] for images in (1, 16))
    assert (one[0].median, one[0].low, one[0].high) == pytest.approx((2.45, 2.0, 2.9))
    assert one[1] == "at most 2.5: met"
    assert many[0].median == pytest.approx(2.7)
    assert many[1] == "at most 2.5: missed"
    beside = found["crossdiff / unet: prediction, 1 seed, batch 1"]
    assert (beside[0].median, beside[1]) == (pytest.approx((20.0 + 14.5) / 2), "shown for comparison")
    assert found["crossdiff / unet, resnet34: prediction, 4 seeds, batch 1"] == (Spread(9.0, 9.0, 9.0), beside[1])


def test_images_per_second_of_the_baseline() -> None:
    """10 and 5 images/s at both batch sizes."""
    rows = [*predictions(1, [1.0, 1.0]), *predictions(16, [1.0, 1.0])]
    for images in (1, 16):
        rate, verdict = verdicts(rows)[f"unet: prediction, batch {images}, images/s"]
        assert (rate.median, rate.low, rate.high) == pytest.approx((7.5, 5.0, 10.0))
        assert verdict == "at least 8: missed"
    assert Target("rate", Spread(8.0, 1.0, 9.0), 8.0, at_most=False).verdict == "at least 8: met"


def test_limits_hold_for_their_size_and_machine_alone() -> None:
    rows = [*training("unet", [2.0, 2.0], [1.0, 1.0]), *predictions(1, [1.0, 1.0])]
    assert {verdict for _, verdict in verdicts(rows, size=64).values()} == {"shown for comparison"}
    elsewhere = verdicts(rows, two_cores=False)
    assert elsewhere["unet: prediction, batch 1, images/s"][1] == "shown for comparison"
    assert elsewhere[f"unet: {ARRAYS} / {READY}"][1] == "at most 1.15: missed"


def test_one_line_per_row_and_per_target() -> None:
    rows = [*training("unet", [1.6, 3.2, 1.6], [1.0, 1.0, 1.0]), *predictions(1, [1.0, 1.0])]
    lines = markdown(rows, targets(rows, size=256, two_cores=True), {"device": "that one"}, None).splitlines()
    assert lines[0] == "- device: that one"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert cells[2] == ["unet", ARRAYS, "100.0 (100.0 to 200.0)", "10.00", "2.00", "", "n/a", "n/a"]
    assert {len(line) for line in cells[: 2 + len(rows)]} == {8}
    assert len(cells) == 2 + len(rows) + 2 + 6  # two heads of two lines; of targets: one, one, and two by two
    assert "at most 1.15: missed" in lines[-6]


def test_utilization_of_a_known_card() -> None:
    """32 GFLOP in .016 s are 2 TFLOP/s."""
    row = Row("unet", ARRAYS, 16, flops=32 * 10**9, memory=1234.4, bf16=True, seconds=[0.016])
    assert row.utilization(20e12) == pytest.approx(0.1)
    assert row.utilization(None) is None
    assert replace(row, bf16=False).utilization(20e12) is None
    shown = markdown([row], [], {}, 20e12)
    assert "10.0 %" in shown
    assert "1234 MiB" in shown
    assert f"{ARRAYS}, bf16" in shown

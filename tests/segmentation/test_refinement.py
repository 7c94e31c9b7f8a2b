"""Ways of prediction compared on a segmenter whose masks are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.datasets.case import Prepared
from segmentation import refinement
from segmentation.refinement import (
    Material,
    Refiner,
    candidates,
    diagnose,
    dice_of,
    one_hot,
    refined,
    starts_of,
    summarize,
)
from tests.support.refiner import StubRefiner
from tests.support.segmenter import make_system

FULL = (slice(None), slice(None))
REFINED = [f"refine {start}, {calls}" for start in (200, 400, 600) for calls in ("1 call", "3 calls")]


def material(size: int = 32, inner: int = 32) -> Material:
    """Three images: two squares of 8 x 8 around the middle column, and one without a lesion."""
    images, labels = np.zeros((3, size, size), np.uint8), np.zeros((3, size, size), np.uint8)
    for row in (0, 1):
        images[row, 4:12, size // 2 - 4 : size // 2 + 4] = 255
        labels[row] = images[row] > 0
    place = {"inner_top": "0", "inner_left": "0", "inner_height": str(inner), "inner_width": str(size)}
    cases = [{"case": f"c{row}", **place} for row in range(3)]
    return Material(Prepared(Path(), images, labels, cases, {"foreground": ["lesion"]}), [0, 1, 2], ["a", "b", "c"])


def run(system: StubRefiner, given: Material, other: Any = None, seeds: int = 1) -> dict[str, Any]:
    done: list[int] = []
    found = diagnose(system, system, other, given, seeds, "cpu", done.append)
    assert done[-1] == len(given.rows)
    return found["lesion"]


def test_dice_of_the_mean_and_of_each_sample() -> None:
    target = np.array([[1, 1, 0, 0]], np.uint8)
    samples = np.array([[[[0.9, 0.9, 0.0, 0.0]]], [[[0.9, 0.0, 0.0, 0.0]]], [[[0.6, 0.5, 0.0, 0.9]]]], np.float32)
    # mean 0.8, 0.467, 0, 0.3: one of two pixels
    assert dice_of(samples, target, FULL, 1) == pytest.approx([2 / 3, 1.0, 2 / 3, 4 / 5])
    assert dice_of(samples, target, (slice(0, 1), slice(0, 3)), 1)[-1] == 1.0


def test_numbers_by_hand() -> None:
    scores = {
        "direct": [np.array([0.5, 0.5]), np.array([0.9, 0.9])],
        "refine": [np.array([0.7, 0.6, 0.8]), np.array([0.8, 0.8, 0.8])],
        "from": [np.array([0.6, 0.6]), np.array([0.6, 0.6])],
        "from: refine": [np.array([0.9, 0.9, 0.9]), np.array([0.9, 0.9, 0.9])],
    }
    found = summarize(scores, ["a", "a"])
    assert (found["images"], found["groups"]) == (2, 1)
    methods = found["methods"]
    assert methods["direct"] == {"dice": pytest.approx({"mean": 0.7, "low": 0.7, "high": 0.7})}
    assert methods["refine"]["dice"]["mean"] == pytest.approx(0.75)
    assert methods["refine"]["one_seed"] == pytest.approx(0.75)
    assert methods["refine"]["seed_sd"] == pytest.approx(np.std([0.6, 0.8], ddof=1) / 2)
    assert methods["refine"]["gain"]["mean"] == pytest.approx(0.05)
    assert methods["from"]["gain"]["mean"] == pytest.approx(-0.1)  # to the direct head
    assert methods["from: refine"]["gain"]["mean"] == pytest.approx(0.3)  # to where it started
    assert methods["from: refine"]["seed_sd"] == 0.0


def test_the_interval_of_a_gain_is_paired() -> None:
    """Images differ by far more than the methods do, and the gain is still certain."""
    direct = np.linspace(0.1, 0.9, 40)
    scores = {"direct": [np.array([d, d]) for d in direct], "refine": [np.array([d + 0.02] * 2) for d in direct]}
    found = summarize(scores, [str(i) for i in range(40)])["methods"]["refine"]
    assert found["gain"] == pytest.approx({"mean": 0.02, "low": 0.02, "high": 0.02})
    assert found["dice"]["high"] - found["dice"]["low"] > 0.1


def test_starts_are_thousandths() -> None:
    assert starts_of(1000) == {200: 200, 400: 400, 600: 600}
    assert starts_of(50) == {200: 10, 400: 20, 600: 30}
    assert max(starts_of(2).values()) == 1


def test_what_is_asked_of_the_system() -> None:
    system = StubRefiner()
    blank = torch.zeros(2, 1, 32, 32)
    found = candidates(system, system, None, blank, torch.ones_like(blank), ["x", "y"], 3)
    best = [f"true mask: {name}" for name in REFINED]
    assert list(found) == ["direct", "fast", *REFINED, "ensemble", *best]
    sampled = {name: len(samples) for name, samples in found.items() if len(samples) != 1}
    assert sampled == dict.fromkeys([*REFINED, *best], 3)
    assert found["true mask: refine 200, 1 call"].mean() == 1.0  # started at 200 it returns what it was given
    assert [call[1] for call in system.calls if call[0] == "predict"] == ["direct", "fast", "ensemble"]
    assert all(call[3] == 3 for call in system.calls)
    assert {call[1:3] for call in system.calls if call[0] == "refine"} == {
        (start, calls) for start in (200, 400, 600) for calls in (1, 3)
    }


def test_another_segmenter_predicts_as_it_was_made_to() -> None:
    system, other = StubRefiner(), StubRefiner(mode="quality")
    found = candidates(system, system, other, torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32), ["x"], 4)
    assert list(found)[-7:] == ["from", *(f"from: {name}" for name in REFINED)]
    assert [call[:4] for call in other.calls] == [("predict", "quality", 3, 2)]
    assert found["from: refine 200, 1 call"].mean() == 1.0  # odd starts return what they were given: all of it
    assert found["refine 200, 1 call"].mean() == 0.5


def test_sides_are_padded_for_the_network_and_cropped_again() -> None:
    system = StubRefiner()
    p = torch.rand(2, 1, 40, 50)
    found = refined(system, 1000, torch.zeros(2, 1, 40, 50), p, 2, ["x", "y"])
    assert system.calls[0][4:] == ((2, 1, 64, 64), (2, 1, 64, 64))
    assert torch.equal(found["refine 200, 3 calls"][1], p)


def test_gains_of_a_refiner_whose_masks_are_known() -> None:
    found = run(StubRefiner(), material(), seeds=2)
    assert (found["images"], found["groups"]) == (2, 2)  # the third shows no lesion
    methods = found["methods"]
    assert methods["direct"]["dice"]["mean"] == pytest.approx(2 / 3)  # half of the square
    assert methods["fast"]["gain"]["mean"] == pytest.approx(-2 / 3)
    assert methods["ensemble"]["dice"]["mean"] == 1.0
    assert methods["refine 200, 1 call"]["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    perfect = methods["true mask: refine 200, 1 call"]
    assert (perfect["dice"]["mean"], perfect["gain"]["mean"]) == (1.0, pytest.approx(1 / 3))  # over the direct head
    better = methods["refine 400, 1 call"]
    assert better["dice"]["mean"] == 1.0  # two seeds: p = 0.5 on the half that one of them found
    assert better["one_seed"] == pytest.approx((1 + 2 / 3) / 2)
    assert better["gain"]["low"] == pytest.approx(1 / 3)


def test_a_true_mask_as_a_network_would_say_it() -> None:
    labels = np.array([[[0, 1, 2]]], np.uint8)
    assert one_hot(labels, 1).tolist() == [[[[0.0, 1.0, 0.0]]]]
    assert one_hot(labels, 3).tolist() == [[[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]]


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(StubRefiner(), material())
    monkeypatch.setattr(refinement, "BATCH", 1)
    assert run(StubRefiner(), material()) == whole


def test_padding_of_a_letterbox_is_left_out() -> None:
    """The upper 8 rows hold the image: the lower half of the square and of the direct mask do not count."""
    found = run(StubRefiner(), material(inner=8))
    assert found["methods"]["direct"]["dice"]["mean"] == pytest.approx(2 / 3)
    assert run(StubRefiner(), material(inner=4)) == {"images": 0, "groups": 0, "methods": {}}


def test_who_can_refine() -> None:
    assert isinstance(StubRefiner(), Refiner)
    assert not isinstance(make_system("unet"), Refiner)

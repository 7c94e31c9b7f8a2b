"""The transforms do what they say, and the detector finds what they make."""

import numpy as np
import pytest

from generative.audit.features import pixel_similarity
from generative.audit.memorization import Detector, same_group, threshold
from generative.audit.planted import TRANSFORMS, gain, gamma, jpeg, plant, shifted, zoomed
from pipelines.datasets.alignment import ncc
from tests.support.generator import speckle


def test_transforms_by_hand() -> None:
    image = np.arange(128, dtype=np.uint8)[None, :].repeat(128, axis=0)
    assert shifted(image, 4)[0, :6].tolist() == [0, 0, 0, 0, 0, 1]
    assert shifted(image[:64, :64], 4)[0, :4].tolist() == [0, 0, 0, 1]  # 4 pixels of 128 are 2 of 64
    assert gain(np.array([[100, 250]], np.uint8), 1.2).tolist() == [[120, 255]]
    assert gamma(np.array([[0, 64, 255]], np.uint8), 2.0).tolist() == [[0, 16, 255]]
    assert zoomed(image).shape == image.shape
    assert zoomed(image)[64, 64] == pytest.approx(64, abs=1)
    assert 0.9 < ncc(jpeg(image), image) <= 1.0


def test_recall_on_independent_images_is_complete() -> None:
    train = speckle(24, 64)
    groups = np.array([f"g{k}" for k in range(24)])
    nearest = np.where(same_group(groups, groups), -1.0, pixel_similarity(train, train)).max(axis=1)
    found = plant(train, Detector({"pixels": threshold(nearest, 0.95)}, 1 / 3, groups), 0.95)
    assert set(found) == set(TRANSFORMS)
    assert {name: planted.found for name, planted in found.items()} == dict.fromkeys(TRANSFORMS, 24)


def test_a_blind_detector_finds_nothing_soft() -> None:
    train = speckle(6, 64)
    blind = Detector({"pixels": 1.1}, 1 / 3, np.array([f"g{k}" for k in range(6)]))
    found = plant(train, blind, 1.0 + 1e-6)
    assert found["identical"].found == 6  # equal pixels need no threshold
    assert found["gamma_0.8"].found == 0

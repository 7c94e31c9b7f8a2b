"""Padding and cropping by an identity system; batches change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segmentation.inference import pad_by_reflection, predict_rows
from segmentation.system import Prediction


class Echo:
    """Predicts the image itself; the sizes it was asked for are kept."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def predict(self, images: torch.Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str]) -> Prediction:
        self.seen.append((*images.shape[-2:], len(case_ids)))
        return Prediction(images, 1 - images, {"calls": images[:, None]})


@pytest.mark.parametrize("size", [(64, 64), (33, 50), (7, 3), (250, 330)])
def test_any_size_comes_back_pixel_for_pixel(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, *size), dtype=np.uint8)
    echo, done = Echo(), []
    found = predict_rows(
        echo,  # type: ignore[arg-type]
        images,
        list("abcde"),
        steps=1,
        seeds=1,
        mode="direct",
        batch=2,
        progress=done.append,
    )
    np.testing.assert_allclose(found.probability[:, 0], images / 255.0, rtol=1e-6)
    np.testing.assert_allclose(found.uncertainty, 1 - images / 255.0, atol=1e-6)
    assert found.extras["calls"].shape == (5, 1, 1, *size)
    assert all(height % 32 == width % 32 == 0 for height, width, _ in echo.seen)
    assert [count for *_, count in echo.seen] == [2, 2, 1]
    assert done == [2, 4, 5]


def test_padding_mirrors() -> None:
    x = torch.arange(30.0).view(1, 1, 1, 30).expand(1, 1, 32, 30)
    padded, top, left = pad_by_reflection(x)
    assert (top, left) == (0, 1)
    assert padded[0, 0, 0].tolist() == [1.0, *range(30), 28.0]
    assert pad_by_reflection(padded)[0] is padded

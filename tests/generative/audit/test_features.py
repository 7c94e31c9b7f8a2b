"""Similarities of images with themselves, with their mirror image, and with others."""

from pathlib import Path

import numpy as np
import pytest

from generative.audit.features import METRICS, Views, hard_pairs, image_features, pixel_similarity, similarities, view
from generative.autoencoder.model import load_autoencoder
from tests.support.generator import speckle


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return speckle(9, 32)


@pytest.fixture(scope="module")
def views(images: np.ndarray, shared_audit_root: Path) -> Views:
    return view(images, load_autoencoder(shared_audit_root / "models" / "autoencoder"))


def test_features_do_not_depend_on_the_batch(images: np.ndarray) -> None:
    whole = image_features(speckle(20, 32))
    assert whole.shape == (20, 1280)
    np.testing.assert_allclose(whole[17:], image_features(speckle(20, 32)[17:]), rtol=1e-3, atol=1e-4)
    assert image_features(images[:0]).shape == (0, 1280)


def test_an_image_is_most_similar_to_itself(views: Views) -> None:
    tables = similarities(views, views, views)
    assert set(tables) == set(METRICS)
    for table in tables.values():
        assert table.shape == (9, 9)
        np.testing.assert_allclose(np.diag(table), 1.0, atol=1e-3)
        np.testing.assert_array_equal(table.argmax(axis=1), np.arange(9))


def test_mirrored_copies_are_found_by_pixels_and_latents(views: Views, shared_audit_root: Path) -> None:
    mirrored = view(
        np.ascontiguousarray(views.images[:, :, ::-1]), load_autoencoder(shared_audit_root / "models" / "autoencoder")
    )
    np.testing.assert_allclose(mirrored.latents, views.latents_mirrored, atol=1e-5)
    tables = similarities(mirrored, views, views)
    for name in ("pixels", "latents"):
        np.testing.assert_allclose(np.diag(tables[name]), 1.0, atol=1e-3)


def test_images_without_contrast_resemble_nothing(images: np.ndarray) -> None:
    table = pixel_similarity(np.full((1, 32, 32), 9, np.uint8), images)
    assert np.all(table == 0.0)


def test_hard_pairs_are_copies_and_nothing_else(images: np.ndarray) -> None:
    query = np.stack([speckle(3, 32, seed=5)[0], images[4], images[2][:, ::-1], images[7] // 2 + 30])
    assert hard_pairs(np.ascontiguousarray(query), images, 0.95) == [(1, 4), (2, 2), (3, 7)]

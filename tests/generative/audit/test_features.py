"""Similarities of images with themselves, with their mirror image, and with others."""

from pathlib import Path

import numpy as np
import pytest

from generative.audit.features import (
    METRICS,
    Views,
    centered_cosine,
    hard_pairs,
    image_features,
    pixel_similarity,
    similarities,
    view,
)
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
    tables = similarities(views, views)
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
    tables = similarities(mirrored, views)
    for name in ("pixels", "latents"):
        np.testing.assert_allclose(np.diag(tables[name]), 1.0, atol=1e-3)


def test_center_of_each_query_leaves_its_own_patient_out() -> None:
    rng = np.random.default_rng(0)
    q, r, excluded = rng.normal(5.0, 1.0, (3, 7)), rng.normal(5.0, 1.0, (6, 7)), np.zeros((3, 6), bool)
    excluded[0, :2] = excluded[2, 5] = True
    for i, row in enumerate(centered_cosine(q, r, excluded)):
        m = r[~excluded[i]].mean(axis=0)
        expected = (q[i] - m) @ (r - m).T / np.linalg.norm(q[i] - m) / np.linalg.norm(r - m, axis=1)
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_left_out_train_images_look_like_fresh_ones() -> None:
    """Exchangeable: with one common center, real images would seem less alike than samples."""
    rng = np.random.default_rng(1)
    left_out, fresh = [], []
    for _ in range(200):
        r = rng.normal(size=(12, 4))
        left_out.append(
            np.where(np.eye(12, dtype=bool), -1.0, centered_cosine(r, r, np.eye(12, dtype=bool))).max(axis=1)
        )
        fresh.append(centered_cosine(rng.normal(size=(12, 4)), r[:11], np.zeros((12, 11), bool)).max(axis=1))
    assert np.mean(left_out) == pytest.approx(np.mean(fresh), abs=0.02)


def test_excluded_pairs_are_not_compared(views: Views) -> None:
    excluded = np.eye(9, dtype=bool)
    for table in similarities(views, views, excluded).values():
        assert np.all(np.diag(table) == -1.0)
        assert np.all(table[~excluded] > -1.0)


def test_images_without_contrast_resemble_nothing(images: np.ndarray) -> None:
    table = pixel_similarity(np.full((1, 32, 32), 9, np.uint8), images)
    assert np.all(table == 0.0)


def test_hard_pairs_are_copies_and_nothing_else(images: np.ndarray) -> None:
    query = np.stack([speckle(3, 32, seed=5)[0], images[4], images[2][:, ::-1], images[7] // 2 + 30])
    assert hard_pairs(np.ascontiguousarray(query), images, 0.95) == [(1, 4), (2, 2), (3, 7)]

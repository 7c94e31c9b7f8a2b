from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.datasets.duplicates import (
    Nearest,
    connected_groups,
    copy_decision,
    describe,
    distance_ratio,
    find_pairs,
    hamming,
    hard_copies,
    ncc,
    nearest_by_group,
    phash64,
    phash_hex,
    thumbnail,
    unit_vector,
)


def scene(seed: int, height: int = 150, width: int = 200) -> np.ndarray:
    """A smooth random picture, distinct for each seed."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), 9)
    return np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)


def reencoded(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    return np.array(Image.open(buffer))


def test_thumbnail_is_the_block_mean() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert thumbnail(image, 2).tolist() == [[13.5, 17.5], [45.5, 49.5]]


def test_ncc_by_hand() -> None:
    a = np.array([[0, 2], [0, 2]])
    assert ncc(a, a * 100 + 3) == pytest.approx(1.0)  # gain and offset do not matter
    assert ncc(a, a.max() - a) == pytest.approx(-1.0)
    assert ncc(a, np.array([[0, 0], [2, 2]])) == pytest.approx(0.0)


def test_constant_image_has_no_resemblance() -> None:
    flat = np.full((80, 80), 57, np.uint8)
    assert not unit_vector(flat).any()
    assert ncc(flat, scene(0)[:80, :80]) == 0.0
    assert np.isfinite(describe([flat]).vectors).all()


def test_phash_of_a_plain_cosine() -> None:
    # One DCT coefficient (0, 1) stands out, and the DC term: its bit is the second of the first row.
    column = np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    image = np.rint(128 + 100 * np.tile(column, (32, 1))).astype(np.uint8)
    bits = f"{phash64(image):064b}"
    assert bits[:2] == "11"
    assert phash_hex(phash64(image))[0] in "cdef"


def test_phash_survives_size_and_encoding() -> None:
    image = scene(1)
    smaller = np.array(Image.fromarray(image).resize((120, 90), Image.Resampling.BILINEAR))
    for other in (smaller, reencoded(image)):
        assert bin(phash64(image) ^ phash64(other)).count("1") <= 4
    assert bin(phash64(image) ^ phash64(scene(2))).count("1") > 16


def test_hamming() -> None:
    a = np.array([0, 2**64 - 1, 5], np.uint64)
    assert hamming(a, np.array([0, 0, 6], np.uint64)).tolist() == [0, 64, 2]


def test_pairs_of_every_kind_and_no_other() -> None:
    images = [scene(seed) for seed in range(12)]
    images += [images[3].copy(), reencoded(images[5]), np.ascontiguousarray(images[7][:, ::-1])]
    found = {(pair.a, pair.b): pair for pair in find_pairs(images)}
    assert {key: pair.kind for key, pair in found.items()} == {
        (3, 12): "identical",
        (5, 13): "near",
        (7, 14): "mirrored",
    }
    assert found[5, 13].ncc > 0.99
    assert found[3, 12].phash_distance == 0


def test_equal_pixels_are_a_pair_whatever_the_thresholds() -> None:
    flat = np.full((80, 80), 9, np.uint8)
    assert [pair.kind for pair in find_pairs([flat, scene(0), flat.copy()], 0, 1.0)] == ["identical"]


def test_pairs_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [scene(seed // 2) for seed in range(20)]
    whole = find_pairs(images)
    monkeypatch.setattr("pipelines.datasets.duplicates.BLOCK", 3)
    assert find_pairs(images) == whole
    assert len(whole) == 10


def test_no_images_no_pairs() -> None:
    assert find_pairs([]) == []


def test_groups_are_transitive() -> None:
    assert connected_groups(6, [(4, 1), (1, 2), (3, 5)]) == [0, 1, 1, 3, 1, 3]


def test_second_nearest_is_of_another_group() -> None:
    similarity = np.array([[0.9, 0.88, 0.4], [0.1, 0.2, 0.8]])
    found = nearest_by_group(similarity, ["p1", "p1", "p2"])
    assert found.row.tolist() == [0, 2]
    assert found.second.tolist() == [0.4, 0.2]
    assert distance_ratio(found) == pytest.approx([0.1 / 0.6, 0.2 / 0.8])
    assert nearest_by_group(similarity, ["p"] * 3).second.tolist() == [-1.0, -1.0]


def test_copy_decision_is_the_stated_rule() -> None:
    # above tau and ratio small | above tau only | ratio small only | neither but hard | neither
    nearest = Nearest(np.zeros(5, int), np.array([0.95, 0.95, 0.5, 0.2, 0.2]), np.array([0.5, 0.94, -0.9, 0.1, 0.1]))
    hard = np.array([False, False, False, True, False])
    found = copy_decision(nearest, tau=0.9, ratio=1 / 3, hard=hard)
    assert found.tolist() == [True, False, False, True, False]


def test_equal_images_in_two_groups_are_not_a_stand_out() -> None:
    nearest = Nearest(np.zeros(1, int), np.array([1.0]), np.array([1.0]))
    assert distance_ratio(nearest).tolist() == [1.0]


def test_hard_needs_both_and_knows_mirrors() -> None:
    image, other = scene(1), scene(2)
    known = describe([image, other])
    mirrored = describe([np.ascontiguousarray(image[:, ::-1])])
    aligned = np.array([[0.97, 0.97]])
    found = hard_copies(aligned, mirrored.phash, mirrored.phash_mirrored, known.phash, 0.95)
    assert found.tolist() == [[True, False]]
    assert not hard_copies(aligned - 0.05, mirrored.phash, mirrored.phash_mirrored, known.phash, 0.95).any()

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.descriptors import (
    canonical,
    describe,
    describe_one,
    hamming,
    ncc,
    perceptual_hashes,
    phash64,
    phash_hex,
    shrink,
)
from tests.support.pictures import reencoded, scene


def test_thumbnail_is_the_block_mean_in_eight_bits() -> None:
    image = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2) * 10, np.ones((128, 192), np.uint8))
    image[:2, :3] = [[1, 2, 3], [4, 5, 6]]  # one cell of 2 x 3 pixels, mean 3.5
    small = canonical(image)
    assert (small.shape, small.dtype) == ((128, 128), np.uint8)
    assert small[0, 0] in (3, 4)
    assert small[0, 1:64].max() == 0
    assert [small[0, 127], small[127, 0], small[127, 127]] == [10, 20, 30]


def test_describe_takes_a_generator_and_names_the_pixels() -> None:
    images = [scene(1), scene(2)[:, ::-1]]
    found = describe(image for image in images)
    assert len(found) == 2
    assert found.thumbnails.shape == (2, 128, 128)
    digest, small = describe_one(images[1])
    assert found.pixels[1] == digest == hashlib.sha256(b"(150, 200)" + images[1].tobytes()).hexdigest()
    assert (found.thumbnails[1] == small).all()
    assert describe([]).thumbnails.shape == (0, 128, 128)


def test_block_means_by_hand() -> None:
    image = np.zeros((1, 128, 128), np.uint8)
    image[0, :2, :2] = [[1, 2], [3, 4]]
    assert shrink(image, 64)[0, 0, 0] == 2.5
    assert shrink(image, 32)[0, 0, 0] == 10 / 16
    assert shrink(image, 128).dtype == np.float32


def test_ncc_is_exact_and_that_of_the_pair_alone() -> None:
    stack = describe([scene(seed) for seed in range(6)]).thumbnails
    values = ncc(stack[:3], stack[3:])
    for row, value in enumerate(values.tolist()):
        a, b = (
            [int(cell) for cell in stack[place].reshape(64, 2, 64, 2).sum(axis=(1, 3), dtype=int).ravel()]
            for place in (row, row + 3)
        )
        spread_a, spread_b = (4096 * sum(x * x for x in z) - sum(z) ** 2 for z in (a, b))
        shared = 4096 * sum(x * y for x, y in zip(a, b, strict=True)) - sum(a) * sum(b)
        assert value == shared / math.sqrt(spread_a * spread_b)
        assert value == ncc(stack[row : row + 1], stack[row + 3 : row + 4])[0]
    assert ncc(stack, stack) == pytest.approx(np.ones(6))
    assert ncc(stack, 255 - stack) == pytest.approx(-np.ones(6))


def test_a_constant_image_correlates_with_none() -> None:
    flat = np.full((1, 128, 128), 57, np.uint8)
    assert ncc(flat, describe([scene(0)]).thumbnails).tolist() == [0.0]
    assert ncc(flat, flat).tolist() == [0.0]
    dot = flat.copy()
    dot[0, 3, 3] += 1
    assert ncc(dot, dot).tolist() == [1.0]
    assert ncc(flat[:0], flat[:0]).shape == (0,)


def test_phash_of_a_plain_cosine() -> None:
    # One DCT coefficient (0, 1) stands out, and the DC term: its bit is the second of the first row.
    column = np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    image = np.rint(128 + 100 * np.tile(column, (32, 1))).astype(np.uint8)
    bits = f"{phash64(image):064b}"
    assert bits[:2] == "11"
    assert phash_hex(phash64(image))[0] in "cdef"
    # The mirror image has the opposite coefficient.
    assert f"{int(perceptual_hashes(canonical(image)[None], mirrored=True)[0]):064b}"[:2] == "10"


def test_phash_survives_size_and_encoding() -> None:
    image = scene(1)
    smaller = np.array(Image.fromarray(image).resize((120, 90), Image.Resampling.BILINEAR))
    for other in (smaller, reencoded(image)):
        assert bin(phash64(image) ^ phash64(other)).count("1") <= 4
    assert bin(phash64(image) ^ phash64(scene(2))).count("1") > 16


def test_hashes_of_a_stack_are_those_of_its_images() -> None:
    images = [scene(seed) for seed in range(4)]
    found = perceptual_hashes(describe(images).thumbnails)
    assert found.dtype == np.uint64
    assert found.tolist() == [phash64(image) for image in images]
    mirrored = perceptual_hashes(describe(images).thumbnails, mirrored=True)
    assert hamming(mirrored, perceptual_hashes(describe([image[:, ::-1] for image in images]).thumbnails)).max() <= 2


def test_hamming() -> None:
    a = np.array([0, 2**64 - 1, 5], np.uint64)
    assert hamming(a, np.array([0, 0, 6], np.uint64)).tolist() == [0, 64, 2]

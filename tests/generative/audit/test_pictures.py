"""Panels and the choice of what to show."""

import numpy as np

from generative.audit.pictures import GAP, SIDE, most_suspect, triptych


def test_copy_has_a_black_difference_even_when_mirrored() -> None:
    image = np.random.default_rng(0).integers(0, 256, size=(32, 32)).astype(np.uint8)
    for nearest in (image, image[:, ::-1]):
        panel = triptych(image, nearest)
        assert panel.shape == (SIDE, 3 * SIDE + 2 * GAP)
        assert panel.dtype == np.uint8
        assert not panel[:, -SIDE:].any()
        np.testing.assert_array_equal(panel[::4, :SIDE:4], image)


def test_difference_is_absolute_and_large_images_keep_their_size() -> None:
    panel = triptych(np.full((200, 200), 10, np.uint8), np.full((200, 200), 250, np.uint8))
    assert panel.shape == (200, 600 + 2 * GAP)
    assert np.all(panel[:, -200:] == 240)


def test_flagged_come_first_then_the_nearest() -> None:
    flagged = np.array([False, True, False, True, False])
    margin = np.array([0.5, -0.1, 0.9, 0.2, 0.9])
    assert most_suspect(flagged, margin, 4) == [3, 1, 2, 4]

"""Pictures of one prediction: the image, where the masks agree and differ, how unsure the segmenter was."""

import numpy as np

from segmentation.metrics import surface

HIT = (45, 212, 191)  # both masks
FALSE = (251, 146, 60)  # predicted, not annotated
MISSED = (217, 70, 239)  # annotated, not predicted
OUTLINE = (255, 255, 255)  # border of the annotation
GAP = 4  # pixels between panels
SHORTEST = 256  # panels are enlarged by a whole factor until their longer side has this many pixels
# From black to pale yellow, brighter with every step, so that it also reads in gray.
HEAT = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], np.float64)


def enlarge(pixels: np.ndarray) -> np.ndarray:
    """Repeat pixels of `(H, W, ...)` by a whole factor, so that a small working image can be seen."""
    factor = max(1, SHORTEST // max(pixels.shape[:2]))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def heat(values: np.ndarray, top: float) -> np.ndarray:
    """(H, W) in [0, top] to (H, W, 3) uint8; larger values get the last color."""
    place = np.clip(values / top, 0.0, 1.0) * (len(HEAT) - 1)
    channels = [np.interp(place, np.arange(len(HEAT)), HEAT[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def hits_and_misses(image: np.ndarray, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(H, W) uint8 image under colored masks: both, only predicted, only annotated; the annotation is outlined.

    prediction, target: (H, W) bool. Returns (h, w, 3) uint8, enlarged, with an outline that is one pixel of the result
    wide.
    """
    pixels = enlarge(image)[..., None].repeat(3, axis=2).astype(np.float64)
    prediction, target = enlarge(prediction), enlarge(target)
    for region, color, share in (
        (prediction & target, HIT, 0.30),
        (prediction & ~target, FALSE, 0.55),
        (target & ~prediction, MISSED, 0.55),
    ):
        pixels[region] = (1 - share) * pixels[region] + share * np.array(color)
    pixels[surface(target)] = OUTLINE
    return pixels.round().astype(np.uint8)


def overlay(image: np.ndarray, prediction: np.ndarray, target: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Three panels side by side: image, hits and misses, uncertainty.

    image: (H, W) uint8; prediction, target: (H, W) bool; uncertainty: (H, W) float in [0, 1].
    Returns (h, 3 w + gaps, 3) uint8.
    """
    plain = enlarge(image)[..., None].repeat(3, axis=2)
    panels = [plain, hits_and_misses(image, prediction, target), enlarge(heat(uncertainty, 1.0))]
    gap = np.zeros((plain.shape[0], GAP, 3), np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)

"""What the audit compares images by: aligned pixels (m1), fixed ImageNet features (m2) and latents (m4).

Similarities lie in -1 ... 1; 1 is the same image. Features and latents are taken relative to their mean over the train
images: what all images share (skin on top, dark below) says nothing about copying, and without it two cosines of
different patients lie far from 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipelines.datasets.alignment import aligned_ncc
from pipelines.datasets.duplicates import Descriptors, describe, hard_copies
from pipelines.runtime.weights import lite0_features, lite0_network

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

METRICS = ("pixels", "features", "latents")
BATCH = 16  # larger batches fall out of a CPU's cache


@dataclass(frozen=True)
class Views:
    """N images (N, H, W) uint8 as the audit sees them: features (N, 1280), latents and their mirror images (N, D)."""

    images: np.ndarray
    features: np.ndarray
    latents: np.ndarray
    latents_mirrored: np.ndarray


def image_features(images: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """Pooled Lite0 features (N, 1280) float32 of (N, H, W) uint8."""
    network = lite0_network().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = [np.zeros((0, 1280), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).to(device)
            parts.append(lite0_features(network, batch[:, None].float() / 255.0).cpu().numpy())
    return np.concatenate(parts)


def view(images: np.ndarray, vae: AutoencoderKL, device: torch.device | str = "cpu") -> Views:
    """All views of (N, H, W) uint8 images; latents are posterior means, scaled per channel."""
    from generative.autoencoder.model import posterior_moments, scaling_of

    mean, std = scaling_of(vae)

    def latents(flip: bool) -> np.ndarray:
        moments, _ = posterior_moments(vae, images, batch=BATCH, flip=flip)
        return ((moments - mean) / std).flatten(1).numpy()

    return Views(images, image_features(images, device), latents(False), latents(True))


def similarities(query: Views, reference: Views, center: Views) -> dict[str, np.ndarray]:
    """(Q, R) similarity per metric of `METRICS`; `center` are the images whose mean is subtracted (those of train)."""
    features = center.features.mean(axis=0)
    # mirrored images belong to the same world: one center, and the same for both directions
    latents = (center.latents.mean(axis=0) + center.latents_mirrored.mean(axis=0)) / 2.0
    of_query = _unit(query.latents - latents)
    return {
        "pixels": pixel_similarity(query.images, reference.images),
        "features": _unit(query.features - features) @ _unit(reference.features - features).T,
        "latents": np.maximum(
            of_query @ _unit(reference.latents - latents).T, of_query @ _unit(reference.latents_mirrored - latents).T
        ),
    }


def pixel_similarity(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(Q, R) aligned cross-correlation of (Q, H, W) and (R, H, W) uint8 at their own size, 128 pixels at most.

    `evaluate` uses the same function with the frozen thresholds, so the size is no parameter.
    """
    return aligned_ncc(query, reference, size=min(128, *query.shape[1:]))


def hard(query: Descriptors, reference: Descriptors, aligned: np.ndarray, hard_ncc: float) -> np.ndarray:
    """(Q, R) bool: copies by pixels alone: equal, or aligned correlation and perceptual hash both near."""
    near = hard_copies(aligned, query.phash, query.phash_mirrored, reference.phash, hard_ncc)
    return near | (np.array(query.pixels)[:, None] == np.array(reference.pixels)[None, :])


def hard_pairs(query: np.ndarray, reference: np.ndarray, hard_ncc: float) -> list[tuple[int, int]]:
    """Hard copies (query row, reference row) among (Q, H, W) and (R, H, W) uint8, from the images alone."""
    aligned = pixel_similarity(query, reference)
    return [(int(i), int(j)) for i, j in np.argwhere(hard(describe(query), describe(reference), aligned, hard_ncc))]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows with norm 1; a row of zeros stays zero, so its similarity is 0."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norm, 1e-12)

"""What the audit compares images by: aligned pixels (m1), fixed ImageNet features (m2) and latents (m4).

Similarities lie in -1 ... 1; 1 is the same image. Features and latents are taken relative to their mean over the train
images that a query is compared with: what all images share (skin on top, dark below) says nothing about copying.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipelines.datasets.alignment import aligned_ncc
from pipelines.datasets.descriptors import Descriptors, describe
from pipelines.datasets.neighbors import hard_copies
from pipelines.runtime.weights import lite0_features, lite0_network

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

METRICS = ("pixels", "features", "latents")
LEFT_OUT = -1.0  # similarity of pairs that are not compared
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


def similarities(query: Views, reference: Views, excluded: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """(Q, R) similarity per metric of `METRICS`.

    excluded: (Q, R) bool, pairs that are not compared (own patient): they get -1, and the excluded images do not enter
    the mean that is subtracted for this query. Otherwise real images, which are part of the mean, would look less
    alike than samples, which are not.
    """
    if excluded is None:
        excluded = np.zeros((len(query.images), len(reference.images)), dtype=bool)
    both = np.concatenate([reference.latents, reference.latents_mirrored])
    latents = centered_cosine(query.latents, both, np.concatenate([excluded, excluded], axis=1))
    plain, mirrored = np.split(latents, 2, axis=1)
    tables = {
        "pixels": pixel_similarity(query.images, reference.images),
        "features": centered_cosine(query.features, reference.features, excluded),
        "latents": np.maximum(plain, mirrored),
    }
    return {name: np.where(excluded, LEFT_OUT, table) for name, table in tables.items()}


def centered_cosine(query: np.ndarray, reference: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """cos(q - m, r - m), (Q, R), for (Q, D) and (R, D); m, of each query, is the mean of its references not excluded.

    Written out, (q - m).(r - m) = q.r - q.m - m.r + m.m, so that no centered copy per query is made; 0 where a norm is.
    """
    middle = reference.mean(axis=0, dtype=np.float64)  # near every m: keeps the terms small and their sum exact
    q, r = query - middle, reference - middle
    weights = ~excluded / np.maximum((~excluded).sum(axis=1, keepdims=True), 1)
    m = weights @ r
    mr, qm, mm = m @ r.T, (q * m).sum(axis=1), (m * m).sum(axis=1)
    dot = q @ r.T - qm[:, None] - mr + mm[:, None]
    q_norm = np.sqrt(np.clip((q * q).sum(axis=1) - 2.0 * qm + mm, 0.0, None))
    r_norm = np.sqrt(np.clip((r * r).sum(axis=1) - 2.0 * mr + mm[:, None], 0.0, None))
    norms = q_norm[:, None] * r_norm
    return np.divide(dot, norms, out=np.zeros_like(dot), where=norms > 1e-9).clip(-1.0, 1.0)


def pixel_similarity(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(Q, R) aligned cross-correlation of (Q, H, W) and (R, H, W) uint8 at their own size, 128 pixels at most.

    `evaluate` uses the same function with the frozen thresholds, so the size is no parameter.
    """
    return aligned_ncc(query, reference, size=min(128, *query.shape[1:]))


def hard(query: Descriptors, reference: Descriptors, aligned: np.ndarray, hard_ncc: float) -> np.ndarray:
    """(Q, R) bool: copies by pixels alone: equal, or aligned correlation and perceptual hash both near."""
    return hard_copies(aligned, query, reference, hard_ncc)


def hard_pairs(query: np.ndarray, reference: np.ndarray, hard_ncc: float) -> list[tuple[int, int]]:
    """Hard copies (query row, reference row) among (Q, H, W) and (R, H, W) uint8, from the images alone."""
    aligned = pixel_similarity(query, reference)
    return [(int(i), int(j)) for i, j in np.argwhere(hard(describe(query), describe(reference), aligned, hard_ncc))]

"""Bidirectional copy-paste (Bai et al. 2023): labeled and unlabeled images are pasted into one another."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from pipelines.params.segmenter import SemiParams
from pipelines.runtime.randomness import Draws
from segmentation.consistency import decided
from segmentation.losses import cross_entropy_map, foreground, probability
from segmentation.semi.network import Network
from segmentation.system import Batch

SIDE = 2.0 / 3.0  # of the pasted box, as published
ALPHA = 0.5  # weight of pseudo-labeled pixels beside labeled ones


def bcp(
    student: Network, q: Tensor, m: Tensor, batch: Batch, draws: Draws, semi: SemiParams
) -> tuple[Tensor, dict[str, Tensor]]:
    """L_u: both mixtures, labeled inside unlabeled and the reverse, each pixel against its own source's target.

    The pseudo-label is the largest component of the teacher's decided mask. Pixels outside a view teach nothing. As
    published, doubtful pixels teach like all others: m is not used. Where the batches differ in size, labeled images
    are repeated or left out.
    """
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    count = len(q)
    place = torch.arange(count, device=q.device) % len(batch.images)
    images, masks = batch.images[place], batch.masks[place]
    pseudo = largest_component(decided(q))
    box = pasted_boxes(draws.uniform("semi/box", 2)[place], *q.shape[-2:])
    inside, outside = box.float(), 1.0 - box.float()
    mixed = torch.cat([torch.where(box, images, unlabeled.weak), torch.where(box, unlabeled.weak, images)])
    labeled_in, unlabeled_in = student(mixed, unlabeled.synthetic.repeat(2)).chunk(2)
    parts = [
        masked_loss(labeled_in, masks, inside) + ALPHA * masked_loss(labeled_in, pseudo, outside * unlabeled.valid),
        masked_loss(unlabeled_in, masks, outside) + ALPHA * masked_loss(unlabeled_in, pseudo, inside * unlabeled.valid),
    ]
    loss = (parts[0] + parts[1]) / 2.0
    return loss, {"labeled_in": parts[0].detach(), "unlabeled_in": parts[1].detach()}


def masked_loss(logits: Tensor, y: Tensor, m: Tensor) -> Tensor:
    """Mean of cross-entropy and Dice on the pixels of m (B, 1, H, W), Dice over the batch as published: scalar."""
    p, y_foreground = foreground(probability(logits)), foreground(y)
    ce = (m * cross_entropy_map(logits, y)).sum() / m.sum().clamp(min=1.0)
    overlap = (m * p * y_foreground).sum(dim=(0, 2, 3))
    total = (m * (p + y_foreground)).sum(dim=(0, 2, 3))
    return 0.5 * (ce + 1.0 - ((2.0 * overlap + 1.0) / (total + 1.0)).mean())


def pasted_boxes(uniform: Tensor, height: int, width: int) -> Tensor:
    """Boxes of 2/3 of each side at a uniform place. uniform: (B, 2) in [0, 1) -> (B, 1, H, W) bool."""
    rows, columns = round(SIDE * height), round(SIDE * width)
    top = (uniform[:, 0] * (height - rows + 1)).long()[:, None]
    left = (uniform[:, 1] * (width - columns + 1)).long()[:, None]
    y, x = torch.arange(height, device=uniform.device), torch.arange(width, device=uniform.device)
    inside_rows, inside_columns = (y >= top) & (y < top + rows), (x >= left) & (x < left + columns)
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]


def largest_component(masks: Tensor) -> Tensor:
    """Each image's largest connected foreground component, the rest becomes background.

    masks: (B, K, H, W) in {0, 1}, one-hot for K >= 2; the same shape and type is returned.
    """
    lesion = foreground(masks).amax(dim=1).cpu().numpy() > 0
    kept = np.zeros_like(lesion)
    for index, mask in enumerate(lesion):
        labels, count = ndimage.label(mask)
        if count:
            kept[index] = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    keep = torch.from_numpy(kept).to(masks.device)[:, None].to(masks.dtype)
    if masks.shape[1] == 1:
        return masks * keep
    rest = masks[:, 1:] * keep
    return torch.cat([1.0 - rest.sum(dim=1, keepdim=True), rest], dim=1)

"""Weak-to-strong consistency: FixMatch (Sohn et al. 2020) and UniMatch (Yang et al. 2023) for segmentation.

The teacher's decided mask h on the weak view is the target of the student's strong views, on confident pixels alone.
The published methods take h from the student itself; here the moving average gives it, as in UniMatch V2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.params.segmenter import SemiParams
from pipelines.runtime.randomness import Draws
from segmentation.augmentations import cutmix
from segmentation.consistency import decided, masked_cross_entropy, masked_dice
from segmentation.losses import probability
from segmentation.perturbations import channels_dropped
from segmentation.semi.network import Network
from segmentation.system import Batch, draws_for


def fixmatch(
    student: Network, q: Tensor, m: Tensor, batch: Batch, draws: Draws, semi: SemiParams
) -> tuple[Tensor, dict[str, Tensor]]:
    """L_u = L_s: a strong view with CutMix against the confident pixels of h."""
    loss = strong_views(student, q, m, batch)
    return loss, {"strong": loss.detach()}


def unimatch(
    student: Network, q: Tensor, m: Tensor, batch: Batch, draws: Draws, semi: SemiParams
) -> tuple[Tensor, dict[str, Tensor]]:
    """L_u = 1/2 L_fp + 1/4 (L_s1 + L_s2) (UniMatch, eq. 6 with lambda = mu = 1/2).

    L_fp: the weak view with half of the channels of every encoder map dropped; L_s1, L_s2: two strong views, each with
    its own CutMix box.
    """
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    perturb = channels_dropped(draws_for(draws, len(q)), "semi/channels")
    dropped = student(unlabeled.weak, unlabeled.synthetic, perturb)
    l_fp = taught(dropped, q, m)
    l_s = strong_views(student, q, m, batch)
    return 0.5 * (l_fp + l_s), {"strong": l_s.detach(), "perturbed": l_fp.detach()}


def strong_views(student: Network, q: Tensor, m: Tensor, batch: Batch) -> Tensor:
    """Mean loss of the strong views, one batch for all; target and mask are mixed as each image was."""
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    views = len(unlabeled.strong)
    logits = student(unlabeled.strong.flatten(0, 1), unlabeled.synthetic.repeat(views)).chunk(views)
    losses = [taught(x, cutmix(q, box), cutmix(m, box)) for x, box in zip(logits, unlabeled.boxes, strict=True)]
    return torch.stack(losses).mean()


def taught(logits: Tensor, q: Tensor, m: Tensor) -> Tensor:
    """Mean of masked cross-entropy against h and masked Dice: scalar."""
    return 0.5 * (masked_cross_entropy(logits, decided(q), m) + masked_dice(probability(logits), q, m))

"""Weak-to-strong consistency: FixMatch (Sohn et al. 2020) and UniMatch (Yang et al. 2023) for segmentation.

The teacher's decided mask h on the weak view is the target of the student's strong views, on confident pixels alone.
The published methods take h from the student itself; here the moving average gives it, as in UniMatch V2.
"""

from __future__ import annotations

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
    """L_u = L_s: one strong view with CutMix against the confident pixels of h."""
    loss = strong_view(student, q, m, batch, 0)
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
    l_s = (strong_view(student, q, m, batch, 0) + strong_view(student, q, m, batch, 1)) / 2.0
    return 0.5 * (l_fp + l_s), {"strong": l_s.detach(), "perturbed": l_fp.detach()}


def strong_view(student: Network, q: Tensor, m: Tensor, batch: Batch, view: int) -> Tensor:
    """The loss of one strong view; target and mask are mixed as the image was."""
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    boxes = unlabeled.boxes[view]
    logits = student(unlabeled.strong[view], unlabeled.synthetic)
    return taught(logits, cutmix(q, boxes), cutmix(m, boxes))


def taught(logits: Tensor, q: Tensor, m: Tensor) -> Tensor:
    """Mean of masked cross-entropy against h and masked Dice: scalar."""
    return 0.5 * (masked_cross_entropy(logits, decided(q), m) + masked_dice(probability(logits), q, m))

"""Mean teacher (Tarvainen and Valpola 2017): the student's strong view agrees with the average's weak view."""

from __future__ import annotations

from torch import Tensor

from pipelines.params.segmenter import SemiParams
from pipelines.runtime.randomness import Draws
from segmentation.augmentations import cutmix
from segmentation.losses import probability
from segmentation.semi.network import Network
from segmentation.system import Batch


def mean_teacher(
    student: Network, q: Tensor, m: Tensor, batch: Batch, draws: Draws, semi: SemiParams
) -> tuple[Tensor, dict[str, Tensor]]:
    """L_u = lc mean((p - q)^2), where the view shows its image. CutMix on image and target (French et al. 2020).

    As published, doubtful pixels teach like all others: m is not used.
    """
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    boxes = unlabeled.boxes[0]
    target, valid = cutmix(q, boxes), cutmix(unlabeled.valid, boxes)
    p = probability(student(unlabeled.strong[0], unlabeled.synthetic))
    loss = semi.lc * (valid * (p - target) ** 2).mean()
    return loss, {"consistency": loss.detach() / max(semi.lc, 1e-12)}

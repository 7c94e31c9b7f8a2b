"""The methods of semi-supervised learning by name, on any network that maps images to logits.

All take q, the teacher's probability on the weak view before CutMix, and m, its confident pixels inside the image
(B, 1, H, W), and return L_u without its weight w(u), and scalars for the log. So a system decides what its teacher says
(a plain or a repaired pseudo-label) and how sure it is, and a method what to do with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from pipelines.params.segmenter import SemiParams
from pipelines.runtime.randomness import Draws
from segmentation.semi.bcp import bcp
from segmentation.semi.mean_teacher import mean_teacher
from segmentation.semi.network import Network
from segmentation.semi.weak_to_strong import fixmatch, unimatch
from segmentation.system import Batch

Method = Callable[[Network, Tensor, Tensor, Batch, Draws, SemiParams], tuple[Tensor, dict[str, Tensor]]]

METHODS: Mapping[str, Method] = {
    "mean_teacher": mean_teacher,
    "fixmatch": fixmatch,
    "unimatch": unimatch,
    "bcp": bcp,
}

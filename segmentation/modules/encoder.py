"""The shared image encoder (EfficientNet-Lite0, Tan and Le 2019) on one gray channel, and its normalization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from pipelines.runtime.errors import ParamsError
from pipelines.runtime.weights import load_lite0_into

Norm = Literal["bn", "frozen_bn", "gn"]
MAX_GROUPS, MIN_CHANNELS = 32, 4  # of GroupNorm: groups of a layer at most, channels of a group at least


def resolve_norm(norm: str, weights: str) -> Norm:
    """`auto`: pretrained statistics are kept as they are, a network from scratch measures its own."""
    if norm == "auto":
        return "frozen_bn" if weights != "none" else "bn"
    chosen: dict[str, Norm] = {"bn": "bn", "frozen_bn": "frozen_bn", "gn": "gn"}
    return chosen[norm]


def groups_for(channels: int) -> int:
    """The most groups, up to 32 (Wu and He 2018), that share the channels equally with at least 4 each; else 1."""
    most = min(MAX_GROUPS, channels // MIN_CHANNELS)
    return next((groups for groups in range(most, 0, -1) if channels % groups == 0), 1)


def with_group_norm(net: nn.Module) -> nn.Module:
    """Replace every BatchNorm of a network by GroupNorm with the same scale, shift and epsilon, in place.

    What a layer fuses with its norm (timm: dropout and activation) follows it. Pretrained scales and shifts survive;
    the running statistics go, so that a network has to be trained on.
    """
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                norm = nn.GroupNorm(groups_for(child.num_features), child.num_features, eps=child.eps)
                if child.affine:
                    norm.weight, norm.bias = child.weight, child.bias
                after = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]
                setattr(parent, name, nn.Sequential(norm, *after) if after else norm)
    return net


class ImageEncoder(nn.Module):
    """An encoder of segmentation-models-pytorch that normalizes its input itself.

    name: as smp names it. norm: `bn`, `frozen_bn` (running statistics constant, scale and shift trained) or `gn`
    (GroupNorm in place of every BatchNorm: no image sees another, no statistic is kept). mean, std: of the images in
    [0, 1]. Without stochastic depth: all randomness of a step comes from its draws. An unknown name is a ParamsError.
    """

    def __init__(self, name: str, norm: Norm, mean: float, std: float) -> None:
        super().__init__()
        import segmentation_models_pytorch as smp

        try:
            self.net = smp.encoders.get_encoder(name, in_channels=1, depth=5, weights=None)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ParamsError(
                f"segmenter.encoder.name: expected an encoder of segmentation-models-pytorch, or tu- and a timm model, "
                f"found {name!r} ({str(error)[:100]})"
            ) from None
        self.name, self.norm, self.mean, self.std = name, norm, mean, std
        self.channels: list[int] = list(self.net.out_channels[1:])  # f1..f5, strides 2..32
        for module in self.net.modules():
            if hasattr(module, "drop_prob"):
                module.drop_prob = 0.0
        if norm == "gn":
            with_group_norm(self.net)

    def forward(self, images: Tensor) -> list[Tensor]:
        """images: (B, 1, H, W) in [0, 1], sides multiples of 32 -> f1..f5 (B, C_l, H / 2^l, W / 2^l)."""
        x = ((images - self.mean) / self.std).contiguous()
        # one channel lies the same in both memory layouts; called channels last, a CPU convolves it 1.7 times faster
        pixels = x.shape[-2] * x.shape[-1]
        return self.net(x.as_strided(x.shape, (pixels, 1, x.shape[-1], 1)))[1:]

    def train(self, mode: bool = True) -> ImageEncoder:
        super().train(mode)
        if self.norm == "frozen_bn":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def load_pretrained(encoder: ImageEncoder) -> None:
    """Put the ImageNet weights of the pip package into the encoder, in place; ArtifactError when they do not fit."""
    if encoder.norm != "gn":
        load_lite0_into(encoder.net, channels=1)
        return
    donor = ImageEncoder(encoder.name, "bn", encoder.mean, encoder.std)  # the file has a place for each BatchNorm
    load_lite0_into(donor.net, channels=1)
    encoder.net = with_group_norm(donor.net)


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm layers in training mode normalize by the batch but leave their running statistics alone."""
    layers = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def by_stream(
    module: nn.Module, forward: Callable[..., list[Tensor]], inputs: Sequence[Tensor], synthetic: Tensor | None
) -> list[Tensor]:
    """Run real and synthetic rows apart where BatchNorm would mix them: synthetic rows move no running statistic.

    inputs: tensors with B rows, the arguments of `forward`; synthetic: (B,) bool, None where all are real. Returns what
    `forward` gives for all rows, in their order.
    """
    mixes = any(isinstance(m, nn.BatchNorm2d) and m.training for m in module.modules())
    if synthetic is None or not mixes or not bool(synthetic.any()):
        return forward(*inputs)
    rows = torch.cat([torch.nonzero(~synthetic)[:, 0], torch.nonzero(synthetic)[:, 0]])
    back = torch.argsort(rows)
    parts = [] if bool(synthetic.all()) else [forward(*(x[~synthetic] for x in inputs))]
    with kept_statistics(module):
        parts.append(forward(*(x[synthetic] for x in inputs)))
    return [torch.cat(maps)[back] for maps in zip(*parts, strict=True)]

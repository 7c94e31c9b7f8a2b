"""How hard the phantom is: a plain U-Net, trained on site A and tested on other patients of A and on B."""

from __future__ import annotations

import numpy as np
import torch
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from pipelines.datasets.images import resize_image, resize_label
from pipelines.datasets.phantom.image import make_image
from pipelines.datasets.phantom.plan import View, plan
from pipelines.runtime.randomness import numpy_generator_for
from segmentation.losses import bce_dice
from segmentation.modules.encoder import ImageEncoder, load_pretrained, resolve_norm

IMAGES, SIDE, STEPS, BATCH, RATE = 640, 96, 600, 8, 2e-3
WIDTHS = (96, 64, 32, 16, 16)


class PlainUNet(nn.Module):
    """(B, 1, H, W) in 0..1 to logits (B, 1, H, W)."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.encoder = ImageEncoder("tu-tf_efficientnet_lite0", resolve_norm("auto", "lite0"), mean, std)
        load_pretrained(self.encoder)
        self.decoder = UnetDecoder(encoder_channels=(1, *self.encoder.channels), decoder_channels=WIDTHS, n_blocks=5)
        self.head = SegmentationHead(WIDTHS[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.decoder([images, *self.encoder(images)]))


def dice_of_a_plain_unet(seed: int) -> tuple[float, float]:
    """Mean Dice per lesion image at sites A and B, on one thread. Of A the last third of the patients is tested on."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    views = plan(seed, IMAGES, ("benign", "malignant"), 0.2)
    images, masks = _arrays(seed, views)
    patients = sorted({view.patient for view in views if view.site == "A"})
    held_out = set(patients[-(len(patients) // 3) :])
    parts: dict[str, list[int]] = {"train": [], "A": [], "B": []}
    for row, view in enumerate(views):
        parts["B" if view.site == "B" else "A" if view.patient in held_out else "train"].append(row)
    train = np.array(parts["train"])
    network = PlainUNet(float(images[train].mean()), float(images[train].std()))
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(STEPS):
        rng = numpy_generator_for(seed, "phantom/unet", step)
        rows = rng.choice(train, BATCH, replace=False)
        x, y = images[rows], masks[rows]
        if rng.random() < 0.5:
            x, y = x.flip(3), y.flip(3)
        x = (x * float(rng.uniform(0.8, 1.2)) + float(rng.uniform(-0.08, 0.08))).clamp(0, 1)
        loss = bce_dice(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    return _dice(network, images, masks, parts["A"]), _dice(network, images, masks, parts["B"])


def _arrays(seed: int, views: list[View]) -> tuple[Tensor, Tensor]:
    images, masks = [], []
    for view in views:
        made = make_image(seed, view)
        images.append(resize_image(made.image, SIDE))
        masks.append(resize_label(made.masks.any(axis=0).astype(np.uint8), SIDE))
    return torch.tensor(np.stack(images))[:, None].float() / 255, torch.tensor(np.stack(masks))[:, None].float()


@torch.no_grad()
def _dice(network: nn.Module, images: Tensor, masks: Tensor, rows: list[int]) -> float:
    found = []
    for row in rows:
        predicted, true = network(images[row : row + 1]) > 0, masks[row : row + 1] > 0
        found.append(2 * float((predicted & true).sum()) / max(float(predicted.sum() + true.sum()), 1.0))
    return float(np.mean(found))

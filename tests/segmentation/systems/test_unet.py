"""`unet` at width 1 is smp's U-Net; its mean-teacher term by hand."""

import math

import segmentation_models_pytorch as smp
import torch

from pipelines.params.segmenter import UnetParams
from segmentation.losses import bce_dice, probability
from segmentation.systems.unet import UNet
from tests.support.segmenter import average_of, make_batch, make_draws, make_system, tensors


def test_at_width_one_it_has_the_decoder_of_the_library() -> None:
    system = make_system("unet", width=1.0)
    assert isinstance(system, UNet)
    published = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, in_channels=1, classes=1)
    ours = [tuple(p.shape) for p in [*system.decoder.parameters(), *system.head.parameters()]]
    theirs = [tuple(p.shape) for p in [*published.decoder.parameters(), *published.segmentation_head.parameters()]]
    assert ours == theirs


def test_mean_teacher_is_weighted_by_the_ramp() -> None:
    system = make_system("unet", w_max=2.0, lc=3.0)
    assert isinstance(system, UNet)
    batch = make_batch()
    assert batch.unlabeled is not None
    losses = system.losses(batch, 0.15, make_draws(), average_of(system))
    assert torch.allclose(losses["supervised"], bce_dice(system(batch.images), batch.masks), atol=1e-5)
    expected = losses["supervised"] + 2.0 * math.exp(-1.25) * 3.0 * losses["consistency"]
    torch.testing.assert_close(losses["total"].detach(), expected)


def test_modes_and_seeds_change_nothing() -> None:
    system = make_system("unet")
    assert isinstance(system, UNet)
    system.eval()
    images, _ = tensors(2)
    found = [
        system.predict(images, steps=s, seeds=s, mode=mode, case_ids=["a", "b"]).probability
        for s, mode in ((1, "direct"), (3, "refine"))
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], probability(system(images)))


def test_without_a_semi_supervised_loss_unlabeled_images_teach_nothing() -> None:
    system = make_system("unet", method=UnetParams(semi="none"), w_max=2.0)
    losses = system.losses(make_batch(), 1.0, make_draws(), average_of(system))
    torch.testing.assert_close(losses["total"].detach(), losses["supervised"])

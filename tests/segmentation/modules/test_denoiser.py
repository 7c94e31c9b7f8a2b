"""The denoiser: outputs, what perturbations touch, where the condition enters."""

import torch
from torch import Tensor

from segmentation.modules.denoiser import Denoiser

WIDTHS = [16, 24, 32]  # at strides 4, 8, 16


def inputs(classes: int = 1) -> tuple[Tensor, Tensor, list[Tensor]]:
    conditions = [torch.randn(2, w, 64 // 2**level, 32 // 2**level) for level, w in enumerate(WIDTHS, start=2)]
    return torch.randn(2, classes, 64, 32), torch.tensor([3, 700]), conditions


def test_the_output_is_the_prediction_alone() -> None:
    for classes in (1, 3):
        x, t, conditions = inputs(classes)
        denoiser = Denoiser(classes, WIDTHS, 32, 3, True)
        (logits,) = denoiser(x, t, conditions)
        assert logits.shape == (2, classes, 64, 32)


def test_perturbations_touch_their_own_decoder_alone() -> None:
    torch.manual_seed(0)
    denoiser, (x, t, conditions) = Denoiser(1, WIDTHS, 32, 3, True).eval(), inputs()

    def same(v: Tensor) -> Tensor:
        return v

    with torch.no_grad():
        plain = denoiser(x, t, conditions, [same, same, same])
        changed = denoiser(x, t, conditions, [same, torch.zeros_like, same])
        (main,) = denoiser(x, t, conditions)
    assert len(plain) == 4
    assert torch.equal(main, plain[0])
    assert [torch.equal(a, b) for a, b in zip(plain, changed, strict=True)] == [True, True, False, True]


def test_single_scale_hears_the_coarsest_condition_alone() -> None:
    torch.manual_seed(0)
    x, t, conditions = inputs()
    other = [torch.zeros_like(c) for c in conditions[:2]] + conditions[2:]
    with torch.no_grad():
        single = Denoiser(1, WIDTHS, 32, 0, False)
        assert torch.equal(single(x, t, conditions)[0], single(x, t, other)[0])
        multi = Denoiser(1, WIDTHS, 32, 0, True)
        assert not torch.equal(multi(x, t, conditions)[0], multi(x, t, other)[0])

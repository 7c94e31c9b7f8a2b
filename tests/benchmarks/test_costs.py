"""Numbers that can be computed by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from benchmarks import costs
from benchmarks.costs import Spread, count_flops, interleaved, parameters_run, peak_flops, ratios, spread

CPU = torch.device("cpu")


def test_median_and_extremes() -> None:
    assert spread([3.0, 1.0, 100.0]) == Spread(3.0, 1.0, 100.0)
    assert spread([4.0, 2.0]).median == 3.0


def test_ratios_are_of_the_same_turn() -> None:
    """The second turn met twice the load: no ratio shows it, though that of the means would for other numbers."""
    assert ratios([2.0, 4.0, 3.0], [1.0, 2.0, 2.0]) == [2.0, 2.0, 1.5]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_calls_take_turns_and_the_first_turns_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call n takes n seconds by this clock: a is called 1st, 3rd, 5th, 7th, and its first turn warms up."""
    order: list[str] = []
    moments = itertools.accumulate(itertools.chain.from_iterable((0.0, float(n)) for n in range(1, 9)))
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(moments))
    seconds = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, CPU, warm_up=1)
    assert order == ["a", "b"] * 4
    assert seconds == {"a": [2.0, 4.0, 6.0], "b": [3.0, 5.0, 7.0]}


@pytest.mark.parametrize(
    ("layer", "forward"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), 2 * 2 * 64 * 9 * 4 * 6),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), 2 * 2 * 64 * 9 * 4),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), 2 * 2 * 64 * 9 * 4 * 6 // 2),
        (nn.Conv2d(4, 6, 3, padding=1, stride=2), 2 * 2 * 16 * 9 * 4 * 6),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), 2 * 2 * 64 * 4 * 4 * 6),
        (nn.Linear(8, 5), 2 * 2 * 4 * 8 * 8 * 5),
    ],
    ids=["dense", "depthwise", "grouped", "strided", "transposed", "linear"],
)
def test_two_flops_per_multiply_add(layer: nn.Module, forward: int) -> None:
    """Backward: as many for the weight's gradient, and as many for the input's where that is asked for."""
    x = torch.randn(2, 4, 8, 8)
    assert count_flops(lambda: layer(x)) == forward
    assert count_flops(lambda: layer(x).sum().backward()) == 2 * forward
    assert count_flops(lambda: layer(x.requires_grad_()).sum().backward()) == 3 * forward


class Branches(nn.Module):
    """The second layer runs in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.auxiliary = nn.Linear(3, 2), nn.Linear(3, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x) + self.auxiliary(x).sum() if self.training else self.main(x)


def test_parameters_of_layers_that_run() -> None:
    module = Branches()
    assert costs.count_parameters(module) == 8 + 28
    assert parameters_run(module, lambda: module.eval()(torch.ones(1, 3))) == 8
    assert parameters_run(module, lambda: module.train()(torch.ones(1, 3))) == 36
    assert not any(part._forward_pre_hooks for part in module.modules())


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165),
    ],
)
def test_peaks_by_name(name: str, teraflops: float) -> None:
    assert peak_flops(name) == teraflops * 1e12


@pytest.mark.parametrize("name", ["AMD EPYC", "Tesla V100-SXM2-16GB", "NVIDIA L400", "NVIDIA A10G"])
def test_an_unknown_card_has_no_peak(name: str) -> None:
    assert peak_flops(name) is None


def test_memory_is_not_counted_on_a_cpu() -> None:
    called: list[int] = []
    assert costs.peak_memory(lambda: called.append(1), CPU, 0) is None
    assert costs.allocated(CPU) == 0
    assert not called  # nothing is run for a number that nobody gets
    assert costs.device_name(CPU)

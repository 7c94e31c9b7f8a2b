"""What a computation costs: seconds in turns, floating-point operations, parameters that run, memory, the machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from pipelines.study.hardware import cpu_model

Call = Callable[[], object]
MIB = 2**20

# dense bf16 tensor-core FLOP/s by words of the device's name, the first line whose words are all there. From NVIDIA's
# data sheets, halved where they count structured sparsity: H200 (SXM), H100 (NVL, PCIe and SXM in one table), A100,
# L40S, L4, A10, and the Ada architecture's white paper (RTX 4090, sums in fp32)
PEAKS: Mapping[tuple[str, ...], float] = {
    ("H200", "NVL"): 835e12,
    ("H200",): 989e12,
    ("H100", "NVL"): 835e12,
    ("H100", "PCIe"): 756e12,
    ("H100",): 989e12,
    ("A100",): 312e12,
    ("L40S",): 362e12,
    ("L4",): 121e12,
    ("A10",): 125e12,
    ("RTX", "4090"): 165e12,
}


@dataclass(frozen=True)
class Spread:
    """Of repeats: the median, the smallest and the largest."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratios(of: Sequence[float], by: Sequence[float]) -> list[float]:
    """Turn by turn, so that both sides of a ratio met the same load; their median is not the ratio of the medians."""
    return [a / b for a, b in zip(of, by, strict=True)]


def interleaved(
    calls: Mapping[str, Call], repeats: int, device: torch.device, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each call in each of `repeats` turns (a b a b), after `warm_up` turns that are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            wait_for(device)
            started = time.perf_counter()
            call()
            wait_for(device)
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def wait_for(device: torch.device) -> None:
    """Until the device has done what was asked of it; a CPU has when the call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_flops(call: Call) -> int:
    """2 x multiply-adds of convolutions, matrix products and attention, forward and backward; nothing else counts."""
    mapping = {torch.ops.aten.convolution_backward: convolution_backward_flops}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        call()
    return counter.get_total_flops()


def convolution_backward_flops(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any = None, **_: Any) -> int:
    """As many for the input's gradient and for the weight's as forward.

    torch's own formula takes a grouped convolution for a dense one when it counts the weight's gradient.
    """
    transposed, wanted = rest[4], rest[7]
    return conv_flop_count(x, weight, grad, transposed) * sum(bool(one) for one in wanted[:2])


def parameters_run(module: nn.Module, call: Call) -> int:
    """How many parameters belong to layers that run in `call`."""
    ran: set[nn.Module] = set()
    handles = [part.register_forward_pre_hook(lambda layer, _: ran.add(layer)) for part in module.modules()]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return sum(p.numel() for p in {p for layer in ran for p in layer.parameters(recurse=False)})


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def allocated(device: torch.device) -> int:
    """Bytes of tensors on a CUDA device; 0 elsewhere."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def peak_memory(call: Call, device: torch.device, before: int) -> float | None:
    """MiB allocated at most while `call` runs, without the `before` bytes of others; None where nobody counts them."""
    if device.type != "cuda":
        return None
    wait_for(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    wait_for(device)
    return (torch.cuda.max_memory_allocated(device) - before) / MIB


def peak_flops(name: str) -> float | None:
    """Dense bf16 FLOP/s of a device by its name; None for a device that PEAKS does not know."""
    words = set(name.replace("-", " ").split())
    return next((peak for key, peak in PEAKS.items() if words.issuperset(key)), None)


def device_name(device: torch.device) -> str:
    """The card's name, or that of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_model()


def load() -> float:
    """Processes that wanted a core during the last minute: on a machine in use, ratios say more than seconds."""
    return os.getloadavg()[0]

"""What tests look at inside crossdiff: the inputs of its denoiser's calls, and how often its parts run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from segmentation.modules.guidance import Condition
from segmentation.systems.crossdiff import CrossDiff
from tests.support.segmenter import make_system

NAMES = ["a", "b"]


def make(**changes: Any) -> CrossDiff:
    system = make_system("crossdiff", **changes)
    assert isinstance(system, CrossDiff)
    return system


def condition_of(system: CrossDiff, images: Tensor) -> Condition:
    """All that the denoiser is told about images."""
    return system.told(system.see(images))


def predict(system: CrossDiff, images: Tensor, mode: str, steps: int = 2, seeds: int = 1) -> Tensor:
    """Probabilities of two images."""
    return system.predict(images, steps=steps, seeds=seeds, mode=mode, case_ids=NAMES).probability


def inputs_of(system: CrossDiff, run: Callable[[], Any]) -> list[tuple[Tensor, Tensor]]:
    """(xt, t) of every denoiser call while `run()` runs, before scaling."""
    seen = []
    original = system.denoise

    def spy(xt: Tensor, t: Tensor, *more: Any) -> list[Tensor]:
        seen.append((xt.detach().clone(), t.clone()))
        return original(xt, t, *more)

    system.denoise = spy  # type: ignore[method-assign]
    try:
        run()
    finally:
        del system.denoise
    return seen


def calls_of(modules: Mapping[str, nn.Module], run: Callable[[], Any]) -> Counter[str]:
    """How often each module runs while `run()` runs."""
    counts: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, name=name: counts.update([name])) for name, module in modules.items()
    ]
    run()
    for handle in handles:
        handle.remove()
    return counts

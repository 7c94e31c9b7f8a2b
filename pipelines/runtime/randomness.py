"""All randomness is a function of (seed, stream, step): no generator state is kept, saved or needed for a resume.

A *stream* names what the numbers are for ("batch", "noise", "crop"), so that adding a draw in one place shifts none in
another. Draws of a training step are made for the global batch and then cut to the rows of this process: the number
of processes changes no draw.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, stream: str, step: int = 0) -> int:
    """A 63-bit integer that depends on all three arguments alone (sha256; `hash()` changes between processes)."""
    digest = hashlib.sha256(f"{seed}|{stream}|{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """A torch generator on the CPU. Draw there and move: the numbers are then the same for every device."""
    import torch

    return torch.Generator().manual_seed(derive(seed, stream, step))


def numpy_generator_for(seed: int, stream: str, step: int = 0) -> np.random.Generator:
    """A NumPy generator (PCG64)."""
    return np.random.Generator(np.random.PCG64(derive(seed, stream, step)))


def batch_rows(seed: int, stream: str, step: int, count: int, batch: int) -> np.ndarray:
    """Rows of the batch of one step: (batch,) int64 in [0, count).

    The stream is an endless row of permutations of `count`; step s reads places s * batch ... (s + 1) * batch - 1.
    So each row is met once before any is met twice, also when `batch` is larger than `count`.
    """
    if count < 1:
        raise ValueError(f"batch_rows: stream {stream!r} has no rows to draw from")
    places = np.arange(step * batch, (step + 1) * batch)
    epochs = {
        int(epoch): numpy_generator_for(seed, f"{stream}/epoch", int(epoch)).permutation(count)
        for epoch in np.unique(places // count)
    }
    return np.array([epochs[int(place // count)][place % count] for place in places], dtype=np.int64)


@dataclass(frozen=True)
class Draws:
    """Random tensors of one training step, by name.

    seed, step: the first and last of (seed, stream, step). total: size of the global batch. rows: the rows of it that
    this process works on. Every method gives (b, *shape) with b = number of those rows; the same name and shape gives
    the same numbers at each call.
    """

    seed: int
    step: int
    total: int
    rows: slice
    device: torch.device | str = "cpu"

    def normal(self, stream: str, *shape: int) -> torch.Tensor:
        """N(0, 1), (b, *shape) float32."""
        import torch

        draw = torch.randn((self.total, *shape), generator=generator_for(self.seed, stream, self.step))
        return draw[self.rows].to(self.device)

    def uniform(self, stream: str, *shape: int) -> torch.Tensor:
        """U[0, 1), (b, *shape) float32."""
        import torch

        draw = torch.rand((self.total, *shape), generator=generator_for(self.seed, stream, self.step))
        return draw[self.rows].to(self.device)

    def integers(self, stream: str, low: int, high: int, *shape: int) -> torch.Tensor:
        """Integers in [low, high), (b, *shape) int64."""
        import torch

        draw = torch.randint(low, high, (self.total, *shape), generator=generator_for(self.seed, stream, self.step))
        return draw[self.rows].to(self.device)

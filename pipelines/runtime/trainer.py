"""The one training loop: a visible sequence of steps, resumable to the bit.

`losses(step, ema)` computes the losses of one step from `step` alone (its index, training fraction, rows and draws), so
a state holds weights, EMA, optimizer moments and the log, and no generator state.
"""

from __future__ import annotations

import copy
import math
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipelines.runtime.artifacts import write_csv
from pipelines.runtime.checkpoint import State
from pipelines.runtime.errors import NumericsError, ParamsError
from pipelines.runtime.process import StopRequested
from pipelines.runtime.randomness import Draws, batch_rows, derive
from pipelines.runtime.stage import Run

Module = TypeVar("Module", bound=nn.Module)
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # of AdamW


@dataclass(frozen=True)
class TrainSettings:
    """total_steps and checkpoint_every in steps; lr is the peak; warmup is a fraction of the training; clip is the
    largest gradient norm; weight_decay is off for vectors (norms, biases); ema_decay is the final decay mu.
    """

    total_steps: int
    lr: float
    seed: int
    ema_decay: float
    checkpoint_every: int
    schedule: Literal["cosine", "constant", "poly"] = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    log_every: int = 10


@dataclass
class Step:
    """One training step. index: from 0. u: index / total_steps in [0, 1), the only clock of a schedule."""

    index: int
    u: float
    seed: int
    device: torch.device
    rank: int = 0
    world: int = 1
    cases: list[str] = field(default_factory=list)  # set by the losses; named when a loss is not finite

    def share(self, batch: int) -> slice:
        """The places of a global batch that this process works on."""
        if batch % self.world:
            raise ParamsError(f"batch {batch} cannot be shared by {self.world} processes; make it a multiple of them")
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def rows(self, stream: str, count: int, batch: int) -> np.ndarray:
        """This process's rows, (batch / world,) int64 in [0, count), of the global batch of a stream."""
        return batch_rows(self.seed, stream, self.index, count, batch)[self.share(batch)]

    def draws(self, batch: int) -> Draws:
        """Random tensors for a global batch of this size, cut to this process's rows."""
        return Draws(self.seed, self.index, batch, self.share(batch), self.device)


Losses = Callable[[Step, Any], dict[str, Tensor]]
Observe = Callable[[Any, int], dict[str, float]]


def train(
    module: Module,
    losses: Losses,
    settings: TrainSettings,
    run: Run,
    *,
    param_groups: Sequence[Mapping[str, Any]] | None = None,
    observe: Observe | None = None,
) -> Module:
    """Train for exactly `total_steps` and return the EMA of the module, in eval mode; log to out/metrics.csv.

    losses(step, ema) -> dict with "total", each a scalar mean over this process's rows; `ema` is the averaged module,
    to be used as a teacher or not at all. param_groups: dicts with "params" and a factor "lr_scale"
    (default: all at 1). observe(ema, done) looks at the averaged module after each of `done` steps and returns numbers
    for the log, mostly none; where there are any, they make a row of metrics.csv, empty in the others. It must change
    nothing.
    Raises NumericsError at the first loss or gradient that is not finite, with the cases of the batch; nothing is saved
    of that step.
    """
    accelerator = Accelerator(
        cpu=run.device.type == "cpu", mixed_precision="bf16" if run.params.runtime.precision == "bf16" else "no"
    )
    if run.world > 1:
        run.log(f"{run.world} processes share each batch")
    module.to(run.device).train()
    ema = copy.deepcopy(module).eval().requires_grad_(False)
    optimizer = build_optimizer(module, settings, param_groups)
    history: list[dict[str, float]] = []
    window: list[dict[str, float]] = []
    first = 0
    state = run.checkpoints.load_latest()
    if state is not None:
        first = state.step
        restore(state, module, ema, optimizer)
        history, window = state.record["history"], state.record["window"]
    progress = run.progress(settings.total_steps, first=first)
    run.stop.deferred = True
    for index in range(first, settings.total_steps):
        step = Step(index, index / settings.total_steps, settings.seed, run.device, run.rank, run.world)
        rate = learning_rate(settings, step.u)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        # nn.Dropout draws from the global generator: seeding it here makes that a function of the step as well
        torch.manual_seed(derive(settings.seed, f"global/{run.rank}", index))
        optimizer.zero_grad(set_to_none=True)
        with accelerator.autocast():
            parts = losses(step, ema)
        accelerator.backward(parts["total"])
        values, stopping = average_over_ranks(accelerator, module, parts, run)
        check_finite(values, step, run)
        # clipping by a norm that is not finite would turn every weight into NaN
        norm = nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
        check_finite({"gradient norm": float(norm)}, step, run)
        optimizer.step()
        update_ema(ema, module, index, settings.ema_decay)

        window.append(values)
        done = index + 1
        seen = observe(ema, done) if observe else {}
        if seen or done % settings.log_every == 0 or done == settings.total_steps:
            history.append({"step": done, "lr": rate, **_mean(window), **seen})
            window = []
            progress.update(done, f"loss {history[-1]['total']:.4f}")
        if stopping or (done % settings.checkpoint_every == 0 and done < settings.total_steps):
            run.checkpoints.save(done, snapshot(module, ema, optimizer), {"history": history, "window": window})
        if stopping:  # agreed by all processes, though the signal may have reached one of them
            raise StopRequested(run.stop.number or signal.SIGTERM)
    run.stop.deferred = False
    run.stop.check()
    first_columns = ["step", "lr", "total"]
    columns = {name for row in history for name in row}
    write_csv(run.out / "metrics.csv", history, first_columns + sorted(columns - set(first_columns)))
    return ema


def learning_rate(settings: TrainSettings, u: float) -> float:
    """Linear warm-up, then cosine to 0, or (1 - u)^0.9, or constant; u in [0, 1)."""
    if u < settings.warmup:
        # the first step of a warm-up is not wasted on a rate of 0
        return settings.lr * (u * settings.total_steps + 1) / (settings.warmup * settings.total_steps + 1)
    if settings.schedule == "constant":
        return settings.lr
    if settings.schedule == "poly":
        return settings.lr * (1 - u) ** 0.9
    after = (u - settings.warmup) / (1 - settings.warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * after))


def build_optimizer(
    module: nn.Module, settings: TrainSettings, param_groups: Sequence[Mapping[str, Any]] | None
) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices and kernels only. Each group carries `lr_scale`."""
    groups = []
    for group in param_groups or [{"params": list(module.parameters())}]:
        trainable = [p for p in group["params"] if p.requires_grad]
        for chosen, decay in (
            ([p for p in trainable if p.ndim > 1], settings.weight_decay),
            ([p for p in trainable if p.ndim <= 1], 0.0),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr_scale": group.get("lr_scale", 1.0)})
    return torch.optim.AdamW(groups, lr=settings.lr)


@torch.no_grad()
def update_ema(ema: nn.Module, module: nn.Module, index: int, decay: float) -> None:
    """mu = min(decay, (1 + step) / (10 + step)); parameters are averaged, buffers (BatchNorm statistics) copied."""
    mu = min(decay, (1 + index) / (10 + index))
    average: list[Tensor] = list(ema.parameters())
    current: list[Tensor] = list(module.parameters())
    torch._foreach_lerp_(average, current, 1 - mu)
    for buffer, source in zip(ema.buffers(), module.buffers(), strict=True):
        buffer.copy_(source)


@torch.no_grad()
def average_over_ranks(
    accelerator: Accelerator, module: nn.Module, parts: Mapping[str, Tensor], run: Run
) -> tuple[dict[str, float], bool]:
    """The loss values and whether any process was asked to stop; with several processes, gradients and floating
    buffers become their means (each process saw an equal share of the batch, so that is the mean over the batch).
    """
    names = list(parts)
    scalars = torch.stack([parts[name].detach().float().reshape(()) for name in names])
    stop = float(run.stop.number is not None)
    if run.world > 1:
        for parameter in module.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # every process must reduce the same tensors
        tensors = [p.grad for p in module.parameters() if p.grad is not None]
        tensors += [b for b in module.buffers() if b.is_floating_point()]
        flat = torch.cat([scalars, scalars.new_tensor([stop]), *(t.reshape(-1).float() for t in tensors)])
        flat = accelerator.reduce(flat, reduction="mean")
        scalars, stop = flat[: len(names)], float(flat[len(names)])
        place = len(names) + 1
        for tensor in tensors:
            tensor.copy_(flat[place : place + tensor.numel()].view_as(tensor))
            place += tensor.numel()
    return dict(zip(names, scalars.tolist(), strict=True)), stop > 0


def check_finite(values: Mapping[str, float], step: Step, run: Run) -> None:
    """Stop at the first loss or norm that is NaN or infinite."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise NumericsError(
            f"{run.stage}: {', '.join(bad)} is not finite at step {step.index}; cases of the batch: "
            f"{', '.join(step.cases) or 'not named'}; look at these images, or lower the learning rate"
        )


def snapshot(module: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything a resume needs, by name: module, EMA, and the optimizer's moments by place."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"ema.{name}": tensor for name, tensor in ema.state_dict().items()}
    for place, parameter in _places(optimizer):
        moments = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{place}.{key}": moments[key] for key in MOMENTS if key in moments}
    return {name: tensor.clone() for name, tensor in tensors.items()}  # safetensors refuses shared memory


def restore(state: State, module: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Undo `snapshot`."""
    for prefix, target in (("module.", module), ("ema.", ema)):
        target.load_state_dict({k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)})
    for place, parameter in _places(optimizer):
        moments = {}
        for key in MOMENTS:
            tensor = state.tensors.get(f"optimizer.{place}.{key}")
            if tensor is not None:
                moments[key] = tensor if key == "step" else tensor.to(parameter.device)
        if moments:
            optimizer.state[parameter] = moments


def _places(optimizer: torch.optim.Optimizer) -> Iterable[tuple[int, nn.Parameter]]:
    return enumerate(parameter for group in optimizer.param_groups for parameter in group["params"])


def _mean(window: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(values[name] for values in window) / len(window) for name in window[0]}

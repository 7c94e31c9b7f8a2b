"""The loop: resume by arithmetic, EMA, schedules, NaN, stop. The model is a small regression with dropout and BN."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pipelines.runtime.artifacts import read_csv
from pipelines.runtime.checkpoint import Checkpoints
from pipelines.runtime.errors import NumericsError, ParamsError
from pipelines.runtime.process import Stop, StopRequested
from pipelines.runtime.stage import Run
from pipelines.runtime.trainer import Step, TrainSettings, learning_rate, train, update_ema

SETTINGS = TrainSettings(total_steps=12, lr=1e-2, seed=3, ema_decay=0.9, checkpoint_every=5, log_every=4)


def make_run(folder, *, stop=None):
    (folder / "out").mkdir(parents=True, exist_ok=True)
    runtime = SimpleNamespace(threads=1, device="cpu", precision="fp32")
    states = Checkpoints(folder / "resume" / "key", {"code": "c"}, lambda _: None)
    return Run(
        "toy", "phantom", SimpleNamespace(runtime=runtime), {}, folder / "out", states, {}, folder, stop or Stop()
    )


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))


def make_losses(model, seen=None, fail_at=None, stop_at=None, stop=None):
    def losses(step, _ema):
        rows = step.rows("rows", 20, 6)
        if seen is not None:
            seen.append((step.index, rows.tolist(), step.u))
        step.cases = [f"case{row}" for row in rows]
        x = step.draws(6).normal("x", 3)
        loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        if step.index == stop_at:
            stop.number = 15
        return {"total": loss * float("nan") if step.index == fail_at else loss, "penalty": x.square().mean()}

    return losses


def result(folder, ema):
    return {k: v.clone() for k, v in ema.state_dict().items()}, (folder / "out" / "metrics.csv").read_bytes()


@pytest.mark.parametrize("at", [0, 4, 5, 7, 11])
def test_interrupted_run_equals_the_undisturbed_one(tmp_path, at):
    torch.set_num_threads(1)
    seen, seen_again = [], []
    model = make_model()
    whole, table = result(tmp_path / "a", train(model, make_losses(model, seen), SETTINGS, make_run(tmp_path / "a")))

    stop = Stop()
    model = make_model()
    with pytest.raises(StopRequested):
        train(
            model,
            make_losses(model, seen_again, stop_at=at, stop=stop),
            SETTINGS,
            make_run(tmp_path / "b", stop=stop),
        )
    torch.manual_seed(999)  # the resumed process has another history of the global generator
    model = make_model()
    again, table_again = result(
        tmp_path / "b", train(model, make_losses(model, seen_again), SETTINGS, make_run(tmp_path / "b"))
    )
    assert seen_again == seen
    assert table_again == table
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_metrics_hold_means_of_windows_and_no_times(tmp_path):
    model = make_model()
    train(model, make_losses(model), SETTINGS, make_run(tmp_path))
    rows = read_csv(tmp_path / "out" / "metrics.csv")
    assert list(rows[0]) == ["step", "lr", "total", "penalty"]
    assert [row["step"] for row in rows] == ["4", "8", "12"]


def test_what_is_observed_stands_on_rows_of_its_own(tmp_path):
    seen = []

    def observe(ema, done):
        seen.append(done)
        assert not ema.training
        return {"score": done / 2} if done in (3, 8) else {}

    model = make_model()
    train(model, make_losses(model), SETTINGS, make_run(tmp_path), observe=observe)
    rows = read_csv(tmp_path / "out" / "metrics.csv")
    assert seen == list(range(1, 13))
    assert list(rows[0]) == ["step", "lr", "total", "penalty", "score"]
    assert [(row["step"], row["score"]) for row in rows] == [("3", "1.5"), ("4", ""), ("8", "4.0"), ("12", "")]
    assert all(row["total"] for row in rows)


def test_nan_stops_at_once_and_names_the_cases(tmp_path):
    model = make_model()
    with pytest.raises(NumericsError, match=r"step 7; cases of the batch: case\d+"):
        train(model, make_losses(model, fail_at=7), SETTINGS, make_run(tmp_path))
    states = sorted((tmp_path / "resume" / "key").glob("step-*"))
    assert [p.name for p in states] == ["step-00000005"]
    assert json.loads((states[0] / "state.json").read_text())["step"] == 5
    assert not (tmp_path / "out" / "metrics.csv").exists()


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(tmp_path):
    model = make_model()
    losses = make_losses(model)

    def poisoned(step, ema):
        parts = losses(step, ema)
        if step.index == 11:  # the last step: nothing later would notice; 0 * inf in the backward pass alone
            x = model[0].weight.sum() * 0.0
            parts["total"] = parts["total"] + torch.sqrt(x)
        return parts

    with pytest.raises(NumericsError, match="gradient norm is not finite at step 11; cases of the batch: case"):
        train(model, poisoned, SETTINGS, make_run(tmp_path))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert not (tmp_path / "out" / "metrics.csv").exists()


def test_a_signal_after_the_last_step_still_stops(tmp_path):
    stop, model = Stop(), make_model()
    losses = make_losses(model)

    def late(step, ema):
        parts = losses(step, ema)
        if step.index == 11:
            parts["total"].register_hook(lambda gradient: setattr(stop, "number", 15))
        return parts

    with pytest.raises(StopRequested):
        train(model, late, SETTINGS, make_run(tmp_path, stop=stop))
    assert not (tmp_path / "out" / "metrics.csv").exists()


def test_ema_follows_its_formula_and_copies_buffers():
    model, ema = make_model(), make_model()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
        model[1].running_mean.fill_(7.0)
    old = [p.clone() for p in ema.parameters()]
    update_ema(ema, model, 0, 0.9)  # mu = (1 + 0) / (10 + 0) = 0.1
    for before, now, new in zip(old, ema.parameters(), model.parameters(), strict=True):
        assert torch.allclose(now, 0.1 * before + 0.9 * new)
    assert torch.equal(ema[1].running_mean, model[1].running_mean)
    before = [p.clone() for p in ema.parameters()]
    update_ema(ema, model, 10_000, 0.9)
    for b, now, new in zip(before, ema.parameters(), model.parameters(), strict=True):
        assert torch.allclose(now, 0.9 * b + 0.1 * new)


def test_learning_rates():
    settings = TrainSettings(total_steps=100, lr=1.0, seed=0, ema_decay=0, checkpoint_every=1, warmup=0.1)
    assert learning_rate(settings, 0.0) == pytest.approx(1 / 11)
    assert learning_rate(settings, 0.1) == pytest.approx(1.0)
    assert learning_rate(settings, 0.55) == pytest.approx(0.5)
    assert 0 < learning_rate(settings, 0.99) < 0.01
    poly = TrainSettings(total_steps=100, lr=1.0, seed=0, ema_decay=0, checkpoint_every=1, warmup=0.0, schedule="poly")
    assert learning_rate(poly, 0.5) == pytest.approx(0.5**0.9)


def test_a_batch_is_shared_by_processes_without_change():
    def step(rank, world):
        return Step(4, 0.5, 1, torch.device("cpu"), rank, world)

    whole = step(0, 1)
    parts = [step(0, 2), step(1, 2)]
    assert whole.rows("x", 50, 8).tolist() == [row for part in parts for row in part.rows("x", 50, 8).tolist()]
    assert torch.equal(whole.draws(8).normal("e", 2), torch.cat([part.draws(8).normal("e", 2) for part in parts]))
    with pytest.raises(ParamsError, match="multiple"):
        step(0, 3).rows("x", 50, 8)


def test_training_ends_at_total_steps_and_learns(tmp_path):
    torch.set_num_threads(1)
    model = nn.Linear(3, 1)
    count = []

    def losses(step, ema):
        count.append(step.index)
        assert not any(p.requires_grad for p in ema.parameters())
        x = step.draws(32).normal("x", 3)
        return {"total": ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()}

    settings = TrainSettings(total_steps=300, lr=5e-2, seed=0, ema_decay=0.9, checkpoint_every=1000)
    ema = train(model, losses, settings, make_run(tmp_path))
    assert count == list(range(300))
    assert torch.allclose(ema.weight, torch.ones(1, 3), atol=0.05)

"""Resume states: kept, passed over when damaged, left alone when foreign."""

import pytest
import torch

from pipelines.runtime.checkpoint import Checkpoints, fingerprint

ORIGIN = {"params": "p", "inputs": "i", "code": "c"}


@pytest.fixture
def said():
    return []


@pytest.fixture
def states(tmp_path, said):
    return Checkpoints(tmp_path / "stage" / fingerprint(ORIGIN), ORIGIN, said.append)


def tensor(value):
    return {"w": torch.full((3,), float(value))}


def test_newest_state_is_used_and_two_are_kept(states):
    assert states.load_latest() is None
    for step in (10, 20, 30):
        states.save(step, tensor(step), {"history": [step]})
    assert sorted(p.name for p in states.folder.glob("step-*")) == ["step-00000020", "step-00000030"]
    state = states.load_latest()
    assert state.step == 30
    assert state.record == {"history": [30]}
    assert torch.equal(state.tensors["w"], torch.full((3,), 30.0))
    states.drop()
    assert not states.folder.exists()


@pytest.mark.parametrize("damage", ["empty", "one byte", "half", "all but one", "flipped", "json"])
def test_damaged_state_falls_back_to_the_previous_one(states, said, damage):
    states.save(10, tensor(10), {})
    states.save(20, tensor(20), {})
    path = states.folder / "step-00000020" / "state.safetensors"
    data = path.read_bytes()
    cut = {"empty": 0, "one byte": 1, "half": len(data) // 2, "all but one": len(data) - 1}.get(damage)
    if damage == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "json":
        path.with_name("state.json").write_text("{")
    else:
        path.write_bytes(data[:cut])
    assert states.load_latest().step == 10
    assert any("warning" in line and "step-00000020" in line for line in said)


def test_without_a_valid_state_every_bad_file_is_named(states, said):
    for step in (10, 20):
        states.save(step, tensor(step), {})
        (states.folder / f"step-{step:08d}" / "state.safetensors").write_bytes(b"")
    assert states.load_latest() is None
    assert "step-00000010" in said[-1]
    assert "step-00000020" in said[-1]


def test_foreign_state_is_named_and_left_alone(states, said):
    foreign = {**ORIGIN, "code": "other"}
    other = Checkpoints(states.folder.with_name(fingerprint(foreign)), foreign, said.append)
    other.save(40, tensor(40), {})
    before = {p: p.read_bytes() for p in other.folder.rglob("*") if p.is_file()}
    assert states.load_latest() is None
    assert "code" in said[-1]
    assert "params" not in said[-1]
    states.save(1, tensor(1), {})
    states.drop()
    assert before == {p: p.read_bytes() for p in other.folder.rglob("*") if p.is_file()}


def test_half_written_state_is_cleaned(states):
    states.save(10, tensor(1), {})
    (states.folder / ".step-00000020.partial").mkdir()
    states.clean()
    assert [p.name for p in states.folder.iterdir() if "partial" in p.name] == []
    assert states.load_latest().step == 10


def test_other_ranks_write_nothing(tmp_path, said):
    other = Checkpoints(tmp_path / "x" / "y", ORIGIN, said.append, writer=False)
    other.save(10, tensor(1), {})
    assert not other.folder.exists()

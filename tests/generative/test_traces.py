"""Both training loops, step by step, against the committed curves."""

import pytest

from pipelines.runtime.artifacts import read_json
from tests.generative.traces import GOLDEN, STEPS, trace


def test_losses_of_the_first_twenty_steps_are_the_committed_ones() -> None:
    found, expected = trace(), read_json(GOLDEN)
    for name in ("autoencoder", "diffusion"):
        assert len(found[name]) == STEPS
        assert found[name] == pytest.approx(expected[name], rel=1e-3), (
            f"{name}: if the change is meant, run `python -m tests.generative.traces` and commit the file"
        )

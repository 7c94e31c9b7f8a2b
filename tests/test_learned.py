"""The demo learned something: numbers of its result, not shapes. Runs it where the cache does not hold it (minutes).

Regression evidence only: the demo's budgets, and the phantom's difficulty, were chosen by looking at phantom images of
the same val and test parts, so the margins here are no independent measurement.

Dice is judged on the test images of site A. A fifth of the phantom is site B, another scanner that nothing was trained
on: its score says how far a segmenter carries over to a strange machine, which the demo does not promise, and it would
drag the mean under a bound that is there to see whether anything was learned at all. It is printed beside.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from generative.autoencoder.model import load_autoencoder, reconstruct
from generative.quality import blur_of_equal_rate, gray_statistics, loss_ratio, mean_psnr
from pipelines import demo
from pipelines.datasets.case import load_prepared, rows_of_part
from pipelines.flows.dvc import environment
from pipelines.runtime.artifacts import load_array, read_csv, read_json
from tests.support.workspaces import DEFAULT_PARAMS, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's workspace, with the unet of params.yaml."""
    folder = tmp_path_factory.mktemp("learned") / "demo"
    made = subprocess.run(
        [sys.executable, "-m", "pipelines.demo", "--folder", str(folder)], cwd=ROOT, env=environment(), check=False
    )
    assert made.returncode == 0
    return folder


@pytest.fixture(scope="module")
def crossdiff(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with crossdiff; the generator's stages come from the cache."""
    tree = yaml.safe_load(DEFAULT_PARAMS.read_text(encoding="utf-8"))
    tree["segmenter"]["system"] = "crossdiff"
    other = tmp_path_factory.mktemp("learned") / "crossdiff"
    demo.make_workspace(ROOT, other, yaml.safe_dump(tree, sort_keys=False).encode(), ROOT / ".dvc" / "cache")
    targets = ["evaluate@supervised-0", "evaluate_synthetic@both-0"]
    done = subprocess.run(["dvc", "repro", *targets], cwd=other, env=environment(), check=False)
    assert done.returncode == 0
    return other


def part(folder: Path, name: str) -> np.ndarray:
    prepared = load_prepared(folder / "data/prepared")
    return np.asarray(prepared.images[rows_of_part(prepared, folder / "data/split", name)])


def test_autoencoder_beats_a_blur_of_equal_rate_on_held_out_images(folder):
    vae = load_autoencoder(folder / "models/autoencoder")
    held_out = part(folder, "val")
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    numbers = vae.config.latent_channels * (held_out.shape[-1] // factor) ** 2
    ours = mean_psnr(held_out, reconstruct(vae, held_out))
    blur = mean_psnr(held_out, blur_of_equal_rate(held_out, numbers))
    print(f"PSNR {ours:.2f} dB, blur of equal rate {blur:.2f} dB")
    assert ours > blur


def test_diffusion_loss_falls_below_seven_tenths_of_its_start(folder):
    ratio = loss_ratio([float(row["total"]) for row in read_csv(folder / "models/diffusion/metrics.csv")])
    print(f"loss ratio {ratio:.3f}")
    assert ratio < 0.7


def test_samples_are_as_bright_and_as_contrasted_as_real_ones(folder):
    mean, deviation = gray_statistics(part(folder, "train"))
    sampled_mean, sampled_deviation = gray_statistics(load_array(folder / "data/synthetic/images.npy"))
    print(f"mean {sampled_mean:.1f} against {mean:.1f}, deviation {sampled_deviation:.1f} against {deviation:.1f}")
    assert sampled_mean == pytest.approx(mean, rel=0.15)
    assert sampled_deviation == pytest.approx(deviation, rel=0.25)


def dice(folder: Path, arm: str) -> float:
    """Mean Dice of the test images of site A."""
    found = read_json(folder / "results" / f"{arm}-0" / "metrics.json")
    scores = {
        site: float(numbers["modes"][found["primary"]]["lesion"]["lesion"]["dice"]["mean"])
        for site, numbers in found["sites"].items()
    }
    print(f"{arm}: {found['primary']} Dice {', '.join(f'site {site} {scores[site]:.3f}' for site in sorted(scores))}")
    return scores["A"]


@pytest.mark.parametrize("arm", ["supervised", "both"])
def test_unet_finds_lesions(folder, arm):
    assert dice(folder, arm) >= 0.5


@pytest.mark.parametrize("arm", ["supervised", "both"])
def test_crossdiff_finds_lesions(crossdiff, arm):
    assert dice(crossdiff, arm) >= 0.5


def test_demo_says_how_long_each_stage_took_and_stays_within_its_budget(folder):
    ran = demo.durations(folder)
    if not ran:
        pytest.skip("every stage came from the cache: no seconds to look at")
    print(json.dumps(dict(ran)))
    assert sum(seconds for _, seconds in ran) < 600

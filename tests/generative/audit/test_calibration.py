"""Thresholds come from pairs of different patients alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generative.audit.calibration import calibrate, decide_samples, measure_excess
from generative.audit.features import METRICS, Views, view
from generative.autoencoder.model import load_autoencoder
from pipelines.params.audit import AuditParams
from tests.support.generator import speckle

PARAMS = AuditParams(
    seed=0, quantile=0.95, ratio=1 / 3, hard_ncc=0.95, max_excess=0.01, max_width=0.02, bootstrap=200, kid_draws=2
)


def cut(views: Views, rows: slice) -> Views:
    return Views(views.images[rows], views.features[rows], views.latents[rows], views.latents_mirrored[rows])


@pytest.fixture(scope="module")
def views(shared_audit_root: Path) -> Views:
    """20 train images, 4 val images, 8 fresh ones."""
    vae = load_autoencoder(shared_audit_root / "models" / "autoencoder")
    return view(np.concatenate([speckle(24, 32), speckle(8, 32, seed=3)]), vae)


def test_twins_of_one_patient_do_not_raise_the_threshold(views: Views) -> None:
    train, groups = cut(views, slice(0, 20)), np.array([f"g{k}" for k in range(20)])
    real = cut(views, slice(0, 24))
    all_groups = np.concatenate([groups, [f"v{k}" for k in range(4)]])
    plain = calibrate(real, train, all_groups, groups, PARAMS)
    twins = Views(
        *(np.concatenate([a, a[:10]]) for a in (train.images, train.features, train.latents, train.latents_mirrored))
    )
    twin_groups = np.concatenate([groups, groups[:10]])
    both = calibrate(twins, twins, twin_groups, twin_groups, PARAMS)
    blind = calibrate(twins, twins, np.arange(30).astype(str), np.arange(30).astype(str), PARAMS)
    for name in METRICS:
        assert both.detector.tau[name] < 0.999
        assert blind.detector.tau[name] > 0.999  # what would happen without groups
    assert plain.flagged.shape == (24,)
    assert not plain.flagged.any()
    assert not both.flagged.any()


def test_copies_are_flagged_and_fresh_images_are_not(views: Views) -> None:
    train, groups = cut(views, slice(0, 20)), np.array([f"g{k}" for k in range(20)])
    found = calibrate(train, train, groups, groups, PARAMS)
    samples = Views(
        *(
            np.concatenate([getattr(views, name)[24:], getattr(views, name)[[3, 11]]])
            for name in ("images", "features", "latents", "latents_mirrored")
        )
    )
    decision = decide_samples(samples, train, found.detector, PARAMS)
    assert decision.flagged.tolist() == [False] * 8 + [True] * 2
    assert decision.row[8:].tolist() == [3, 11]
    assert decision.metric[8:].tolist() == ["hard", "hard"]
    excess = measure_excess(decision, found.reference, groups, PARAMS, "test")
    assert set(excess) == set(METRICS)
    assert all(found.low <= found.value <= found.high for found in excess.values())
    assert measure_excess(replace(decision, flagged=np.ones(10, bool)), found.reference, groups, PARAMS, "test") == {}

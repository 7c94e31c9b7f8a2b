"""What the audit publishes: decisions.csv, kept.csv, metrics.json, pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from generative.audit.features import METRICS, hard_pairs
from generative.audit.fidelity import Fidelity, goal
from generative.audit.memorization import Decision, Detector, binomial_upper
from generative.audit.pictures import most_suspect, triptych
from generative.audit.verdict import Evidence, Planted, Verdict
from pipelines.runtime.artifacts import load_array, read_csv, write_csv, write_png
from pipelines.runtime.weights import LITE0_SHA256

PICTURES = 12


def write_decisions(
    out: Path, samples: list[dict[str, str]], decision: Decision, detector: Detector, cases: Sequence[str]
) -> None:
    """decisions.csv: each sample with the metric that decided, its value and its nearest train case; kept.csv."""
    rows = []
    for index, sample in enumerate(samples):
        metric = str(decision.metric[index])
        basis = "pixels" if metric == "hard" else metric
        row: dict[str, Any] = {
            "sample": sample["sample"],
            "row": sample["row"],
            "flagged": bool(decision.flagged[index]),
            "metric": metric,
            "value": float(decision.nearest[basis].similarity[index]),
            "threshold": detector.tau[basis],
            "ratio": float(decision.ratio[basis][index]),
            "nearest": cases[decision.row[index]],
        }
        for name in METRICS:
            row[name] = float(decision.nearest[name].similarity[index])
            row[f"{name}_ratio"] = float(decision.ratio[name][index])
            row[f"{name}_nearest"] = cases[decision.nearest[name].row[index]]
        rows.append(row)
    write_csv(out / "decisions.csv", rows, list(rows[0]))
    kept = [{"sample": row["sample"], "row": row["row"]} for row in rows if not row["flagged"]]
    write_csv(out / "kept.csv", kept, ["sample", "row"])


def recheck(kept_file: Path, synthetic: Path, train: np.ndarray, hard_ncc: float) -> list[str]:
    """Samples of the written kept list whose files are hard copies of a train image: must be none."""
    kept = read_csv(kept_file)
    if not kept:
        return []
    images = np.asarray(load_array(synthetic / "images.npy")[[int(row["row"]) for row in kept]])
    return sorted({kept[index]["sample"] for index, _ in hard_pairs(images, train, hard_ncc)})


def metrics(
    evidence: Evidence,
    fidelity: Fidelity,
    manifold: Mapping[str, float | None],
    detector: Detector,
    verdict: Verdict,
) -> dict[str, Any]:
    """All numbers of the audit. `detector` is what `evaluate` applies, frozen, to samples and test images."""
    return {
        "verdict": verdict.verdict,
        **asdict(fidelity),
        **manifold,
        "fidelity_goal": goal(fidelity),
        "samples": evidence.total,
        "flagged": evidence.dropped,
        "kept": evidence.total - evidence.dropped,
        "hard_kept": len(evidence.hard_kept),
        "excess": {name: asdict(found) for name, found in evidence.excess.items()},
        "excess_smooth": {name: asdict(found) for name, found in evidence.excess_smooth.items()},
        "false_alarms": {
            "found": evidence.false_alarms,
            "count": evidence.negatives,
            "upper": binomial_upper(evidence.false_alarms, evidence.negatives),
        },
        "planted": {name: _recall(planted) for name, planted in evidence.planted.items()},
        "detector": {
            "tau": dict(detector.tau),
            "ratio": detector.ratio,
            "extractor": "tf_efficientnet_lite0",
            "extractor_sha256": LITE0_SHA256,
        },
    }


def _recall(planted: Planted) -> dict[str, float]:
    return {**asdict(planted), "recall": planted.found / planted.count}


def finite(value: Any) -> Any:
    """The same value with NaN and infinities as None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_pictures(
    out: Path,
    samples: list[dict[str, str]],
    pixels: np.ndarray,
    decision: Decision,
    detector: Detector,
    train: np.ndarray,
    cases: Sequence[str],
) -> None:
    """pictures/NN.png: sample, nearest train image, difference; pictures.csv says which."""
    (out / "pictures").mkdir()
    margin = np.max([found.similarity - detector.tau[name] for name, found in decision.nearest.items()], axis=0)
    rows = []
    for rank, index in enumerate(most_suspect(decision.flagged, margin, PICTURES)):
        nearest = int(decision.row[index])
        write_png(out / "pictures" / f"{rank:02d}.png", triptych(pixels[index], train[nearest]))
        rows.append(
            {
                "picture": f"pictures/{rank:02d}.png",
                "sample": samples[index]["sample"],
                "nearest": cases[nearest],
                "flagged": bool(decision.flagged[index]),
                "metric": str(decision.metric[index]),
            }
        )
    write_csv(out / "pictures.csv", rows, ["picture", "sample", "nearest", "flagged", "metric"])

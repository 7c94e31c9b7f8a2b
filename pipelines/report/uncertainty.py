"""The page's table on uncertainty: does it lie where masks are wrong, and whom does it refer to a reader?

`evaluate` counts, per seed; here seeds are averaged. Results of before it counted have no line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.report.gather import Cell, Gathered


def section(found: Gathered) -> dict[str, Any]:
    """shares: of the images that are referred; lines: one per arm, mode and foreground class; agreement: one sentence
    per arm whose samples differ by their seed.
    """
    lines, sentences = [], []
    for arm in found.selection.arms:
        cells = [cell for seed in found.selection.seeds if (cell := found.cells[arm, seed])]
        for mode, foreground in dict.fromkeys((row["mode"], row["foreground"]) for cell in cells for row in cell.rows):
            blocks = [block for cell in cells if (block := block_of(cell, mode, foreground))]
            if blocks:
                lines.append({"arm": arm, "mode": mode, "foreground": foreground, **averaged(blocks)})
        sentences += agreement(arm, cells)
    shares = [line["share"] for line in lines[0]["table"]] if lines else []
    return {"shares": shares, "lines": lines, "agreement": sentences}


def block_of(cell: Cell, mode: str, foreground: str) -> dict[str, Any]:
    """The numbers of one mode and class; {} where there are none, or no image with a lesion."""
    block = cell.metrics.get("modes", {}).get(mode, {}).get(foreground, {}).get("uncertainty", {})
    return block if block.get("referral", {}).get("table") else {}


def averaged(blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds. of_oracle: area gained over area that an oracle gains, None where that is nothing."""
    referrals = [block["referral"] for block in blocks]
    area, limit = (float(np.mean([each[key] for each in referrals])) for key in ("area", "oracle_area"))
    tables = zip(*(each["table"] for each in referrals), strict=True)
    keys = ("share", "uncertainty", "random", "oracle")
    return {
        "auroc": mean_of([block["pooled"]["error_auroc"] for block in blocks]),
        "auroc_box": mean_of([block["pooled"]["error_auroc_box"] for block in blocks]),
        "images": referrals[0]["images"],
        "table": [{key: float(np.mean([row[key] for row in rows])) for key in keys} for rows in tables],
        "of_oracle": area / limit if limit > 1e-9 else None,
    }


def mean_of(values: Sequence[float | None]) -> float | None:
    """Of those that exist."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def agreement(arm: str, cells: Sequence[Cell]) -> list[str]:
    """What more samples per image would change; [] where none are drawn."""
    known = [cell.metrics["seed_agreement"] for cell in cells if "seed_agreement" in cell.metrics]
    if not known:
        return []
    share, most = float(np.mean([each["of_entropy"] for each in known])), max(each["max"] for each in known)
    conclusion = (
        "effectively deterministic: more samples would change nothing"
        if all(each["deterministic"] for each in known)
        else "the samples differ, and their mean is what is scored"
    )
    return [
        f"{arm}: disagreement between the {known[0]['seeds']} samples of an image makes up {share:.2%} of the entropy "
        f"(at most {most:.3f} in any pixel); {conclusion}."
    ]

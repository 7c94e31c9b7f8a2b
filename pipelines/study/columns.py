"""The columns of a study's tables and their titles."""

from __future__ import annotations

from collections.abc import Sequence

FIXED = ("mode", "foreground", "state", "seeds", "asked", "leaked", "lesion_free", "false_lesion")
SPENT = ("wall_minutes", "cpu_minutes", "unmeasured", "device")
REACHED = ("wall_minutes", "cpu_minutes", "cells", "of", "unmeasured")  # until the Dice of `reach`
SCORE = ("mean", "sd", "low", "high", "images", "groups")
GAIN = ("mean", "low", "high", "images", "groups", "seeds")
TESTED = ("p", "p_holm")  # of the first metric alone
HEADS = ("mode", "class", "seeds", "images", "groups", "leaked", "lesion-free", "false lesion")  # of table.md
TITLES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95, px", "assd": "ASSD, px", "ece": "ECE", "brier": "Brier"}
TITLES |= {"ece_box": "ECE, box", "brier_box": "Brier, box", "hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm"}
TITLES |= {"error_auroc": "AUROC of errors", "error_auroc_box": "AUROC of errors, box"}


def flat_columns(metrics: Sequence[str]) -> list[str]:
    """All of table.csv but the axes: counts and time, then each metric, then its gain."""
    columns = [*FIXED, *SPENT, *(f"reached_{part}" for part in REACHED)]
    columns += [f"{metric}_{part}" for metric in metrics for part in SCORE]
    for metric in metrics:
        columns += [f"gain_{metric}_{part}" for part in (*GAIN, *TESTED * (metric == metrics[0]))]
    return [*columns, "gain_missing"]


def title(metric: str) -> str:
    """The head of a metric's column."""
    native = metric.endswith("_native")
    return TITLES.get(metric.removesuffix("_native"), metric) + (", native" if native else "")

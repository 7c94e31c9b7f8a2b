"""From what was gathered to one page, a flat table of numbers and the learning curves. Pure: bytes in, bytes out."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report import audited, data, figures, uncertainty
from pipelines.report.audited import KIDS, fidelity, flat, short
from pipelines.report.gather import Cell, Gathered
from pipelines.report.origin import fill
from pipelines.report.table import CONTROL, ArmRow

DATA_BLOCKS = ("datasets.{dataset}", "prepare", "scales.{scale}.prepare", "split")
COLORS = {"hit": "#2dd4bf", "false": "#fb923c", "missed": "#d946ef"}  # of the overlays that `evaluate` draws


def page(found: Gathered, rows: list[ArmRow], partial: bool) -> str:
    """The HTML page. Everything that came from a file is escaped; the charts alone are markup of our own."""
    phantom = bool(found.dataset["phantom"])
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": lambda value, digits: f"{value:.{digits}f}",
        "signed": lambda value: f"{value:+.3f}",
        "percent": lambda value: f"{value:.1%}",
        "whole_percent": lambda value: f"{value:.0%}",
        "signed_percent": lambda value: f"{value:+.1%}",
    }
    mark, kind = (" (phantom)", "phantom") if phantom else ("", "real")
    main = [row for row in rows if row.mode != "direct" or not _has_other_mode(rows, row.arm)]
    millimeters = any(row.means.get("hd95_mm") is not None for row in rows)
    lesion_free = any(row.lesion_free for row in rows)
    context = {
        "title": title(found),
        "phantom": phantom,
        "mark": mark,
        "kind": kind,
        "partial": partial,
        "seeds_many": len(found.selection.seeds) > 1,
        "selection": found.selection,
        "system": found.selection.blocks["segmenter.system"],
        "dataset": found.dataset,
        "audit": found.audit,
        "verdict": audited.verdict(found),
        "notices": found.notices,
        "tiles": tiles(found, main),
        "settings": settings(found),
        "blocks": blocks(found),
        "counts": found.counts,
        "rows": rows,
        "foregrounds": list(dict.fromkeys(row.foreground for row in rows if row.foreground)) or [""],
        "arm_colors": figures.ARM_COLORS,
        "millimeters": millimeters,
        "lesion_free": lesion_free,
        "columns": 12 + lesion_free,
        "unit_note": "pixels of the working size; mm at native size" if millimeters else "pixels of the working size",
        "arms_note": arms_note(rows),
        "score_chart": score_chart(main, mark),
        "synthetic": None if found.synthetic is None else sheet(found.synthetic),
        "training": sheet(found.training),
        "fidelity": fidelity(found),
        "excess": audited.excess(found),
        "audit_numbers": flat(found.audit.metrics) if found.audit else [],
        "pictures": audited.pictures(found, kind),
        "planted": audited.planted(found),
        "charts": charts(found, mark),
        "colors": COLORS,
        "cells": [overlays_of(cell) for cell in first_cells(found)],
        "data": data.section(found, main),
        "uncertainty": uncertainty.section(found),
        "simulated": simulated(found),
        "sharing": sharing(simulated(found)),
        "provenance": [*found.manifests.items(), *sorted(found.versions.items())],
    }
    return environment.get_template("page.html").render(context)


def title(found: Gathered) -> str:
    """Of the page; a phantom says so."""
    name = found.dataset["name"]
    if not found.dataset["phantom"]:
        return f"SonoSynth on {name}"
    if name != "phantom":
        return f"SonoSynth on {name} (phantom)"
    return "SonoSynth on phantom images" + " (no patients)" * simulated(found)


def simulated(found: Gathered) -> bool:
    """Whether nothing of this run derives from a patient: neither the dataset nor a further set that joined."""
    sources = found.pool["sources"] if found.pool else []
    return bool(found.dataset["phantom"]) and all(source["phantom"] for source in sources)


def tiles(found: Gathered, rows: list[ArmRow]) -> list[dict[str, str]]:
    """The few numbers of the first screen."""
    shown = []
    for row in rows:
        value = f"{row.dice.mean:.3f}" if row.dice else "not run"
        note = f"{row.dice.low:.3f} to {row.dice.high:.3f}, {row.images - row.vanished} images" if row.dice else ""
        if row.leaked:
            clean = f"{row.clean.mean:.3f} without them" if row.clean else "no other"
            note += f", {row.leaked} of them known to train or val: {clean}"
        shown.append({"label": " ".join(filter(None, ("Dice", row.arm))), "value": value, "note": note})
    if found.audit:
        share = f"of {found.audit.samples} samples"
        shown.append({"label": "kept by the audit", "value": str(found.audit.kept), "note": share})
        numbers = dict(fidelity(found))
        if (own := numbers.get(KIDS["kid"])) is not None:
            floor, real = (numbers.get(KIDS[key]) for key in ("kid_floor", "kid_real"))
            note = "; ".join(f"{n} {v:.4f}" for n, v in (("floor", floor), ("reference", real)) if v is not None)
            shown.append({"label": "KID of the samples", "value": f"{own:.4f}", "note": note})
    return shown


def settings(found: Gathered) -> list[tuple[str, str]]:
    """Label and value of what was run."""
    selection = found.selection
    return [
        ("dataset", selection.dataset),
        ("scale", selection.scale),
        ("segmenter", str(selection.blocks["segmenter.system"])),
        ("arms", ", ".join(selection.arms) or "none"),
        ("seeds", ", ".join(map(str, selection.seeds))),
        ("label fraction", f"{selection.label_fraction:g} of the training images"),
        ("image size", f"{found.training.shape[2]} x {found.training.shape[1]} pixels"),
    ]


def blocks(found: Gathered) -> list[tuple[str, str]]:
    """The parameter blocks that models and scores depend on, as text; the data are described by what they became."""
    selection = found.selection
    return [
        (fill(key, selection), ", ".join(f"{name} {short(item)}" for name, item in value.items()))
        for key, value in sorted(selection.blocks.items())
        if isinstance(value, dict) and key not in DATA_BLOCKS
    ]


def arms_note(rows: list[ArmRow]) -> str:
    """What stands behind the table in one sentence."""
    ran = [row for row in rows if row.seeds]
    if not ran:
        return "No arm of params was run."
    text = f"{ran[0].images} test images with a lesion in {ran[0].groups} groups"
    if ran[0].lesion_free:
        text += f", and {ran[0].lesion_free} without one, counted for false positives alone"
    if any(row.vanished for row in ran):
        text += (
            ". Lesions that vanish at the working size have no score there; the scores at native size and the missed "
            "ones count them"
        )
    if max(len(row.seeds) for row in ran) == 1:
        text += (
            ". One seed: the spread between trainings is not in these intervals, so a difference of a point is noise"
        )
    return text + "."


def score_chart(rows: list[ArmRow], mark: str) -> Markup | None:
    """Dots and intervals of the arms that ran; the first foreground class."""
    scores: dict[str, tuple[tuple[float, ...], float, float, float]] = {}
    for row in rows:
        if row.dice:
            scores.setdefault(row.arm, (row.per_image, row.dice.mean, row.dice.low, row.dice.high))
    return Markup(figures.score_chart(scores, f"Dice by arm{mark}")) if scores else None


def sheet(images: np.ndarray) -> dict[str, Any]:
    """A grid of images as a data URI with its size."""
    pixels = figures.grid(images, columns=6)
    return {"uri": figures.data_uri(figures.png(pixels)), "width": pixels.shape[1], "height": pixels.shape[0]}


def charts(found: Gathered, mark: str) -> list[dict[str, Any]]:
    """Autoencoder, diffusion model, and all segmenters in one."""
    segmenters = {f"{arm}-{seed}": found.curves.get(f"{arm}-{seed}", []) for arm, seed in found.cells}
    wanted = [
        ("Autoencoder", {"autoencoder": found.curves.get("autoencoder", [])}),
        ("Diffusion model", {"diffusion": found.curves.get("diffusion", [])}),
        ("Segmenters", segmenters),
    ]
    shown = []
    for title, curves in wanted:
        drawn = {name: curve for name, curve in curves.items() if curve}
        if drawn:
            svg = Markup(figures.curve_chart(drawn, f"{title}{mark}"))
            shown.append({"svg": svg, "caption": f"{title}: total loss by step; faint each step, bold a running mean"})
    return shown


def first_cells(found: Gathered) -> list[Cell]:
    """The first seed that ran of each arm: the overlays of all would make a page of many megabytes."""
    first: dict[str, Cell] = {}
    for cell in found.cells.values():
        if cell:
            first.setdefault(cell.arm, cell)
    return list(first.values())


def overlays_of(cell: Cell) -> dict[str, Any]:
    """The overlays of one cell by kind."""
    kinds = [
        (
            kind,
            [{"case": o.case, "dice": o.dice, "uri": figures.data_uri(o.png)} for o in overlays],
        )
        for kind, overlays in groupby(cell.overlays, key=lambda overlay: overlay.kind)
    ]
    return {"arm": cell.arm, "seed": cell.seed, "kinds": kinds}


def sharing(simulated: bool) -> list[str]:
    """What the model card says on sharing. simulated: nothing derives from a patient."""
    if simulated:
        return [
            "The phantom is a simulation: no image, weight or sample of this run derives from a patient, and all of it "
            "may be shared. Keep the word phantom with every file and number."
        ]
    return [
        "The synthetic images and all weights of this run derive from images of patients. What the terms of a dataset, "
        "and of each further set, forbid for its images holds for them until its owner says otherwise.",
        "The audit looks for copies; it does not make the images anonymous. Share them, or the weights, only where you "
        "might share the training images, and send this page along.",
        "Outputs that derive from images are marked so that `dvc push` leaves them out.",
    ]


def _has_other_mode(rows: list[ArmRow], arm: str) -> bool:
    return any(row.arm == arm and row.mode not in ("", "direct") for row in rows)


def numbers(found: Gathered, rows: list[ArmRow]) -> dict[str, Any]:
    """report/metrics.json: what `dvc metrics show` prints. Cells that were not run say so."""
    table: dict[str, Any] = {
        "dataset": found.selection.dataset,
        "phantom": bool(found.dataset["phantom"]),
        "protocol": found.leakage["protocol"],
        "leaked": found.leakage["test"]["leaked_images"],
        "verdict": found.audit.verdict["verdict"] if found.audit else "not run",
    }
    if found.audit:
        table["audit"] = {"samples": found.audit.samples, "kept": found.audit.kept}
        by_label = dict(fidelity(found))
        table["audit"] |= {key: by_label[label] for key, label in KIDS.items() if by_label.get(label) is not None}
    single = len({row.foreground for row in rows if row.foreground}) <= 1
    for row in rows:
        name = row.arm if row.mode != "direct" or not _has_other_mode(rows, row.arm) else f"{row.arm}_direct"
        name = name if single else f"{name}_{row.foreground}"
        if not row.dice:
            table[name] = "not run" if not row.seeds else "all lesions vanish" if row.vanished else "no lesion"
            continue
        entry: dict[str, Any] = {
            "dice": row.dice.mean,
            "dice_low": row.dice.low,
            "dice_high": row.dice.high,
            "missed": row.missed,
            "images": row.images,
            "groups": row.groups,
            "seeds": len(row.seeds),
        }
        entry |= {key: value for key, value in row.means.items() if key != "dice" and value is not None}
        if row.false_positive is not None:
            entry["false_positive"] = row.false_positive
        if row.vanished:
            entry["vanished"] = row.vanished
        if row.leaked:
            entry |= {"leaked": row.leaked}
        if row.clean:
            entry |= {"dice_clean": row.clean.mean, "clean_low": row.clean.low, "clean_high": row.clean.high}
        if row.sites:
            entry["sites"] = {
                score.site or "unnamed": {"dice": score.dice.mean, "images": score.images}
                for score in row.sites
                if score.dice
            }
        if row.gain:
            entry |= {f"gain_over_{CONTROL}": row.gain.mean, "gain_low": row.gain.low, "gain_high": row.gain.high}
        table[name] = entry
    return table


def curve_tables(found: Gathered) -> dict[str, list[dict[str, Any]]]:
    """report/curves: by series (a file name: `diffusion`, `<arm>-<seed>`) rows of step, value; evenly thinned."""
    return {
        name: [
            {"step": curve[place][0], "value": curve[place][1]}
            for place in figures.evenly(len(curve), figures.MOST_POINTS)
        ]
        for name, curve in found.curves.items()
    }

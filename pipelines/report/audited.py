"""What data/audit says, in the words and tables of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.report import figures
from pipelines.report.gather import Gathered, Picture

MEANING = {
    "pass": "No excess of near copies was found, and the detector is proven on this data.",
    "inconclusive": "No excess of near copies is shown, but this data cannot decide. The kept images are used, with "
    "this warning.",
    "fail": "The kept images hold copies, or more near neighbors of training images than chance allows. Arms with "
    "synthetic images are refused.",
    "not run": "There is no audit of this setting yet.",
}
KIDS = {
    "kid": "synthetic images",
    "kid_floor": "reconstructions of the held-out images: the floor",
    "kid_real": "training images: the reference",
}


def verdict(found: Gathered) -> dict[str, Any]:
    """The word, what it means, and its reasons and warnings."""
    if not found.audit:
        return {"word": "not run", "meaning": MEANING["not run"], "reasons": [], "warnings": []}
    published = found.audit.verdict
    return {
        "word": published["verdict"],
        "meaning": MEANING[published["verdict"]],
        "reasons": published["reasons"],
        "warnings": published["warnings"],
    }


def fidelity(found: Gathered) -> list[tuple[str, float | None]]:
    """KID of samples, of reconstructions (floor) and of training images (reference), where the audit has them."""
    if not found.audit:
        return []
    return [(label, found.audit.metrics[key]) for key, label in KIDS.items() if key in found.audit.metrics]


def excess(found: Gathered) -> list[dict[str, Any]]:
    """Excess and bounds per metric, where the audit has them."""
    table = found.audit.metrics.get("excess", {}) if found.audit else {}
    return [
        {"metric": metric, **{key: numbers[key] for key in ("value", "low", "high")}}
        for metric, numbers in sorted(table.items())
        if all(numbers.get(key) is not None for key in ("value", "low", "high"))
    ]


def flat_items(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Nested tables as dotted keys."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from flat_items(value[key], f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def flat(value: Any) -> list[tuple[str, str]]:
    """Dotted keys and values as text, for a table of everything."""
    return [(key, "none" if item is None else short(item)) for key, item in flat_items(value)]


def short(value: Any) -> str:
    """A number without needless digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def planted(found: Gathered) -> list[dict[str, Any]]:
    """Planted copies that the detector found, per transform."""
    metrics = found.audit.metrics if found.audit else {}
    return [
        {"name": name.replace("_", " "), **{key: row[key] for key in ("found", "count", "required")}}
        for name, row in sorted(metrics.get("planted", {}).items())
    ]


def pictures(found: Gathered, kind: str) -> list[dict[str, Any]]:
    """Each published picture as a data URI with its caption."""
    return [_picture(picture, kind) for picture in found.audit.pictures] if found.audit else []


def _picture(picture: Picture, kind: str) -> dict[str, Any]:
    width = int.from_bytes(picture.png[16:20], "big")  # of the PNG header
    state = f"flagged by {picture.metric}" if picture.flagged else "kept"
    caption = f"{picture.sample} ({state}), nearest {kind} training image {picture.nearest}, difference"
    return {"caption": caption, "uri": figures.data_uri(picture.png), "width": max(width, 320)}

"""From a dataset's cases to the files of data/prepared: every fault named first, nothing left while an error stands.

Serves the stage `prepare` and, without masks, a stage that reads further datasets for their images alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Dataset, Finding
from pipelines.datasets.checks import check_counts, check_names, check_reduced
from pipelines.datasets.collect import Row, Settings, collect
from pipelines.datasets.conflicts import check_pairs, flag_pairs
from pipelines.datasets.descriptors import SIDE, perceptual_hashes
from pipelines.datasets.duplicates import PAIR_COLUMNS, Descriptors, Pair, Rule, pair_row, phash_hex, search
from pipelines.datasets.images import box_of
from pipelines.datasets.integrity import CHECKS, as_report, counted, quantiles, table
from pipelines.datasets.labels import RULES
from pipelines.runtime.artifacts import load_array, write_csv, write_json
from pipelines.runtime.errors import DataError

COLUMNS = (
    *("case", "class", "identity", "official_part", "site", "flags", "width", "height", "spacing_x", "spacing_y"),
    *("area", "inner_top", "inner_left", "inner_height", "inner_width", "phash", "sha256_pixels", "sha256_file"),
)
THUMBNAILS = f"{SIDE} x {SIDE} of the native image, box filter"
NOT_SAID = ("cases", "findings", "expected", "reduced_below")  # of a Dataset: not for dataset.json


@dataclass(frozen=True)
class Outcome:
    """images: number of rows written; excluded: names of the cases left out; pairs: number of duplicate pairs."""

    images: int
    excluded: tuple[str, ...]
    pairs: int


def prepare_dataset(
    dataset: Dataset,
    out: Path,
    *,
    size: int,
    resize: str,
    policy: Mapping[str, str],
    rule: Rule,
    roots: Sequence[Path],
    faults: Path,
    log: Callable[[str], None],
    progress: Callable[[int], None],
    masks: bool = True,
) -> Outcome:
    """Write images.npy, thumbnails.npy, cases.csv, integrity.json, dataset.json into the folder `out`.

    With masks also labels.npy, native_labels.npz and duplicates.csv; masks=False leaves masks, all that is wrong with
    them, and the search for duplicates out. policy: of `integrity.policy_of`. roots: folders below which the files of
    the cases lie; no other is opened. progress: called with the number of cases done, at last len(dataset.cases).
    faults: a file outside `out` that keeps the whole report when an error stands; removed when none does.

    DataError: an error stands, or no case is left. It holds the table of all findings, and `out` is then to be dropped.
    """
    real = tuple(root.resolve() for root in roots)
    settings = Settings(size, resize, len(dataset.foreground), masks, tuple(roots), real, policy)
    earlier = [item for item in dataset.findings if masks or not CHECKS[item.check].mask]
    earlier += [*check_counts(dataset), *check_names(dataset.cases)]
    collected = collect(dataset, earlier, out, settings, progress)
    rows = list(collected.rows)
    findings = [*earlier, *collected.findings]
    reduced = check_reduced(dataset, max((max(row.height, row.width) for row in rows), default=0))
    if reduced:
        findings += reduced
        rows = [replace(row, case=replace(row.case, flags=(*row.case.flags, "reduced_copy"))) for row in rows]
    pairs: list[Pair] = []
    if masks:
        log(f"looking for duplicates among {len(rows)} images")
        thumbnails = load_array(out / "thumbnails.npy")
        found = search(Descriptors(tuple(row.pixels for row in rows), thumbnails), rule)
        pairs = found.pairs
        if found.passed_over:
            log(f"{found.passed_over} comparisons left out within large clusters: they could change no group")
        findings += check_pairs(rows, pairs)
        rows = flag_pairs(rows, pairs)
    facts = facts_of(rows)
    if facts["mask_rules"]:
        log(f"lossy masks of {dataset.name}: foreground by rule, {said_rules(facts['mask_rules'])}")
    report = as_report(dataset.name, findings, policy, collected.excluded, facts)
    stop_on_faults(dataset, findings, policy, report, faults, rows=len(rows))
    if findings:
        log(f"integrity check of {dataset.name}\n{table(findings, policy)}")
    write_rows(out, dataset, rows, resize, size)
    if masks:
        names = [row.case.case for row in rows]
        write_csv(out / "duplicates.csv", [pair_row(pair, names) for pair in pairs], PAIR_COLUMNS)
    write_json(out / "integrity.json", report)
    return Outcome(len(rows), collected.excluded, len(pairs))


def stop_on_faults(
    dataset: Dataset,
    findings: Sequence[Finding],
    policy: Mapping[str, str],
    report: Mapping[str, Any],
    faults: Path,
    *,
    rows: int,
) -> None:
    """DataError with the table of all findings when an error stands or no row is left; the report then goes to a file
    that outlives the run, else an older one is removed.
    """
    errors = counted(findings, policy)["error"]
    if rows and not errors:
        faults.unlink(missing_ok=True)
        return
    faults.parent.mkdir(parents=True, exist_ok=True)
    write_json(faults, report)
    text = f"{errors} error{'s' * (errors > 1)}" if errors else "no case is left"
    raise DataError(
        f"integrity check of {dataset.name}: {text}; nothing was published. Mend what the table names, or set "
        f"prepare.policy; the whole table is in {faults.parent.name}/{faults.name}\n{table(findings, policy)}"
    )


def write_rows(out: Path, dataset: Dataset, rows: Sequence[Row], resize: str, size: int) -> None:
    """cases.csv and dataset.json."""
    hashes = perceptual_hashes(load_array(out / "thumbnails.npy"))
    lines = (as_line(row, phash_hex(int(value)), resize, size) for row, value in zip(rows, hashes, strict=True))
    write_csv(out / "cases.csv", lines, COLUMNS)
    said = {item.name: getattr(dataset, item.name) for item in fields(dataset) if item.name not in NOT_SAID}
    write_json(out / "dataset.json", said | {"resize": resize, "thumbnails": THUMBNAILS})


def as_line(row: Row, phash: str, resize: str, size: int) -> dict[str, Any]:
    """A row of cases.csv. Spacing is in mm per native pixel; at working size it is that times width / inner_width
    across and height / inner_height down.
    """
    case, box = row.case, box_of(row.height, row.width, size, resize)
    return {
        "case": case.case,
        "class": case.class_name,
        "identity": case.identity,
        "official_part": case.official_part,
        "site": case.site,
        "flags": ";".join(sorted(set(case.flags))),
        "width": row.width,
        "height": row.height,
        "spacing_x": case.spacing[0] if case.spacing else None,
        "spacing_y": case.spacing[1] if case.spacing else None,
        "area": row.area,
        "inner_top": box.top,
        "inner_left": box.left,
        "inner_height": box.height,
        "inner_width": box.width,
        "phash": phash,
        "sha256_pixels": row.pixels,
        "sha256_file": row.file,
    }


def facts_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts, sizes in native pixels and lesion areas (shares of the image, of those that have one), for people."""
    classes = sorted({row.case.class_name for row in rows})
    areas = {name: [row.area for row in rows if row.area and row.case.class_name == name] for name in classes}
    return {
        "images": len(rows),
        "classes": {name: sum(row.case.class_name == name for row in rows) for name in classes},
        "identities": len({row.case.identity for row in rows if row.case.identity}),
        "with_spacing": sum(row.case.spacing is not None for row in rows),
        "flagged": dict(sorted(Counter(flag for row in rows for flag in set(row.case.flags)).items())),
        "sizes": {
            "width": quantiles([row.width for row in rows], 1),
            "height": quantiles([row.height for row in rows], 1),
            "smallest": min(([row.width, row.height] for row in rows), default=None),
            "largest": max(([row.width, row.height] for row in rows), default=None),
        },
        "areas": {name: quantiles(values) for name, values in areas.items() if values},
        "mask_rules": mask_rules(rows),
    }


def mask_rules(rows: Sequence[Row]) -> dict[str, int]:
    """Foreground in native pixels of all lossy mask files by each of `labels.RULES`; {} where there is no such file."""
    found = [row.rules for row in rows if row.rules]
    return dict(zip(RULES, (sum(areas) for areas in zip(*found, strict=True)), strict=True)) if found else {}


def said_rules(areas: Mapping[str, int]) -> str:
    """The first rule's pixels, and how far the others are from it."""
    first, *others = areas.items()
    differ = (f"{name} {100 * (area / max(first[1], 1) - 1):+.1f} %" for name, area in others)
    return f"{first[0]} (used) {first[1]} pixels; {'; '.join(differ)}"

"""Stage `prepare`: a published dataset to arrays, with every fault named first.

Reads data/raw/<dataset>, which has no manifest; writes data/prepared. Nothing is written while an error stands.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.descriptors import Descriptors, describe, perceptual_hashes, phash_hex
from pipelines.datasets.duplicates import PAIR_COLUMNS, Pair, Rule, connected_groups, find_pairs, pair_row
from pipelines.datasets.images import COLOR_SHARE, box_of, decode, resize_image, resize_label
from pipelines.datasets.integrity import (
    as_report,
    check_counts,
    check_image,
    check_mask,
    check_names,
    policy_of,
    table,
)
from pipelines.datasets.read import read_dataset
from pipelines.runtime.artifacts import save_array, write_bytes, write_csv, write_json
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import Run, Stage, run_stage

COLUMNS = (
    *(
        "case",
        "class",
        "identity",
        "official_part",
        "site",
        "flags",
        "width",
        "height",
        "spacing_x",
        "spacing_y",
        "area",
    ),
    *("inner_top", "inner_left", "inner_height", "inner_width", "phash", "sha256_pixels"),
)
STOPPING = ("error", "exclude")  # severities of a finding with which a case does not become a row
CHAIN = 6  # a duplicate cluster above this size may be a chain of mere resemblances


@dataclass(frozen=True)
class Item:
    """One case after decoding: image (size, size), label (size, size), native (h, w), all uint8."""

    case: Case
    image: np.ndarray
    label: np.ndarray
    native: np.ndarray
    descriptors: Descriptors


def run(run: Run) -> None:
    """The stage's body."""
    settings, scale = run.params.prepare, run.params.scale
    policy = policy_of(settings.policy, strict=settings.strict)
    with tempfile.TemporaryDirectory(dir=run.out) as folder:
        dataset = read_dataset(run.dataset, run.raw, run.params.dataset, work=Path(folder), count=scale.phantom_images)
        run.log(f"{len(dataset.cases)} images of {dataset.name}; terms: {dataset.terms}")
        progress = run.progress(len(dataset.cases))
        items, findings = collect(dataset, scale.size, settings.resize, policy, progress.update)
    known = merge([item.descriptors for item in items])
    pairs = find_pairs(known, Rule(**settings.duplicates.model_dump()))
    items, more = flag_pairs(items, pairs)
    findings = [*dataset.findings, *check_counts(dataset), *findings, *more]
    if findings:
        run.log("integrity check\n" + table(findings, policy))
    stop_on_faults(findings, policy)
    write(run.out, dataset, items, pairs, findings, policy, settings.resize)
    run.log(f"{len(items)} cases at {scale.size} x {scale.size}; {len(pairs)} pairs of duplicates")


def collect(
    dataset: Dataset, size: int, resize: str, policy: Mapping[str, str], progress: Callable[[int], None]
) -> tuple[list[Item], list[Finding]]:
    """Decode, check and resize every case, one at a time; faults become findings, so that one report names them all."""
    findings = check_names(dataset.cases)
    items: list[Item] = []
    for index, case in enumerate(dataset.cases):
        item, found = collect_case(case, size, resize, policy)
        findings += found
        if item is not None:
            items.append(item)
        progress(index + 1)
    longest = max((max(item.native.shape) for item in items), default=0)
    if items and dataset.reduced_below and longest <= dataset.reduced_below:
        items = [_with_flag(item, "reduced_copy") for item in items]
        expected, found_size = f"a side above {dataset.reduced_below} pixels", f"none above {longest}"
        remedy = "a reduced copy: native-size scores are not those of the set"
        findings.append(Finding("reduced copy", "", "", expected, found_size, remedy))
    return items, findings


def collect_case(case: Case, size: int, resize: str, policy: Mapping[str, str]) -> tuple[Item | None, list[Finding]]:
    """One case; None when it cannot be used or the policy excludes it."""
    findings: list[Finding] = []
    try:
        decoded = decode(case.image)
        raw = [decode(path).gray for path in case.masks]
    except DataError as error:
        name, _, found = str(error).partition(": ")
        return None, [
            Finding("unreadable", case.case, name, "a whole image file", found, "fetch it again or remove it")
        ]
    gray = decoded.gray
    for path, mask in zip(case.masks, raw, strict=True):
        if mask.shape != gray.shape:
            expected = f"{gray.shape[1]} x {gray.shape[0]} like its image"
            found_size = f"{mask.shape[1]} x {mask.shape[0]}"
            remedy = "mend or remove the pair"
            findings.append(Finding("mask size", case.case, path.name, expected, found_size, remedy))
    findings += check_image(case, gray, decoded.color)
    if any(policy[finding.check] in STOPPING for finding in findings):
        return None, findings
    if not raw:
        return None, findings  # the adapter has named the missing mask
    merged = np.zeros(gray.shape, bool)
    for mask in raw:
        merged |= mask > 127
    findings += check_mask(case, raw, merged)
    if any(policy[finding.check] in STOPPING for finding in findings):
        return None, findings
    native = merged.astype(np.uint8)
    label = resize_label(native, size, resize)
    if merged.any() and not label.any():
        expected, found_lesion = f"a lesion that can be seen at {size} x {size}", f"{int(merged.sum())} native pixels"
        finding = Finding(
            "vanished lesion", case.case, case.image.name, expected, found_lesion, "raise the working size"
        )
        findings.append(finding)
    if decoded.color > COLOR_SHARE:
        case = replace(case, flags=(*case.flags, "color"))
    return Item(case, resize_image(gray, size, resize), label, native, describe([gray])), findings


def merge(parts: Sequence[Descriptors]) -> Descriptors:
    """Descriptors of single images to one stack."""
    if not parts:
        return describe([])
    digests = tuple(digest for part in parts for digest in part.pixels)
    return Descriptors(digests, np.concatenate([part.thumbnails for part in parts]))


def flag_pairs(items: list[Item], pairs: Sequence[Pair]) -> tuple[list[Item], list[Finding]]:
    """Mark duplicates, and groups (duplicates and published identity, merged transitively) with more than one class."""
    findings: list[Finding] = []
    names = [item.case.case for item in items]
    for pair in pairs:
        a, b = items[pair.a].case, items[pair.b].case
        crossing = a.class_name != b.class_name
        if crossing:
            kind = "the same pixels" if pair.kind == "identical" else f"{pair.kind}, NCC {pair.ncc:.3f}"
            found = f"{a.class_name} and {b.class_name} ({kind})"
            files = f"{a.image.name} and {b.image.name}"
            findings.append(Finding("class conflict", a.case, files, "one class", found, "kept in train; correct one"))
    clusters = Counter(connected_groups(len(items), ((pair.a, pair.b) for pair in pairs)))
    members = [size for size in clusters.values() if size > 1]
    if members:
        found = f"{sum(members)} in {len(members)} clusters of near-duplicates"
        findings.append(Finding("duplicates", "", "", "images of their own", found, "each cluster stays in one part"))
    for first, size in clusters.items():
        if size > CHAIN:
            expected, found = f"clusters of at most {CHAIN} images", str(size)
            remedy = "it may be a chain of resemblances; look at it"
            findings.append(Finding("duplicate chain", names[first], "", expected, found, remedy))
    groups = connected_groups(len(items), edges_of([item.case.identity for item in items], pairs))
    classes: dict[int, set[str]] = {}
    for index, group in enumerate(groups):
        classes.setdefault(group, set()).add(items[index].case.class_name)
    doubled = {index for pair in pairs for index in (pair.a, pair.b)}
    flagged = []
    for index, item in enumerate(items):
        if index in doubled:
            item = _with_flag(item, "duplicate")
        if len(classes[groups[index]]) > 1:
            item = _with_flag(item, "class_conflict")
        flagged.append(item)
    return flagged, findings


def edges_of(identities: Sequence[str], pairs: Sequence[Pair]) -> Iterator[tuple[int, int]]:
    """Edges between cases of one published identity, and between duplicates."""
    first: dict[str, int] = {}
    for index, identity in enumerate(identities):
        if identity and first.setdefault(identity, index) != index:
            yield first[identity], index
    for pair in pairs:
        yield pair.a, pair.b


def stop_on_faults(findings: Sequence[Finding], policy: Mapping[str, str]) -> None:
    """DataError when an error stands; all of them in one message."""
    bad = [item for item in findings if policy[item.check] == "error"]
    if bad:
        raise DataError(f"integrity check: {len(bad)} faults, nothing was written\n{table(bad, policy)}")


def write(
    out: Path,
    dataset: Dataset,
    items: Sequence[Item],
    pairs: Sequence[Pair],
    findings: Sequence[Finding],
    policy: Mapping[str, str],
    resize: str,
) -> None:
    """All files of data/prepared but the manifest."""
    if not items:
        raise DataError(f"{dataset.name}: expected at least one usable image, found none; see the report above")
    names = [item.case.case for item in items]
    save_array(out / "images.npy", np.stack([item.image for item in items]))
    save_array(out / "labels.npy", np.stack([item.label for item in items]))
    write_bytes(out / "native_labels.npz", pack_arrays([item.native for item in items]))
    write_csv(out / "cases.csv", [_row(item, resize) for item in items], COLUMNS)
    write_csv(out / "duplicates.csv", [pair_row(pair, names) for pair in pairs], PAIR_COLUMNS)
    counts = dict(sorted(Counter(item.case.class_name for item in items).items()))
    write_json(out / "integrity.json", as_report(dataset, findings, policy, {"images": len(items), "classes": counts}))
    write_json(
        out / "dataset.json",
        {
            "name": dataset.name,
            "adapter": dataset.adapter,
            "channels": dataset.channels,
            "classes": list(dataset.classes),
            "foreground": list(dataset.foreground),
            "terms": dataset.terms,
            "citation": dataset.citation,
            "phantom": dataset.phantom,
            "resize": resize,
            "duplicate_rule": "pHash (32 x 32 box) and NCC (64 x 64 box), plain and mirrored",
        },
    )


def pack_arrays(arrays: Sequence[np.ndarray]) -> bytes:
    """A compressed .npz with the row number as key; without times, so the same arrays give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for row, array in enumerate(arrays):
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{row:06d}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def _row(item: Item, resize: str) -> dict[str, Any]:
    case, (height, width) = item.case, item.native.shape
    box = box_of(height, width, len(item.image), resize)
    return {
        "case": case.case,
        "class": case.class_name,
        "identity": case.identity,
        "official_part": case.official_part,
        "site": case.site,
        "flags": ";".join(sorted(set(case.flags))),
        "width": width,
        "height": height,
        "spacing_x": case.spacing[0] if case.spacing else None,
        "spacing_y": case.spacing[1] if case.spacing else None,
        "area": round(float((item.native > 0).mean()), 6),
        "inner_top": box.top,
        "inner_left": box.left,
        "inner_height": box.height,
        "inner_width": box.width,
        "phash": phash_hex(int(perceptual_hashes(item.descriptors.thumbnails)[0])),
        "sha256_pixels": item.descriptors.pixels[0],
    }


def _with_flag(item: Item, flag: str) -> Item:
    return replace(item, case=replace(item.case, flags=(*item.case.flags, flag)))


STAGE = Stage(
    name="prepare",
    module="pipelines.prepare",
    run=run,
    output="data/prepared",
    inputs={},
    params={"dataset": "datasets.{dataset}", "prepare": "prepare", "scale": "scales.{scale}.prepare"},
    raw="data/raw/{dataset}",
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))

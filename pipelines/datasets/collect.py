"""One pass over the cases of a set: decode, check, resize, and write each row at once.

Only small facts of a case stay in memory, so a set may be larger than it. Decoding runs in a few threads; rows are
written in the order of the cases, so the bytes do not depend on how many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.checks import check_image, check_label, check_working_size, shown_name
from pipelines.datasets.descriptors import SIDE, describe_one
from pipelines.datasets.images import (
    ImageFault,
    pixel_hash,
    quiet,
    read_pixels,
    resize_image,
    resize_label,
    to_gray,
)
from pipelines.datasets.integrity import printable
from pipelines.datasets.labels import Labeled, read_labels
from pipelines.datasets.threads import WORKERS, in_order
from pipelines.runtime.artifacts import ArchiveWriter, ArrayWriter, sha256_file

STRAY = ("link", "mask without image", "unread", "unreadable")  # of an adapter: of a file, maybe of no case
FLAGS = {"color": "color", "resized mask": "size_mismatch"}  # check -> flag of cases.csv


@dataclass(frozen=True)
class Settings:
    """size, resize: of the working square. foreground: number K of classes. policy: severity per check.

    masks: False leaves masks and their faults out. roots: the only folders below which a file may be opened; real: the
    same with links resolved.
    """

    size: int
    resize: str
    foreground: int
    masks: bool
    roots: tuple[Path, ...]
    real: tuple[Path, ...]
    policy: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """What is remembered of a case. pixels, file, label: sha256 of the decoded image, of its file, of its label map.

    height, width: native pixels. area: share of all foreground, None without masks. rules: as in `Labeled`.
    """

    case: Case
    height: int
    width: int
    pixels: str
    file: str
    area: float | None
    label: str
    rules: tuple[int, ...] = ()


@dataclass(frozen=True)
class Made:
    """A row with its pixels, all uint8: image (size, size), thumbnail (128, 128), and with masks label (size, size) and
    native (h, w).
    """

    row: Row
    image: np.ndarray
    thumbnail: np.ndarray
    label: np.ndarray | None
    native: np.ndarray | None


@dataclass(frozen=True)
class Collected:
    """rows: in the order of the cases, as in the arrays. excluded: names of the cases that the policy leaves out."""

    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    excluded: tuple[str, ...]


def collect(
    dataset: Dataset,
    earlier: Sequence[Finding],
    out: Path,
    settings: Settings,
    progress: Callable[[int], None],
    workers: int = WORKERS,
) -> Collected:
    """Write images.npy, thumbnails.npy and, with masks, labels.npy and native_labels.npz into `out`.

    earlier: findings of the adapter and about names; a case that one of them excludes is not opened. progress: called
    with the number of cases done. A case with an unusable file, or a finding of severity `exclude`, becomes no row; a
    file of no case excludes none, even if it has a case's name.
    """
    rows: list[Row] = []
    findings: list[Finding] = []
    excluded: list[str] = []
    named = {item.case for item in earlier if item.check in ("missing mask", "ambiguous mask")}
    left_out = [item for item in earlier if item.case and settings.policy[item.check] == "exclude"]
    blamed = {shown_name(item.case) for item in left_out if item.check not in STRAY}
    files = {item.file for item in left_out if item.check in STRAY}
    square = (settings.size, settings.size)

    def decide(case: Case) -> tuple[Made | None, list[Finding]]:
        own = {file_name(path, settings) for path in (case.image, *case.masks)}
        if shown_name(case.case) in blamed or not files.isdisjoint(own):
            return None, []
        return decide_case(case, settings, mask_named="" in named or case.case in named)

    with ExitStack() as stack:
        stack.enter_context(quiet())
        images = stack.enter_context(ArrayWriter(out / "images.npy", square))
        thumbnails = stack.enter_context(ArrayWriter(out / "thumbnails.npy", (SIDE, SIDE)))
        labels = stack.enter_context(ArrayWriter(out / "labels.npy", square)) if settings.masks else None
        natives = stack.enter_context(ArchiveWriter(out / "native_labels.npz")) if settings.masks else None
        decided = in_order(decide, dataset.cases, workers=workers)
        for done, (case, (made, found)) in enumerate(zip(dataset.cases, decided, strict=True), start=1):
            findings += found
            if made is not None:
                rows.append(made.row)
                images.append(made.image)
                thumbnails.append(made.thumbnail)
                if labels is not None and natives is not None and made.label is not None and made.native is not None:
                    labels.append(made.label)
                    natives.append(made.native)
            elif not any(settings.policy[item.check] == "error" for item in found):
                excluded.append(case.case)
            progress(done)
    return Collected(tuple(rows), tuple(findings), tuple(excluded))


def file_name(path: Path, settings: Settings) -> str:
    """The file as findings give it: relative to its root, printable."""
    root = next((root for root in settings.roots if path.is_relative_to(root)), path.parent)
    return printable(path.relative_to(root).as_posix())


def decide_case(case: Case, settings: Settings, *, mask_named: bool = False) -> tuple[Made | None, list[Finding]]:
    """Decode one case and name all its faults; a function of its files alone, so that any thread may run it.

    mask_named: the adapter has already named a missing or ambiguous mask, of this case or of the whole set.
    """

    def name(path: Path) -> str:
        return file_name(path, settings)

    files = (case.image, *(case.masks if settings.masks else ()))
    strange = [path for path in files if not any(path.resolve().is_relative_to(root) for root in settings.real)]
    if strange:
        expected, remedy = "a file of the dataset's folder", "it is not opened: copy the file to its place"
        return None, [Finding("link", case.case, path.name, expected, "a way out of it", remedy) for path in strange]
    findings: list[Finding] = []
    gray: np.ndarray | None = None
    try:
        decoded = read_pixels(case.image, to_gray)
        gray = decoded.gray
        findings += check_image(case, name(case.image), decoded)
    except ImageFault as fault:
        findings.append(Finding(fault.check, case.case, name(case.image), fault.expected, fault.found, fault.remedy))
    labeled: Labeled | None = None
    told_empty = not case.lesion and not mask_named  # the owner publishes no file for what shows no lesion
    if settings.masks and (case.masks or case.polygons or told_empty):
        labeled, more = read_labels(case, None if gray is None else gray.shape, settings.foreground, name)
        findings += more
        if labeled is not None:
            file = name(case.masks[0] if case.masks else case.image)
            findings += check_label(case, file, labeled.label, labeled.gray)
    elif settings.masks and not mask_named:
        remedy = "add the mask or remove the image"
        findings.append(Finding("missing mask", case.case, name(case.image), "a mask", "none", remedy))
    if gray is None or (settings.masks and labeled is None):
        return None, findings
    native = labeled.label if labeled else None
    label = None if native is None else resize_label(native, settings.size, settings.resize)
    if native is not None and label is not None:
        findings += check_working_size(case, name(case.image), native, label)
    if any(settings.policy[item.check] == "exclude" for item in findings):
        return None, findings
    digest, thumbnail = describe_one(gray)
    flags = [flag for check, flag in FLAGS.items() if any(item.check == check for item in findings)]
    row = Row(
        case=replace(case, flags=(*case.flags, *flags), masks=(), polygons=()),
        height=gray.shape[0],
        width=gray.shape[1],
        pixels=digest,
        file=sha256_file(case.image),
        area=None if native is None else round(float((native > 0).mean()), 6),
        label="" if native is None else pixel_hash(native),
        rules=labeled.rules if labeled else (),
    )
    return Made(row, resize_image(gray, settings.size, settings.resize), thumbnail, label, native), findings

"""Masks of one's own folder: which file is whose, which folder is which class, what to say where that is unclear."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Finding
from pipelines.datasets.files import relative

SUFFIXES = ("", "_mask", "_gt", "_seg")


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def named_folders(below: set[str], foreground: Sequence[str]) -> list[str]:
    """Folders that are named as the foreground classes, in the order of these; all there are where they do not fit."""
    order = {_plain(name): index for index, name in enumerate(foreground)}
    if not any(_plain(name) in order for name in below):
        return []
    return sorted(below, key=lambda name: (order.get(_plain(name), len(order)), name))


def image_of(mask: str, images: dict[str, Path]) -> str:
    """The image that a mask's name means, or that name."""
    names = (mask.removesuffix(suffix) for suffix in SUFFIXES if mask.endswith(suffix))
    return next((name for name in names if name in images), mask)


def no_masks(where: str) -> list[Finding]:
    """The one finding for images without any mask. where: their folder."""
    expected, remedy = "a mask for each image", "add masks/, or list the set under `unlabeled:` in params.yaml"
    return [Finding("missing mask", "", f"{where}/", expected, "images alone", remedy)]


def class_fault(flat: Sequence[Path], inner: Sequence[str], settings: Any) -> tuple[str, str, str] | None:
    """(expected, found, remedy) where the folders of masks contradict params."""
    names = list(settings.foreground)
    folders = ", ".join(f"{name}/" for name in inner)
    if flat and inner:
        return "masks in it or in folders 0, 1, ...", f"both: {flat[0].name} and {folders}", "keep one of the two"
    if not inner:
        return several_classes(names, settings)
    if settings.masks == "labels":
        return "one label map per image, as `masks: labels` says", f"folders {folders}", "set `masks: binary`"
    if not inner[0].isdecimal():
        if [_plain(name) for name in inner] != [_plain(name) for name in names]:
            return f"one folder per name in `foreground` ({', '.join(names)})", folders, "rename them or `foreground`"
        return None
    first = int(inner[0])
    if first > 1 or [int(name) for name in inner] != list(range(first, first + len(inner))):
        return "folders 0, 1, ... without a gap", folders, "rename them"
    if len(inner) != len(names):
        remedy = "set `foreground` to one name per folder"
        return f"{len(names)} folders, one per name in `foreground` ({', '.join(names)})", folders, remedy
    return None


def several_classes(names: Sequence[str], settings: Any) -> tuple[str, str, str] | None:
    """(expected, found, remedy) where one binary mask per image is to show several classes."""
    if len(names) == 1 or settings.masks == "labels":
        return None
    expected = f"masks of {len(names)} classes, as `foreground` says"
    return (
        expected,
        "one binary mask per image",
        "set `masks: labels`, sort them into masks/0, masks/1, or name one class",
    )


def choose_masks(
    root: Path, images: dict[str, Path], masks: dict[str, Path], place: str, findings: list[Finding]
) -> dict[str, Path]:
    """Image name -> its mask among files that have its name or that and a suffix; findings for what does not fit."""
    chosen: dict[str, Path] = {}
    used: set[str] = set()
    for stem, image in sorted(images.items()):
        # a mask with the full name of another image is that one's
        names = [
            stem + suffix
            for suffix in SUFFIXES
            if stem + suffix in masks and (not suffix or stem + suffix not in images)
        ]
        used.update(names)
        expected = f"one mask in {place}/"
        if len(names) == 1:
            chosen[stem] = masks[names[0]]
        elif not names:
            where, remedy = relative(image, root), "add the mask or remove the image"
            findings.append(Finding("missing mask", stem, where, expected, "none", remedy))
        else:
            found = " and ".join(names)
            findings.append(Finding("ambiguous mask", stem, relative(image, root), expected, found, "keep one of them"))
    for stem in sorted(set(masks) - used):
        where, remedy = relative(masks[stem], root), "add the image or remove the mask"
        findings.append(Finding("mask without image", stem, where, "an image of that name in images/", "none", remedy))
    return chosen

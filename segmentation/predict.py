"""Segment a folder of your own images: `python -m segmentation.predict models/segmenter/both-0 scans --output masks`.

Writes below the output folder, for each image and at its own size: masks/ (0 and 255; label numbers where there are
several classes), probability/ and uncertainty/ (0 to 1 as 0 to 255), overlays/; and predictions.csv, whose column
`uncertainty` says which masks to look at first (`segmentation.uncertainty.image_uncertainty`). A file that cannot be
used is named on stderr and in the CSV with its reason, and the rest goes on. Folders of these names that an earlier run
did not make are left alone. `--views 2` averages each prediction with that of the mirrored image, `--views 3` with that
of an enlarged one too (`segmentation.views`); each is a whole prediction: twice and nearly four times the time.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from segmentation.system import System, SystemConfig

SCORES = ("area", "components", "max_probability", "uncertainty")
COLUMNS = ("file", "status", "reason", "mask", "width", "height", *SCORES)
CHUNK = 16  # images held at once
TABLE = "predictions.csv"
FOLDERS = ("masks", "probability", "uncertainty", "overlays")
COLOR = (45, 212, 191)


@dataclass(frozen=True)
class Settings:
    """How to sample; None: as the model was made to. views: of each image, averaged (1 to 3)."""

    mode: str | None
    steps: int | None
    seeds: int | None
    views: int
    device: str


def main(argv: Sequence[str] | None = None) -> int:
    """0 when at least one image was segmented, 1 otherwise, 2 for a wrong command line."""
    arguments = parse(argv)
    from pipelines.runtime.errors import SonoSynthError

    settings = Settings(arguments.mode, arguments.steps, arguments.seeds, arguments.views, arguments.device)
    try:
        rows = predict_folder(arguments.model, arguments.folder, arguments.output, settings)
    except SonoSynthError as error:
        print(f"predict: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        place, found = error.filename or arguments.output, error.strerror or error
        print(
            f"predict: error: {place}: expected to read or write it, found: {found}; mend it, repeat", file=sys.stderr
        )
        return 1
    done = sum(row["status"] == "ok" for row in rows)
    print(f"predict: {done} of {len(rows)} files segmented; see {_printable(str(arguments.output / TABLE))}")
    return 0 if done else 1


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m segmentation.predict",
        description="Segment a folder of PNG and JPEG images with a trained segmenter.",
        epilog="example: python -m segmentation.predict models/segmenter/both-0 scans --output masks",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of a segmenter, e.g. models/segmenter/both-0")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder with images; its subfolders are not read")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where masks and the table go")
    parser.add_argument("--mode", choices=("direct", "refine", "fast", "quality", "ensemble", "posterior"))
    parser.add_argument("--steps", type=_positive, help="network calls of the sampler")
    parser.add_argument("--seeds", type=_positive, help="samples that are averaged; more than one shows disagreement")
    parser.add_argument(
        "--views",
        type=int,
        choices=(1, 2, 3),
        default=1,
        help="views that are averaged: 2 also mirrored, 3 also enlarged; each is a whole prediction (default: 1)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(argv)


def predict_folder(model: Path, folder: Path, output: Path, settings: Settings) -> list[dict[str, Any]]:
    """Segment all files of a folder, write the results, return the rows of predictions.csv.

    DataError: no such folder, nothing in it, or an output that would overwrite other files or cannot be made.
    ArtifactError: no sound model. OSError: a folder that cannot be read, a disk that is full.
    """
    from pipelines.runtime.artifacts import verify_folder, write_csv
    from pipelines.runtime.errors import ArtifactError
    from segmentation.system import load_system

    files = list_files(folder)
    check_output(folder, output)
    if not (model / "config.json").is_file():
        raise ArtifactError(
            f"{model}: expected a trained segmenter (config.json, weights.safetensors), found none; "
            "`dvc repro` makes models/segmenter/<arm>-<seed>"
        )
    if (model / "manifest.json").is_file():
        verify_folder(model)
    device = _device(settings.device)
    make_output(output)
    system = load_system(model, device)
    if system.config.phantom:
        print("predict: note: this segmenter was trained on phantom images, not on patients", file=sys.stderr)
    rows = list(segment(system, files, output, settings, device))
    write_csv(output / TABLE, rows, COLUMNS)
    return rows


def list_files(folder: Path) -> list[Path]:
    """The files directly inside a folder, sorted; hidden ones are left out."""
    from pipelines.runtime.errors import DataError

    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with images, found none; check the path")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: expected PNG or JPEG images, found no file; subfolders are not read")
    return files


def check_output(folder: Path, output: Path) -> None:
    """DataError where results would be written among the images, or over files that no earlier run left."""
    from pipelines.runtime.errors import DataError

    if folder.resolve() in [path.resolve() for path in (output, *(output / name for name in FOLDERS))]:
        raise DataError(f"{output}: expected results apart from the images, found {folder}; choose another --output")
    if (output / TABLE).is_file():
        return
    for path in (output / name for name in FOLDERS):
        if path.is_dir() and any(path.iterdir()):
            raise DataError(
                f"{path}: expected no files, or {TABLE} of an earlier run beside it, found files of another origin; "
                "choose another --output"
            )


def make_output(output: Path) -> None:
    """The table first, still empty: it marks the folders as ours, so that an interrupted run may be repeated."""
    from pipelines.runtime.artifacts import write_csv
    from pipelines.runtime.errors import DataError

    try:
        output.mkdir(parents=True, exist_ok=True)
        write_csv(output / TABLE, [], COLUMNS)
        for name in FOLDERS:
            (output / name).mkdir(exist_ok=True)
    except OSError as error:
        found = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise DataError(f"{output}: expected a writable folder, found: {found}; choose another --output") from error


def output_names(files: Sequence[Path]) -> dict[Path, str]:
    """Names of the results, no two alike even where case does not count.

    A file's stem where no other file has it and none is named like it, else its whole name (a.jpg gives a.jpg.png);
    names that differ only in bytes outside UTF-8 are numbered.
    """
    names = {path: _printable(path.name) for path in files}
    stems = Counter(Path(name).stem.casefold() for name in names.values())
    whole = {name.casefold() for name in names.values()}
    found: dict[Path, str] = {}
    taken: set[str] = set()
    for path, name in names.items():
        stem = Path(name).stem
        base = stem if stems[stem.casefold()] == 1 and stem.casefold() not in whole else name
        chosen, number = base, 1
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{base}-{number}"
        taken.add(chosen.casefold())
        found[path] = f"{chosen}.png"
    return found


def segment(
    system: System, files: Sequence[Path], output: Path, settings: Settings, device: str
) -> Iterator[dict[str, Any]]:
    """Rows of predictions.csv in the order of `files`; a few images are held, and one's maps at native size."""
    names = output_names(files)
    for first in range(0, len(files), CHUNK):
        chunk = files[first : first + CHUNK]
        decoded = {path: read(path) for path in chunk}
        images = {path: found for path, found in decoded.items() if not isinstance(found, str)}
        results = infer(system, list(images.values()), settings, device) if images else []
        maps = dict(zip(images, results, strict=True))
        for path in chunk:
            reason, file = decoded[path], _printable(path.name)
            if isinstance(reason, str):
                reason = _printable(reason)
                print(f"predict: {file}: {reason}", file=sys.stderr)
                yield {"file": file, "status": "refused", "reason": reason}
                continue
            native = to_image(*maps[path], images[path], system.config)
            numbers = save(images[path], *native, output, names[path])
            del native  # not held while the next chunk is decoded
            yield {"file": file, "status": "ok", **numbers}
        print(f"predict: {min(first + CHUNK, len(files))}/{len(files)}", file=sys.stderr)


def read(path: Path) -> np.ndarray | str:
    """(h, w) uint8 gray, or why the file cannot be used."""
    from pipelines.datasets.images import EXTENSIONS, MIN_SIDE, decode_image
    from pipelines.runtime.errors import DataError

    if path.suffix.lower() not in EXTENSIONS:
        return f"not an image by its name; expected {', '.join(EXTENSIONS)}"
    try:
        image = decode_image(path)
    except DataError as error:
        return str(error).removeprefix(f"{path.name}: ")
    if min(image.shape) < MIN_SIDE:
        return f"{image.shape[1]} x {image.shape[0]} pixels; expected at least {MIN_SIDE} on each side"
    return image


def infer(
    system: System, images: Sequence[np.ndarray], settings: Settings, device: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Probability (K, H, W) and uncertainty (H, W) of each (h, w) uint8 image, at working size.

    The sampler's noise hangs on the pixels: a renamed file gives the same mask.
    """
    import numpy as np

    from pipelines.datasets.images import pixel_hash, resize_image
    from segmentation.inference import predict_rows

    config = system.config
    found = predict_rows(
        system,
        np.stack([resize_image(image, config.size, config.resize) for image in images]),
        [pixel_hash(image) for image in images],
        mode=settings.mode or config.mask_diffusion.mode,
        steps=settings.steps or config.mask_diffusion.steps,
        seeds=settings.seeds or config.mask_diffusion.seeds,
        views=settings.views,
        device=device,
    )
    return list(zip(found.probability, found.uncertainty, strict=True))


def to_image(
    probability: np.ndarray, uncertainty: np.ndarray, image: np.ndarray, config: SystemConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Probability (K, H, W) and uncertainty (H, W) at working size as (K, h, w) and (h, w), the size of the image."""
    import numpy as np

    native = np.stack([_native(channel, image, config) for channel in probability])
    return native, _native(uncertainty, image, config)


def save(
    image: np.ndarray, probability: np.ndarray, uncertainty: np.ndarray, output: Path, name: str
) -> dict[str, Any]:
    """Write the four pictures of one image; returns its numbers."""
    import numpy as np
    from scipy import ndimage

    from pipelines.runtime.artifacts import write_png
    from segmentation.uncertainty import image_uncertainty

    several = len(probability) > 1
    lesion = 1.0 - probability[0] if several else probability[0]
    label = probability.argmax(axis=0).astype(np.uint8) if several else (lesion >= 0.5).astype(np.uint8)
    mask = label > 0
    write_png(output / "masks" / name, label if several else label * 255)
    write_png(output / "probability" / name, _as_bytes(lesion))
    write_png(output / "uncertainty" / name, _as_bytes(uncertainty))
    write_png(output / "overlays" / name, outlined(image, mask))
    return {
        "width": image.shape[1],
        "height": image.shape[0],
        "area": round(float(mask.mean()), 6),
        "components": int(ndimage.label(mask)[1]),
        "max_probability": round(float(lesion.max()), 4),
        # an empty mask promises nothing, and an image without a lesion needs none
        "uncertainty": round(image_uncertainty(mask, lesion), 4) if mask.any() else "",
        "mask": f"masks/{name}",
    }


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(h, w) uint8 image with the border of the mask in color, as wide as a 300th of the image: (h, w, 3) uint8."""
    import numpy as np
    from scipy import ndimage

    width = max(1, round(min(image.shape) / 300))
    border = mask & ~ndimage.binary_erosion(mask, iterations=width)
    pixels = np.repeat(image[..., None], 3, axis=2)
    pixels[border] = COLOR
    return pixels


def _native(values: np.ndarray, image: np.ndarray, config: SystemConfig) -> np.ndarray:
    """A map (H, W) of the working square back to the size of the image."""
    from pipelines.datasets.images import box_of, to_native

    height, width = image.shape
    box = box_of(height, width, config.size, config.resize)
    place = {"inner_top": box.top, "inner_left": box.left, "inner_height": box.height, "inner_width": box.width}
    case = {key: str(value) for key, value in {**place, "width": width, "height": height}.items()}
    return to_native(values, case).clip(0.0, 1.0)


def _printable(text: str) -> str:
    """File names may hold bytes that are not UTF-8, which neither a table nor a terminal takes."""
    return text.encode("utf-8", "replace").decode()


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return (values * 255.0).round().astype("uint8")


def _device(choice: str) -> str:
    import torch

    from pipelines.runtime.errors import ParamsError

    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise ParamsError("--device cuda: expected a CUDA device, found none; use --device cpu")
    return "cuda" if available and choice != "cpu" else "cpu"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, found {text!r}")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())

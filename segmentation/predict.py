"""Segment a folder of your own images: `python -m segmentation.predict models/segmenter/both-0 scans --output masks`.

Writes below the output folder, for each image and at its own size: masks/ (0 and 255; label numbers where there are
several classes), probability/ and uncertainty/ (0 to 1 as 0 to 255), overlays/; and predictions.csv. A file that cannot
be used is named on stderr and in the CSV with its reason, and the rest goes on.
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

SCORES = ("area", "components", "max_probability", "mean_uncertainty")
COLUMNS = ("file", "status", "reason", "mask", "width", "height", *SCORES)
CHUNK = 16  # images held at once
FOLDERS = ("masks", "probability", "uncertainty", "overlays")
COLOR = (45, 212, 191)


@dataclass(frozen=True)
class Settings:
    """How to sample; None: as the model was made to."""

    mode: str | None
    steps: int | None
    seeds: int | None
    device: str


def main(argv: Sequence[str] | None = None) -> int:
    """0 when at least one image was segmented, 1 otherwise, 2 for a wrong command line."""
    arguments = parse(argv)
    from pipelines.runtime.errors import SonoSynthError

    settings = Settings(arguments.mode, arguments.steps, arguments.seeds, arguments.device)
    try:
        rows = predict_folder(arguments.model, arguments.folder, arguments.output, settings)
    except SonoSynthError as error:
        print(f"predict: error: {error}", file=sys.stderr)
        return 1
    done = sum(row["status"] == "ok" for row in rows)
    print(f"predict: {done} of {len(rows)} files segmented; see {arguments.output / 'predictions.csv'}")
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
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(argv)


def predict_folder(model: Path, folder: Path, output: Path, settings: Settings) -> list[dict[str, Any]]:
    """Segment all files of a folder, write the results, return the rows of predictions.csv.

    DataError: no such folder, nothing in it, or the output is the folder itself. ArtifactError: no sound model.
    """
    from pipelines.runtime.artifacts import verify_folder, write_csv
    from pipelines.runtime.errors import ArtifactError
    from segmentation.system import load_system

    files = list_files(folder, output)
    if not (model / "config.json").is_file():
        raise ArtifactError(
            f"{model}: expected a trained segmenter (config.json, weights.safetensors), found none; "
            "`dvc repro` makes models/segmenter/<arm>-<seed>"
        )
    if (model / "manifest.json").is_file():
        verify_folder(model)
    device = _device(settings.device)
    system = load_system(model, device)
    if system.config.phantom:
        print("predict: note: this segmenter was trained on phantom images, not on patients", file=sys.stderr)
    for name in FOLDERS:
        (output / name).mkdir(parents=True, exist_ok=True)
    rows = list(segment(system, files, output, settings, device))
    write_csv(output / "predictions.csv", rows, COLUMNS)
    return rows


def list_files(folder: Path, output: Path) -> list[Path]:
    """The files directly inside a folder, sorted; hidden ones are left out."""
    from pipelines.runtime.errors import DataError

    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with images, found none; check the path")
    if folder.resolve() == output.resolve():
        raise DataError(f"{output}: expected another folder than that of the images; choose another --output")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: expected PNG or JPEG images, found no file; subfolders are not read")
    return files


def segment(
    system: System, files: Sequence[Path], output: Path, settings: Settings, device: str
) -> Iterator[dict[str, Any]]:
    """Rows of predictions.csv in the order of `files`; a few images are held at a time."""
    stems = Counter(path.stem for path in files)
    for first in range(0, len(files), CHUNK):
        chunk = files[first : first + CHUNK]
        decoded = {path: read(path) for path in chunk}
        images = {path: found for path, found in decoded.items() if not isinstance(found, str)}
        results = infer(system, list(images.values()), settings, device) if images else []
        maps = dict(zip(images, results, strict=True))
        for path in chunk:
            reason = decoded[path]
            if isinstance(reason, str):
                print(f"predict: {path.name}: {reason}", file=sys.stderr)
                yield {"file": path.name, "status": "refused", "reason": reason}
                continue
            name = f"{path.stem if stems[path.stem] == 1 else path.name}.png"
            yield {"file": path.name, "status": "ok", **save(images[path], *maps[path], output, name)}
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
    """Probability (K, h, w) and uncertainty (h, w) of each (h, w) uint8 image, at its own size.

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
        device=device,
    )
    return [
        (
            np.stack([_native(channel, image, config) for channel in probability]),
            _native(uncertainty, image, config),
        )
        for image, probability, uncertainty in zip(images, found.probability, found.uncertainty, strict=True)
    ]


def save(
    image: np.ndarray, probability: np.ndarray, uncertainty: np.ndarray, output: Path, name: str
) -> dict[str, Any]:
    """Write the four pictures of one image; returns its numbers."""
    import numpy as np
    from scipy import ndimage

    from pipelines.runtime.artifacts import write_png

    several = len(probability) > 1
    lesion = 1.0 - probability[0] if several else probability[0]
    label = probability.argmax(axis=0).astype(np.uint8) if several else (lesion > 0.5).astype(np.uint8)
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
        "mean_uncertainty": round(float(uncertainty.mean()), 4),
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

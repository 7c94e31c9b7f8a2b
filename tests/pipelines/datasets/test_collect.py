"""Every fault that files can have, on files: what it is called, and that it stops or excludes its case alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.collect import Settings, collect, decide_case
from pipelines.datasets.integrity import policy_of
from pipelines.runtime.artifacts import load_array, sha256_file
from tests.support.scenes import HEIGHT, WIDTH, disc, png_header, scene

POLICY = policy_of({}, strict=False)


def settings(root: Path, *, foreground: int = 1, masks: bool = True, size: int = 64) -> Settings:
    return Settings(size, "stretch", foreground, masks, (root,), (root.resolve(),), POLICY)


def put(root: Path, name: str, image: np.ndarray, mask: np.ndarray) -> Case:
    for kind, pixels in (("images", image), ("masks", mask)):
        (root / kind).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / kind / f"{name}.png")
    return Case(name, root / "images" / f"{name}.png", (root / "masks" / f"{name}.png",), "benign")


def cut(path: Path, share: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def truncated_image(case: Case) -> Case:
    cut(case.image)
    return case


def truncated_jpeg(case: Case) -> Case:
    path = case.image.with_suffix(".jpg")
    Image.fromarray(scene(1)).save(path)
    cut(path)
    return replace(case, image=path)


def truncated_mask(case: Case) -> Case:
    cut(case.masks[0])
    return case


def bomb(case: Case) -> Case:
    case.image.write_bytes(png_header(30_000, 30_000))
    return case


def bomb_mask(case: Case) -> Case:
    case.masks[0].write_bytes(png_header(9_000, 9_000))
    return case


def small(case: Case) -> Case:
    return put(case.image.parents[1], case.case, scene(1, 90, 63), disc(90, 63))


def turned(case: Case) -> Case:
    """The image is turned by its EXIF, its mask is not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = case.image.with_suffix(".jpg")
    Image.fromarray(scene(1)).save(path, exif=exif)
    return replace(case, image=path)


def jpeg_mask(case: Case) -> Case:
    path = case.image.with_suffix(".jpg")
    Image.fromarray(disc()).save(path)
    return replace(case, image=path)


def image_in_float(case: Case) -> Case:
    path = case.image.with_suffix(".tif")
    Image.fromarray(scene(1).astype(np.float32)).save(path)
    return replace(case, image=path)


def outside(case: Case) -> Case:
    folder = case.image.parents[1]
    target = put_outside(folder)
    case.image.unlink()
    case.image.symlink_to(target)
    return case


def climbing(case: Case) -> Case:
    folder = case.image.parents[1]
    put_outside(folder)
    return replace(case, masks=(folder / ".." / "elsewhere" / "secret.png",))


def put_outside(folder: Path) -> Path:
    (folder.parent / "elsewhere").mkdir(exist_ok=True)
    Image.fromarray(disc()).save(folder.parent / "elsewhere" / "secret.png")
    return folder.parent / "elsewhere" / "secret.png"


def mask(pixels: np.ndarray) -> Callable[[Case], Case]:
    def write(case: Case) -> Case:
        Image.fromarray(pixels).save(case.masks[0])
        return case

    return write


def image(pixels: np.ndarray) -> Callable[[Case], Case]:
    def write(case: Case) -> Case:
        Image.fromarray(pixels).save(case.image)
        return case

    return write


def with_corner(pixels: np.ndarray) -> np.ndarray:
    return np.where(np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) < 3, 255, pixels).astype(np.uint8)


COLORED = np.repeat(scene(1)[..., None], 3, 2)
COLORED[:20, :20] = (200, 20, 20)
DOT = np.zeros((HEIGHT, WIDTH), np.uint8)
DOT[45, 1] = 255  # 120 columns to 64: the second one is not sampled
GRAYISH = disc()
GRAYISH[:5, :5] = 100

FAULTS = {
    "a truncated PNG": (truncated_image, ["unreadable"], "images/x.png"),
    "a truncated JPEG": (truncated_jpeg, ["unreadable"], "images/x.jpg"),
    "a truncated mask": (truncated_mask, ["unreadable"], "masks/x.png"),
    "a bomb": (bomb, ["dimensions"], "images/x.png"),
    "a bomb as mask": (bomb_mask, ["dimensions"], "masks/x.png"),
    "a small image": (small, ["small image"], "images/x.png"),
    "an image turned by EXIF": (turned, ["mask size"], "masks/x.png"),
    "a JPEG mask as image": (jpeg_mask, ["swapped"], "images/x.jpg"),
    "a 14-bit image": (image(scene(1).astype(np.uint16) * 64), ["dark image"], "images/x.png"),
    "a float image": (image_in_float, ["value range"], "images/x.tif"),
    "a 12-bit image": (image(scene(1).astype(np.uint16) * 16), ["value range"], "images/x.png"),
    "a link out": (outside, ["link"], "x.png"),
    "a path out": (climbing, ["link"], "secret.png"),
    "no mask": (lambda case: replace(case, masks=()), ["missing mask"], "images/x.png"),
    "a smaller mask": (mask(disc(80, 120)), ["mask size"], "masks/x.png"),
    "a mask of ones": (mask(disc() // 255), ["value range"], "masks/x.png"),
    "labels above K": (
        lambda case: replace(mask(disc() // 100)(case), label_map=True),
        ["value range"],
        "masks/x.png",
    ),
    "an empty mask": (mask(disc() * 0), ["empty mask"], "masks/x.png"),
    "a full mask": (mask(disc() * 0 + 255), ["full mask"], "masks/x.png"),
    "an inverted mask": (mask(255 - disc()), ["inverted mask"], "masks/x.png"),
    "a mask as image": (image(disc()), ["swapped"], "images/x.png"),
    "a constant image": (image(disc() * 0 + 70), ["constant image"], "images/x.png"),
    "a colored image": (image(COLORED), ["color"], "images/x.png"),
    "a gray mask": (mask(GRAYISH), ["mask values"], "masks/x.png"),
    "a speck": (mask(with_corner(disc())), ["components"], "masks/x.png"),
    "a dot": (mask(DOT), ["area", "components", "vanished lesion"], "masks/x.png"),
    "a lesion in a normal case": (
        lambda case: replace(case, class_name="normal", lesion=False),
        ["lesion in a normal case"],
        "masks/x.png",
    ),
    "another size in a table": (lambda case: replace(case, published_size=(119, 90)), ["table"], "images/x.png"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_of_a_case(tmp_path: Path, name: str) -> None:
    spoil, checks, file = FAULTS[name]
    (tmp_path / "raw").mkdir()
    case = spoil(put(tmp_path / "raw", "x", scene(1), disc()))
    made, findings = decide_case(case, settings(tmp_path / "raw"))
    assert [item.check for item in findings] == checks
    assert (findings[0].case, findings[0].file) == ("x", file)
    assert all(item.expected and item.found and item.remedy for item in findings)
    assert str(tmp_path) not in " ".join(item.message for item in findings)
    unusable = ("unreadable", "dimensions", "mask size", "value range", "link", "missing mask", "empty mask")
    assert (made is None) == (checks[0] in unusable)


def test_faults_of_image_and_mask_are_named_together(tmp_path: Path) -> None:
    case = put(tmp_path, "x", scene(1), disc())
    cut(case.image)
    cut(case.masks[0])
    _, findings = decide_case(case, settings(tmp_path))
    assert [(item.check, item.file) for item in findings] == [
        ("unreadable", "images/x.png"),
        ("unreadable", "masks/x.png"),
    ]
    assert decide_case(replace(case, masks=()), settings(tmp_path), mask_named=True)[1] == findings[:1]


def test_sound_row(tmp_path: Path) -> None:
    case = replace(put(tmp_path, "x", scene(1), disc()), flags=("caliper",), site="A")
    made, findings = decide_case(case, settings(tmp_path))
    assert findings == []
    assert made is not None
    assert made.native is not None
    assert np.array_equal(made.native, disc() // 255)
    assert (made.row.height, made.row.width) == (HEIGHT, WIDTH)
    assert made.row.area == pytest.approx((disc() > 0).mean(), abs=1e-6)
    assert made.row.file == sha256_file(case.image)
    assert (made.row.case.flags, made.row.case.site) == (("caliper",), "A")
    assert made.image.shape == (64, 64)
    assert made.thumbnail.shape == (128, 128)


def test_several_classes_count_as_one_area_and_vanish_one_by_one(tmp_path: Path) -> None:
    values = disc() // 255
    values[35:55, 50:70] = 2
    case = replace(put(tmp_path, "x", scene(1), values), label_map=True)
    made, findings = decide_case(case, settings(tmp_path, foreground=2, size=32))
    assert made is not None
    assert made.row.area == pytest.approx((disc() > 0).mean(), abs=1e-6)
    assert findings == []
    values[35:55, 50:70] = 1
    values[44:46, 59:61] = 2  # 120 columns to 32: 58 and 61 are sampled
    case = replace(put(tmp_path, "x", scene(1), values), label_map=True)
    _, findings = decide_case(case, settings(tmp_path, foreground=2, size=32))
    assert [(item.check, item.found) for item in findings] == [("vanished lesion", "4 native pixels")]


def test_masks_of_another_size_where_the_owner_publishes_such(tmp_path: Path) -> None:
    case = replace(put(tmp_path, "x", scene(1), disc(180, 240, 40)), resize_mask=True)
    made, findings = decide_case(case, settings(tmp_path))
    assert [item.check for item in findings] == ["resized mask"]
    assert made is not None
    assert made.row.case.flags == ("size_mismatch",)
    assert made.native is not None
    assert made.native.shape == (HEIGHT, WIDTH)


def test_images_alone(tmp_path: Path) -> None:
    case = put(tmp_path, "x", scene(1), disc())
    case.masks[0].write_bytes(b"never opened")
    made, findings = decide_case(case, settings(tmp_path, masks=False))
    assert findings == []
    assert made is not None
    assert (made.row.area, made.label, made.native) == (None, None, None)


def dataset(cases: list[Case], *findings: Finding) -> Dataset:
    return Dataset("toy", "toy", tuple(cases), ("benign",), ("lesion",), "none", "none", findings=findings)


def test_rows_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    cases = [put(tmp_path, f"c{seed:02d}", scene(seed, 90 + 7 * seed, 120), disc(90 + 7 * seed)) for seed in range(14)]
    cases[3].image.write_bytes(b"text")
    seen: list[int] = []
    hashes = []
    for workers in (1, 2, 7):
        out = tmp_path / f"out{workers}"
        out.mkdir()
        found = collect(dataset(cases), [], out, settings(tmp_path), seen.append, workers)
        hashes.append({path.name: sha256_file(path) for path in out.iterdir()})
        assert [row.case.case for row in found.rows] == [case.case for case in cases if case.case != "c03"]
        assert [item.check for item in found.findings] == ["unreadable"]
        assert found.excluded == ()
    assert seen == [*range(1, 15)] * 3
    assert hashes[0] == hashes[1] == hashes[2]
    assert set(hashes[0]) == {"images.npy", "labels.npy", "native_labels.npz", "thumbnails.npy"}
    assert load_array(tmp_path / "out1" / "images.npy").shape == (13, 64, 64)


def test_excluded_cases(tmp_path: Path) -> None:
    cases = [put(tmp_path, f"c{seed}", scene(seed), disc()) for seed in range(4)]
    Image.fromarray(disc() * 0).save(cases[1].masks[0])
    cases[2].image.write_bytes(b"never opened")
    earlier = [Finding("missing mask", "c2", "c2.png", "a mask", "none", "add it")]
    policy = policy_of({"missing mask": "exclude"}, strict=False)
    (tmp_path / "out").mkdir()
    rules = replace(settings(tmp_path), policy=policy)
    found = collect(dataset(cases), earlier, tmp_path / "out", rules, lambda done: None)
    assert [row.case.case for row in found.rows] == ["c0", "c3"]
    assert found.excluded == ("c1", "c2")
    assert [(item.check, item.case) for item in found.findings] == [("empty mask", "c1")]


def test_a_file_of_no_case_leaves_no_case_of_its_name_out(tmp_path: Path) -> None:
    cases = [put(tmp_path, f"c{seed}", scene(seed), disc()) for seed in range(4)]
    checks = ("link", "mask without image", "unread", "unreadable")
    strays = [Finding(check, "c0", f"images/old/c0.{check}", "another", "this", "move it") for check in checks]
    own = [Finding("link", "c1", "masks/c1.png", "a file", "a link", "copy it")]
    own += [Finding("ambiguous mask", "c2", "images/c2.png", "one", "two", "keep one")]
    (tmp_path / "out").mkdir()
    rules = replace(settings(tmp_path), policy=POLICY | dict.fromkeys((*checks, "ambiguous mask"), "exclude"))
    found = collect(dataset(cases), [*strays, *own], tmp_path / "out", rules, lambda done: None)
    assert [row.case.case for row in found.rows] == ["c0", "c3"]
    assert found.excluded == ("c1", "c2")

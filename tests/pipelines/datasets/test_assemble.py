"""From cases to files: labels of several classes, outlines, images alone, spacing up to a score in millimeters."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.datasets.assemble import COLUMNS, Outcome, prepare_dataset
from pipelines.datasets.case import Case, Dataset, Finding, load_prepared
from pipelines.datasets.duplicates import Rule
from pipelines.datasets.integrity import policy_of
from pipelines.datasets.read import read_dataset
from pipelines.runtime.artifacts import load_array, read_csv, read_json
from pipelines.runtime.errors import DataError
from segmentation.scores import Scoring, score_case
from tests.support.scenes import HEIGHT, WIDTH, disc, scene

RULE = Rule(6, 0.9, 1.1, 0.9, 6, 0.9)  # whole thumbnails alone
DISC = disc()


def put(root: Path, name: str, image: np.ndarray, *masks: np.ndarray, **fields: Any) -> Case:
    root.mkdir(exist_ok=True)
    Image.fromarray(image).save(root / f"{name}.png")
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(root / f"{name}_mask{number}.png")
    paths = tuple(root / f"{name}_mask{number}.png" for number in range(len(masks)))
    return replace(Case(name, root / f"{name}.png", paths, "benign"), **fields)


def prepare(root: Path, cases: list[Case], foreground: tuple[str, ...] = ("lesion",), **options: Any) -> Outcome:
    findings = options.pop("findings", ())
    dataset = Dataset("toy", "toy", tuple(cases), ("benign",), foreground, "own", "none", findings=findings)
    out = root.parent / "out"
    out.mkdir()
    settings: dict[str, Any] = {"size": 64, "resize": "stretch", "policy": policy_of({}, strict=False), "rule": RULE}
    settings |= options | {"roots": (root,), "faults": root.parent / "state" / "faults.json", "log": print}
    return prepare_dataset(dataset, out, **settings, progress=lambda done: None)


def test_classes_from_files_maps_and_outlines(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    inner, outer = disc(radius=10), disc(radius=25)
    values = (outer > 0) * np.uint8(1) + (inner > 0) * np.uint8(1)
    outline = ((30.0, 20.0), (69.0, 20.0), (69.0, 59.0), (30.0, 59.0))
    cases = [
        put(root, "files", scene(1), outer, inner, mask_classes=(1, 2)),
        put(root, "map", scene(2), values, label_map=True),
        put(root, "outline", scene(3), polygons=(outline,)),
    ]
    assert prepare(root, cases, ("lesion", "core")) == Outcome(3, (), 0)
    prepared = load_prepared(tmp_path / "out")
    assert np.array_equal(prepared.native_label(0), values)
    assert np.array_equal(prepared.native_label(1), values)
    assert set(np.unique(prepared.labels[:2])) == {0, 1, 2}
    box = prepared.native_label(2)
    assert (box.sum(), box[20:60, 30:70].min()) == (1600, 1)
    areas = [float(case["area"]) for case in prepared.cases]
    assert areas == pytest.approx([(outer > 0).mean(), (outer > 0).mean(), 1600 / (HEIGHT * WIDTH)], abs=1e-6)
    assert prepared.dataset["foreground"] == ["lesion", "core"]
    report = read_json(tmp_path / "out" / "integrity.json")
    overlap = [item for item in report["findings"] if item["check"] == "overlap"]
    assert [(item["case"], item["found"]) for item in overlap] == [
        ("files", f"{int((inner > 0).sum())} pixels of several")
    ]


def test_images_alone(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    cases = [put(root, "a", scene(1)), put(root, "b", scene(1), disc() * 0), put(root, "c", scene(2), disc(40, 40))]
    absent = Finding("missing mask", "a", "a.png", "a mask", "none", "add it")
    assert prepare(root, cases, masks=False, findings=(absent,)) == Outcome(3, (), 0)
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        *("images.npy", "thumbnails.npy", "cases.csv", "integrity.json", "dataset.json")
    }
    assert load_array(out / "images.npy").shape == (3, 64, 64)
    rows = read_csv(out / "cases.csv")
    assert list(rows[0]) == list(COLUMNS)
    assert [row["area"] for row in rows] == ["", "", ""]
    assert rows[0]["sha256_pixels"] == rows[1]["sha256_pixels"] != rows[2]["sha256_pixels"]
    report = read_json(out / "integrity.json")
    assert (report["findings"], report["images"], report["areas"]) == ([], 3, {})


def test_faults_outlive_the_run_and_a_clean_one_removes_them(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    cases = [put(root, "a", scene(1), disc()), put(root, "b", scene(2))]
    with pytest.raises(DataError, match=r"toy: 1 error; nothing was published\. .* in state/faults\.json"):
        prepare(root, cases)
    assert read_json(tmp_path / "state" / "faults.json")["findings"][0]["check"] == "missing mask"
    assert not (tmp_path / "out" / "cases.csv").exists()
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    (tmp_path / "out").rmdir()
    prepare(root, cases[:1])
    assert not (tmp_path / "state" / "faults.json").exists()


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_spacing_reaches_a_score_in_millimeters(tmp_path: Path, resize: str) -> None:
    root = tmp_path / "raw"
    square = np.zeros((HEIGHT, WIDTH), np.uint8)
    square[30:60, 40:80] = 255
    prepare(root, [put(root, "a", scene(1), square, spacing=(0.5, 0.1))], resize=resize)
    prepared = load_prepared(tmp_path / "out")
    case = prepared.cases[0]
    assert (case["spacing_x"], case["spacing_y"]) == ("0.5", "0.1")
    across = 0.5 * WIDTH / int(case["inner_width"])  # mm per pixel of the working square
    down = 0.1 * HEIGHT / int(case["inner_height"])
    assert across * int(case["inner_width"]) == pytest.approx(60.0)
    assert down * int(case["inner_height"]) == pytest.approx(9.0)
    shifted = np.roll(prepared.labels[0], 3, axis=1)[None].astype(np.float32)
    row = score_case(shifted, prepared.labels[0], prepared.native_label(0), case, Scoring(("lesion",), 5, 0.2))[0]
    assert row["hd95"] == 3.0
    assert row["hd95_mm"] == pytest.approx(3 * across, abs=0.5)  # half a millimeter is one native pixel across


def prepare_own(tmp_path: Path, classes: str, policy: dict[str, str] | None = None) -> Outcome:
    """The folder raw/ as the adapter `folder` reads it; classes: expected, separated by blanks."""
    root, out = tmp_path / "raw", tmp_path / "out"
    dataset = read_dataset("own", root, SimpleNamespace(adapter="folder", foreground=["lesion"], masks="binary"))
    out.mkdir()
    return prepare_dataset(
        replace(dataset, classes=tuple(classes.split())),
        out,
        size=64,
        resize="stretch",
        policy=policy_of(policy or {}, strict=False),
        rule=RULE,
        roots=(root,),
        faults=tmp_path / "faults.json",
        log=print,
        progress=lambda done: None,
    )


def put_own(root: Path, names: Sequence[str], suffix: str = "png", mask: np.ndarray = DISC) -> None:
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(scene(seed)).save(root / "images" / f"{name}.png")
        Image.fromarray(mask).save(root / "masks" / f"{name}.{suffix}")


def test_names_and_classes_of_the_set_are_checked(tmp_path: Path) -> None:
    put_own(tmp_path / "raw", ["A", "a", "b"])
    with pytest.raises(DataError, match=r"own: 2 errors"):
        prepare_own(tmp_path, "none cyst")
    found = {(item["severity"], item["check"], item["case"], item["found"]) for item in faults_of(tmp_path)}
    assert found == {("error", "name", "a", "that of A"), ("error", "layout", "", "0")}


def faults_of(folder: Path) -> list[dict[str, str]]:
    return read_json(folder / "faults.json")["findings"]


def test_a_name_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    put_own(tmp_path / "raw", ["a", "b", "l\udce4sion"])
    with pytest.raises(DataError, match=r"own: 1 error"):
        prepare_own(tmp_path, "none")
    assert [(item["check"], item["case"]) for item in faults_of(tmp_path)] == [("name", "l?sion")]


def test_stray_files_are_left_out_and_no_case_with_them(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    put_own(raw, ["a", "b", "c"])
    (raw / "images" / "old").mkdir()
    Image.fromarray(scene(9)).save(raw / "images" / "old" / "a.png")
    (raw / "images" / "old" / "b.png").symlink_to(tmp_path / "nowhere.png")
    assert prepare_own(tmp_path, "none", {"unread": "exclude", "link": "exclude"}) == Outcome(3, (), 0)
    report = read_json(tmp_path / "out" / "integrity.json")
    assert [(item["severity"], item["check"], item["file"]) for item in report["findings"]] == [
        ("exclude", "link", "images/old/b.png"),
        ("exclude", "unread", "images/old/a.png"),
    ]


def test_lossy_masks_are_measured_by_three_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_own(tmp_path / "raw", ["a", "b"], "jpg", gaussian_filter(disc(), 1))
    prepare_own(tmp_path, "none")
    values = np.array(Image.open(tmp_path / "raw" / "masks" / "a.jpg"))
    areas = [2 * int((values > 127).sum()), 2 * int((values >= 150).sum()), 2 * int((values == values.max()).sum())]
    assert areas[0] > areas[1] > areas[2] > 0
    rules = read_json(tmp_path / "out" / "integrity.json")["mask_rules"]
    assert rules == dict(zip(("above 127", "at least 150", "equal to the maximum"), areas, strict=True))
    (line,) = [text for text in capsys.readouterr().out.splitlines() if text.startswith("lossy")]
    change = [f"{100 * (area / areas[0] - 1):+.1f} %" for area in areas[1:]]
    assert line == (
        f"lossy masks of own: foreground by rule, above 127 (used) {areas[0]} pixels; at least 150 {change[0]}; "
        f"equal to the maximum {change[1]}"
    )
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "raw")
    put_own(tmp_path / "raw", ["a", "b"])
    prepare_own(tmp_path, "none")
    assert read_json(tmp_path / "out" / "integrity.json")["mask_rules"] == {}

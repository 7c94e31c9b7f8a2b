"""The user's command: masks at native size, bad files named, the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.runtime.artifacts import read_csv
from segmentation import predict
from segmentation.predict import main, outlined
from segmentation.system import save_system
from tests.support.segmenter import make_system, pictures


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_system(make_system("crossdiff", resize="letterbox"), folder)
    return folder


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two good images of different sizes and kinds, and four that cannot be used."""
    folder = tmp_path / "scans"
    (folder / "deeper").mkdir(parents=True)
    image = pictures(1, 96)[0][0]
    Image.fromarray(image[:, :80]).save(folder / "tall.png")
    Image.fromarray(np.repeat(image[:70, :, None], 3, axis=2)).save(folder / "wide.JPG", quality=95)
    (folder / "torn.png").write_bytes((folder / "tall.png").read_bytes()[:300])
    (folder / "text.jpeg").write_text("no image")
    (folder / "notes.txt").write_text("mine")
    Image.fromarray(image[:10, :10]).save(folder / "stamp.png")
    (folder / ".hidden").write_text("")
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_masks_at_native_size_and_bad_files_named(
    model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(model), str(scans), "--output", str(out), "--device", "cpu"]) == 0
    rows = {row["file"]: row for row in read_csv(out / "predictions.csv")}
    assert sorted(rows) == ["notes.txt", "stamp.png", "tall.png", "text.jpeg", "torn.png", "wide.JPG"]
    assert {name for name, row in rows.items() if row["status"] == "ok"} == {"tall.png", "wide.JPG"}
    said = capsys.readouterr()
    for name in ("notes.txt", "stamp.png", "text.jpeg", "torn.png"):
        assert rows[name]["reason"]
        assert name in said.err
    assert "trained on phantom images" in said.err
    assert "2 of 6 files" in said.out
    for stem, size in (("tall", (80, 96)), ("wide", (96, 70))):
        for kind, mode in (("masks", "L"), ("probability", "L"), ("uncertainty", "L"), ("overlays", "RGB")):
            with Image.open(out / kind / f"{stem}.png") as picture:
                assert (picture.size, picture.mode) == (size, mode)
    mask, probability = pixels(out / "masks" / "tall.png"), pixels(out / "probability" / "tall.png")
    assert set(np.unique(mask)) <= {0, 255}
    assert ((probability > 128) <= (mask > 0)).all()
    assert float(rows["tall.png"]["area"]) == pytest.approx((mask > 0).mean(), abs=1e-5)
    inside, all_over = probability[mask > 0].sum() / 255, probability.sum() / 255
    promised = 2 * inside / ((mask > 0).sum() + all_over)
    assert float(rows["tall.png"]["uncertainty"]) == pytest.approx(1 - promised, abs=2e-3)  # bytes round the map


def test_a_renamed_file_gives_the_same_mask_and_equal_stems_do_not_collide(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    (scans / "tall.tif").write_bytes((scans / "tall.png").read_bytes())
    out = tmp_path / "out"
    main([str(model), str(scans), "--output", str(out), "--device", "cpu", "--seeds", "1"])
    one, two = (pixels(out / "probability" / f"tall.{kind}.png") for kind in ("png", "tif"))
    assert np.array_equal(one, two)


def test_views_average_the_mirrored_image(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan and its mirror image get mirrored maps from two views, which one view does not give."""
    folder = tmp_path / "mirrored"
    folder.mkdir()
    image = pictures(1, 96)[0][0]
    Image.fromarray(image).save(folder / "a.png")
    Image.fromarray(image[:, ::-1]).save(folder / "b.png")
    maps: list[np.ndarray] = []

    def kept(*arguments: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        found = infer(*arguments)
        maps.extend(probability for probability, _ in found)
        return found

    infer = predict.infer
    monkeypatch.setattr(predict, "infer", kept)
    for number, options in enumerate(([], ["--views", "2"])):
        out = str(tmp_path / str(number))
        assert main([str(model), str(folder), "--output", out, "--device", "cpu", "--mode", "direct", *options]) == 0
    one, two = (float(np.abs(a - b[..., ::-1]).max()) for a, b in (maps[:2], maps[2:]))
    assert two < 1e-6
    assert one > 1e-3
    np.testing.assert_allclose(maps[2], (maps[0] + maps[1][..., ::-1]) / 2, atol=1e-6)


def test_views_outside_their_range_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["model", "scans", "--output", "out", "--views", "4"])
    assert caught.value.code == 2
    assert "--views" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["no model", "no folder", "nothing inside", "nothing usable", "same folder"])
def test_nothing_segmented_is_exit_1(
    broken: str, model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out"
    chosen, folder = model, scans
    if broken == "no model":
        chosen = empty
    elif broken == "no folder":
        folder = tmp_path / "absent"
    elif broken == "nothing inside":
        folder = empty
    elif broken == "same folder":
        out = scans
    else:
        (empty / "a.png").write_text("no image")
        folder = empty
    assert main([str(chosen), str(folder), "--output", str(out), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "expected" in said


@pytest.mark.parametrize("case", ["folder is a target", "folder is a target of an earlier run", "foreign files"])
def test_files_of_another_origin_are_never_overwritten(
    case: str, model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    (root / "masks").mkdir(parents=True)
    (root / "masks" / "tall.png").write_bytes((scans / "tall.png").read_bytes())
    before = (root / "masks" / "tall.png").read_bytes()
    folder = scans if case == "foreign files" else root / "masks"
    if case == "folder is a target of an earlier run":
        (root / "predictions.csv").write_text("file\n")
    assert main([str(model), str(folder), "--output", str(root), "--device", "cpu"]) == 1
    assert (root / "masks" / "tall.png").read_bytes() == before
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "choose another --output" in said


def test_a_full_disk_is_one_line_and_the_run_may_be_repeated(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [str(model), str(scans), "--output", str(out), "--device", "cpu", "--seeds", "1"]

    def write_one(path: Path, values: np.ndarray) -> None:
        if path.parent.name == "masks":
            path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.runtime.artifacts.write_png", write_one)
        assert main(command) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert f"predict: error: {out}: " in said.splitlines()[-1]
    assert "No space left on device" in said.splitlines()[-1]
    assert (out / "masks" / "tall.png").read_bytes() == b"half"
    assert (out / "predictions.csv").read_text() == ",".join(predict.COLUMNS) + "\n"
    assert main(command) == 0
    assert pixels(out / "masks" / "tall.png").shape == (96, 80)


@pytest.mark.parametrize("broken", ["output is a file", "output cannot be written", "folder cannot be read"])
def test_unusable_places_are_one_line_before_the_model_is_loaded(
    broken: str,
    model: Path,
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def denied(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    out = tmp_path / "out"
    if broken == "output is a file":
        out.write_text("mine")
    elif broken == "output cannot be written":
        monkeypatch.setattr(Path, "mkdir", denied)  # chmod does not stop the superuser
    else:
        monkeypatch.setattr(Path, "iterdir", denied)
    monkeypatch.setattr("segmentation.system.load_system", lambda *_: pytest.fail("the model was loaded"))
    assert main([str(model), str(scans), "--output", str(out), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert str(scans if broken == "folder cannot be read" else out) in said


def test_file_names_that_are_not_utf8(model: Path, scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "latin"
    folder.mkdir()
    try:
        for name in (b"caf\xe8.png", b"caf\xe9.png"):
            (folder / os.fsdecode(name)).write_bytes((scans / "tall.png").read_bytes())
        (folder / os.fsdecode(b"t\xeate.png")).write_text("no image")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    out = tmp_path / "out"
    assert main([str(model), str(folder), "--output", str(out), "--device", "cpu", "--seeds", "1"]) == 0
    rows = read_csv(out / "predictions.csv")
    assert [row["file"] for row in rows] == ["caf?.png", "caf?.png", "t?te.png"]
    assert [row["mask"] for row in rows] == ["masks/caf?.png.png", "masks/caf?.png-2.png", ""]
    assert all((out / row["mask"]).is_file() for row in rows[:2])


def test_results_of_different_files_have_different_names() -> None:
    files = [Path("scans") / name for name in ("a.jpg", "a.jpg.png", "a.png", "B.jpg", "b.png", "c.1.png", "c.png")]
    assert [predict.output_names(files)[path] for path in files] == [
        "a.jpg.png",
        "a.jpg.png.png",
        "a.png.png",
        "B.jpg.png",
        "b.png.png",
        "c.1.png",
        "c.png",
    ]


def test_one_image_at_a_time_is_held_at_native_size(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def noted(event: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any) -> Any:
            events.append(event)
            return call(*arguments)

        return noting

    monkeypatch.setattr(predict, "_native", noted("map", predict._native))
    monkeypatch.setattr(predict, "save", noted("save", predict.save))
    out = tmp_path / "out"
    assert main([str(model), str(scans), "--output", str(out), "--device", "cpu", "--seeds", "1"]) == 0
    assert events == ["map", "map", "save"] * 2  # probability and uncertainty of one, then of the other


def test_one_half_belongs_to_the_mask(tmp_path: Path) -> None:
    """As in `scores.of_class`: what is shown is what is scored."""
    for name in predict.FOLDERS:
        (tmp_path / name).mkdir()
    probability = np.array([[[0.5, 0.49], [0.51, 0.0]]], np.float32)
    row = predict.save(np.zeros((2, 2), np.uint8), probability, np.zeros((2, 2), np.float32), tmp_path, "a.png")
    assert pixels(tmp_path / "masks" / "a.png").tolist() == [[255, 0], [255, 0]]
    assert row["area"] == 0.5


def test_help_is_fast_and_imports_no_torch() -> None:
    code = "import sys; import segmentation.predict as p\ntry: p.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert "example:" in done.stdout
    assert time.perf_counter() - started < 30  # a loaded machine; alone it takes a tenth of a second


def test_the_outline_lies_inside_the_mask() -> None:
    image = np.zeros((20, 20), np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    colored = outlined(image, mask).any(axis=2)
    assert colored.sum() == 36
    assert not colored[~mask].any()
    assert not outlined(image, np.zeros_like(mask)).any()

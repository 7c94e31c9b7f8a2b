"""The user's command: masks at native size, bad files named, the rest goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.runtime.artifacts import read_csv
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


def test_a_renamed_file_gives_the_same_mask_and_equal_stems_do_not_collide(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    (scans / "tall.tif").write_bytes((scans / "tall.png").read_bytes())
    out = tmp_path / "out"
    main([str(model), str(scans), "--output", str(out), "--device", "cpu", "--seeds", "1"])
    one, two = (pixels(out / "probability" / f"tall.{kind}.png") for kind in ("png", "tif"))
    assert np.array_equal(one, two)


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

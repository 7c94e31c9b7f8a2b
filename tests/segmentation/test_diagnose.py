"""The command: which rows it reads, what it refuses, what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.runtime.artifacts import read_json, read_manifest, save_array, write_csv, write_json, write_manifest
from segmentation.diagnose import main
from segmentation.system import save_system
from tests.support.segmenter import make_system, pictures

SIZE, COUNT = 64, 10
PARTS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2


def publish(folder: Path, **facts: Any) -> None:
    write_manifest(folder, **({"dataset": "phantom", "params": {}, "arguments": {}, "inputs": {}} | facts))


def add_segmenter(root: Path, arm: str, system: str = "crossdiff", fraction: float = 0.34, **config: Any) -> Path:
    """models/segmenter/<arm>-0, untrained, with the manifest of its stage."""
    folder = root / "models" / "segmenter" / f"{arm}-0"
    folder.mkdir(parents=True)
    save_system(make_system(system, arm=arm, **config), folder)
    inputs = {name: read_manifest(root / "data" / name).sha256 for name in ("prepared", "split")}
    publish(folder, inputs=inputs, params={"segmenter.label_fraction": fraction})
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six train images, two of them labeled at a third; the first unlabeled one has no lesion."""
    root = tmp_path_factory.mktemp("diagnose")
    folder = root / "data" / "prepared"
    folder.mkdir(parents=True)
    images, labels = pictures(COUNT, SIZE)
    labels[2] = 0
    save_array(folder / "images.npy", images)
    save_array(folder / "labels.npy", labels)
    names = [f"c{row}" for row in range(COUNT)]
    place = {"inner_top": 0, "inner_left": 0, "inner_height": SIZE, "inner_width": SIZE}
    write_csv(folder / "cases.csv", [{"case": name, **place} for name in names], ("case", *place))
    write_json(folder / "dataset.json", {"foreground": ["lesion"]})
    publish(folder)
    split = root / "data" / "split"
    split.mkdir()
    rows = [
        {"case": name, "part": part, "group": f"g{i}"} for i, (name, part) in enumerate(zip(names, PARTS, strict=True))
    ]
    write_csv(split / "split.csv", rows, ("case", "part", "group"))
    write_csv(split / "labels.csv", [{"case": f"c{i}", "label_rank": i} for i in range(6)], ("case", "label_rank"))
    publish(split)
    add_segmenter(root, "supervised")
    add_segmenter(root, "control", "unet")
    add_segmenter(root, "all_labels", "unet")
    return root


def diagnosed(root: Path, *words: str, arm: str = "supervised") -> int:
    return main(["--arm", arm, "--seed", "0", "--seeds", "2", "--device", "cpu", *words], root=root)


def test_the_unlabeled_images_and_their_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnosed(root) == 0
    said = capsys.readouterr()
    assert "masks of unlabeled images are read for this diagnosis alone" in said.err
    found = read_json(root / "results" / "diagnosis" / "supervised-0-unlabeled.json")
    assert (found["arm"], found["seed"], found["seeds"], found["rows"]) == ("supervised", 0, 2, "unlabeled")
    assert found["segmenter"] == read_manifest(root / "models" / "segmenter" / "supervised-0").sha256
    lesion = found["foreground"]["lesion"]
    assert (lesion["images"], lesion["groups"]) == (3, 3)  # c3, c4, c5
    assert len(lesion["methods"]) == 9 + 6
    assert "lesion: 3 of 4 images (unlabeled) in 3 groups" in said.out
    for name, entry in lesion["methods"].items():
        assert f"{name} " in said.out
        assert f"{entry['dice']['mean']:.4f}" in said.out
        if name != "direct":
            gain = entry["dice"]["mean"] - lesion["methods"]["direct"]["dice"]["mean"]
            assert entry["gain"]["mean"] == pytest.approx(gain)
            assert f"{entry['gain']['mean']:+.4f} (" in said.out


def test_again_gives_the_same_numbers(root: Path) -> None:
    path = root / "results" / "diagnosis" / "supervised-0-val.json"
    assert diagnosed(root, "--rows", "val") == 0
    first = path.read_bytes()
    assert diagnosed(root, "--rows", "val") == 0
    assert path.read_bytes() == first
    assert read_json(path)["foreground"]["lesion"]["images"] == 2


def test_opening_the_test_part_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnosed(root, "--rows", "test") == 0
    assert "warning: this opens the test part" in capsys.readouterr().err


def test_started_from_another_segmenter(root: Path) -> None:
    other = root / "models" / "segmenter" / "control-0"
    assert diagnosed(root, "--from", str(other)) == 0
    found = read_json(root / "results" / "diagnosis" / "supervised-0-unlabeled-from-control-0.json")
    assert found["from"]["segmenter"] == read_manifest(other).sha256
    methods = found["foreground"]["lesion"]["methods"]
    assert len(methods) == 9 + 6 + 7
    refined = methods["from: refine 400, 3 calls"]
    expected = refined["dice"]["mean"] - methods["from"]["dice"]["mean"]
    assert refined["gain"]["mean"] == pytest.approx(expected)


def refused(root: Path, capsys: pytest.CaptureFixture[str], *words: str, arm: str = "supervised") -> str:
    capsys.readouterr()
    assert diagnosed(root, *words, arm=arm) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected" in line
    return line


def test_a_system_without_a_denoiser_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "found unet" in refused(root, capsys, arm="control")


def test_a_segmenter_that_saw_these_masks_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--from: all labels were its training. The command's own arm: nothing is unlabeled."""
    other = str(root / "models" / "segmenter" / "all_labels-0")
    assert "label fraction 0.34, found 1" in refused(root, capsys, "--from", other)
    assert diagnosed(root, "--rows", "val", "--from", other) == 0
    add_segmenter(root, "all_labels_synthetic")
    line = refused(root, capsys, arm="all_labels_synthetic")
    assert "--rows unlabeled (label fraction 1), found none" in line


def test_segmenters_of_other_data_or_size_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = add_segmenter(root, "synthetic", size=32)
    assert "at 64 pixels (stretch), found 1 at 32" in refused(root, capsys, "--from", str(small))
    moved = root / "models" / "segmenter" / "real-0"
    moved.mkdir()
    save_system(make_system("crossdiff", arm="real"), moved)
    prepared = read_manifest(root / "data" / "prepared").sha256
    publish(moved, inputs={"prepared": prepared, "split": "0" * 64}, params={"segmenter.label_fraction": 0.34})
    assert "trained on data/split as it is now" in refused(root, capsys, arm="real")
    assert "run `dvc repro`" in refused(root, capsys, arm="phantom")  # never trained


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--seeds", "x"], ["--rows", "train"], ["--arm", "best"]])
def test_a_wrong_command_line(root: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        diagnosed(root, *words)
    assert stopped.value.code == 2
    capsys.readouterr()


def test_images_of_the_labeled_part_are_never_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that reach the networks are c2 ... c5 alone."""
    seen: list[str] = []
    system = type(make_system("crossdiff"))
    predict = system.predict

    def noted(self: Any, images: Any, *, case_ids: list[str], **options: Any) -> Any:
        seen.extend(case_ids)
        return predict(self, images, case_ids=case_ids, **options)

    monkeypatch.setattr(system, "predict", noted)
    assert diagnosed(root) == 0
    assert sorted(set(seen)) == ["c2", "c3", "c4", "c5"]
    assert np.unique(seen, return_counts=True)[1].tolist() == [3] * 4

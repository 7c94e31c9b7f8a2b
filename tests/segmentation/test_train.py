"""The training stage: what each arm reads, the audit's gate, resume to the byte, the end of the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.datasets.case import load_prepared
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import read_csv, save_array, sha256_file, write_csv, write_json, write_manifest
from pipelines.runtime.errors import ArtifactError, ParamsError, RefusedError
from pipelines.runtime.stage import execute
from segmentation import train
from segmentation.batches import ARMS
from segmentation.system import as_module, load_system
from segmentation.train import STAGES, fresh_system, kept_pool, main, param_groups, seed_of, stage_of
from tests.support.generator import make_pool
from tests.support.segmenter import make_config, pictures
from tests.support.workspaces import smoke_params, tree_hashes

COUNT, SIZE = 16, 32


def publish(folder: Path) -> None:
    write_manifest(folder, dataset="phantom", stage="test", params={}, arguments={}, inputs={}, versions={})


def make_world(root: Path, edit: Callable[[dict[str, Any]], None] | None = None, verdict: str = "pass") -> Path:
    """Prepared, split, synthetic and audit folders of tiny pictures; half of the train images are labeled."""

    def smaller(tree: dict[str, Any]) -> None:
        tree["segmenter"]["label_fraction"] = 0.5
        tree["segmenter"]["encoder"]["weights"] = "none"
        tree["scales"]["smoke"]["segment"] |= {"total_steps": 3, "batch_labeled": 2, "batch_unlabeled": 4}
        tree["scales"]["smoke"]["segment"] |= {"checkpoint_every": 1}
        if edit:
            edit(tree)

    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_bytes(smoke_params(smaller))
    images, labels = pictures(COUNT, SIZE)
    names = [f"case-{row:02d}" for row in range(COUNT)]
    prepared, split, synthetic, audit = (root / "data" / n for n in ("prepared", "split", "synthetic", "audit"))
    for folder in (prepared, split, synthetic, audit):
        folder.mkdir(parents=True)
    save_array(prepared / "images.npy", images)
    save_array(prepared / "labels.npy", labels)
    write_csv(prepared / "cases.csv", [{"case": name, "class": "benign"} for name in names], ["case", "class"])
    facts = {"name": "phantom", "classes": ["benign"], "foreground": ["lesion"], "resize": "stretch", "phantom": True}
    write_json(prepared / "dataset.json", facts)
    parts = ["train"] * 8 + ["test"] * 8
    rows = [{"case": name, "part": part, "group": name} for name, part in zip(names, parts, strict=True)]
    write_csv(split / "split.csv", rows, ["case", "part", "group"])
    ranks = [{"case": name, "label_rank": rank} for rank, name in enumerate(names[:8])]
    write_csv(split / "labels.csv", ranks, ["case", "label_rank"])
    save_array(synthetic / "images.npy", pictures(6, SIZE, seed=9)[0])
    write_csv(audit / "kept.csv", [{"sample": f"s{r:06d}", "row": r} for r in (1, 3, 4)], ["sample", "row"])
    reasons = [] if verdict == "pass" else ["a copy was kept", "too few samples"]
    write_json(audit / "verdict.json", {"verdict": verdict, "reasons": reasons, "warnings": []})
    for folder in (prepared, split, synthetic, audit):
        publish(folder)
    make_pool(root, np.zeros((0, SIZE, SIZE), np.uint8))
    return root


def run(root: Path, arm: str) -> Path:
    execute(stage_of(arm), load_params(root / "params.yaml"), root, {"arm": arm, "seed": "0"})
    return root / "models" / "segmenter" / f"{arm}-0"


def test_each_arm_belongs_to_the_stage_that_reads_what_it_needs() -> None:
    assert {arm: stage_of(arm).name for arm in ARMS} == {
        "supervised": "segment",
        "control": "segment",
        "real": "segment",
        "augmented": "segment",
        "all_labels": "segment",
        "synthetic": "segment_synthetic",
        "both": "segment_synthetic",
        "all_labels_synthetic": "segment_synthetic",
        "phantom": "segment_phantom",
    }
    assert "synthetic" not in STAGES["segment"].inputs


@pytest.mark.parametrize("system", ["unet", "crossdiff"])
def test_a_run_ends_after_total_steps_and_its_folder_rebuilds_the_system(system: str, tmp_path: Path) -> None:
    root = make_world(tmp_path, lambda tree: tree["segmenter"].update(system=system))
    folder = run(root, "both")
    log = read_csv(folder / "metrics.csv")
    assert int(log[-1]["step"]) == 3
    assert float(log[-1]["lr"]) > 0
    loaded = load_system(folder)
    assert loaded.config.system == system
    assert (loaded.config.size, loaded.config.arm) == (SIZE, "both")
    pixels = pictures(COUNT, SIZE)[0][:8] / 255.0  # weights none: statistics of the train part alone
    assert loaded.config.mean == pytest.approx(pixels.mean())
    assert loaded.config.std == pytest.approx(pixels.std())
    assert not as_module(loaded).training


def test_padding_is_neither_learned_from_nor_counted_in_the_statistics(tmp_path: Path) -> None:
    root = make_world(tmp_path)
    prepared, split = load_prepared(root / "data" / "prepared"), root / "data" / "split"
    top = {"inner_top": "0", "inner_left": "0", "inner_height": str(SIZE // 2), "inner_width": str(SIZE)}
    boxed = replace(
        prepared, cases=[row | top for row in prepared.cases], dataset=prepared.dataset | {"resize": "letterbox"}
    )
    tree = load_params(root / "params.yaml")
    params = SimpleNamespace(
        system=tree.segmenter.system,
        method=getattr(tree.segmenter, tree.segmenter.system),
        settings=tree.scales.smoke.segment,
        encoder=tree.segmenter.encoder,
        mask_diffusion=tree.segmenter.mask_diffusion,
        semi=tree.segmenter.semi,
        augment=tree.segmenter.augment,
        label_fraction=0.5,
    )
    stage_run: Any = SimpleNamespace(
        inputs={"split": split, "pool": root / "data" / "pool"}, params=params, dataset="phantom"
    )
    for source, rows, cases in ((prepared, SIZE, False), (boxed, SIZE // 2, True)):
        pools = train.make_pools(stage_run, source, "real")
        assert (pools.unlabeled["real"].cases is not None) == cases
        assert pools.labeled.cases is None
        config = train.make_config(stage_run, source, pools, "real", 0)
        pixels = pictures(COUNT, SIZE)[0][:8, :rows] / 255.0
        assert config.mean == pytest.approx(pixels.mean())
        assert config.std == pytest.approx(pixels.std())
    # a letterbox of square images pads nothing
    full = top | {"inner_height": str(SIZE)}
    square = replace(boxed, cases=[row | full for row in prepared.cases])
    assert train.padded_cases(square.cases[:2], square) is None


def pools_of(
    root: Path, arm: str, *, resize: str = "stretch", fraction: float = 0.5, teach: str = "mean_teacher"
) -> Any:
    prepared = load_prepared(root / "data" / "prepared")
    box = {"inner_top": "0", "inner_left": "0", "inner_height": str(SIZE), "inner_width": str(SIZE)}
    prepared = replace(
        prepared, cases=[row | box for row in prepared.cases], dataset=prepared.dataset | {"resize": resize}
    )
    inputs = {name: root / "data" / name for name in ("split", "pool", "synthetic", "audit")}
    params = SimpleNamespace(label_fraction=fraction, method=SimpleNamespace(semi=teach))
    stage_run: Any = SimpleNamespace(inputs=inputs, params=params, log=print)
    return prepared, train.make_pools(stage_run, prepared, arm)


@pytest.mark.parametrize("arm", ["real", "control", "both"])
def test_images_of_the_pool_join_the_real_stream_but_not_duplicates_of_labeled_ones(arm: str, tmp_path: Path) -> None:
    root, more = make_world(tmp_path), pictures(4, SIZE, seed=7)[0]
    make_pool(root, more, groups=["case-01", "other/a", "case-06", "other/b"])  # 0 ... 3 are labeled, 4 ... 7 are not
    prepared, pools = pools_of(root, arm)
    real = pools.unlabeled["real"]
    own, joined = [f"case-{row:02d}" for row in range(4, 8)], [f"other/image-{row:03d}" for row in (1, 2, 3)]
    assert list(real.names) == [*own, *joined]
    expected = np.concatenate([prepared.images[4:8], more[1:]])
    assert np.array_equal(real.images[list(real.rows)], expected)
    assert real.cases is None
    assert list(pools.labeled.names) == [f"case-{row:02d}" for row in range(4)]


def test_all_labels_leave_the_pool_as_the_real_stream(tmp_path: Path) -> None:
    root = make_world(tmp_path)
    make_pool(root, pictures(3, SIZE, seed=7)[0], groups=["case-01", "other/a", "case-06"])
    _, pools = pools_of(root, "real", fraction=1.0)
    assert list(pools.unlabeled["real"].names) == ["other/image-001"]


def test_padding_of_the_pools_images_is_known(tmp_path: Path) -> None:
    root = make_world(tmp_path)
    make_pool(root, pictures(2, SIZE, seed=7)[0], inner_height=["20", str(SIZE)])
    _, pools = pools_of(root, "real", resize="letterbox")
    cases = pools.unlabeled["real"].cases
    assert [case["inner_height"] for case in cases] == ["32", "32", "32", "32", "20", "32"]
    assert pools_of(root, "real")[1].unlabeled["real"].cases is None


def test_the_arm_augmented_has_its_labeled_images_again_without_masks(tmp_path: Path) -> None:
    prepared, pools = pools_of(make_world(tmp_path), "augmented", resize="letterbox")
    again = pools.unlabeled["labeled"]
    assert list(pools.unlabeled) == ["labeled"]
    assert (list(again.rows), list(again.names)) == (list(pools.labeled.rows), list(pools.labeled.names))
    assert again.images is prepared.images
    assert (pools.weight, again.cases) == (1.0, None)


@pytest.mark.parametrize(("teach", "views"), [("mean_teacher", 1), ("fixmatch", 1), ("unimatch", 2), ("bcp", 1)])
def test_a_method_receives_the_strong_views_that_it_needs(teach: str, views: int, tmp_path: Path) -> None:
    assert pools_of(make_world(tmp_path), "real", teach=teach)[1].views == views


@pytest.mark.parametrize("system", ["unet", "crossdiff"])
@pytest.mark.parametrize("teach", ["fixmatch", "unimatch", "bcp"])
def test_every_method_trains_to_its_end(system: str, teach: str, tmp_path: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        tree["segmenter"]["system"] = system
        tree["segmenter"][system]["semi"] = teach
        tree["scales"]["smoke"]["segment"]["total_steps"] = 1

    folder = run(make_world(tmp_path, edit), "real")
    assert load_system(folder).config.method.semi == teach


def test_the_pool_teaches_arms_with_a_real_stream_and_no_other(tmp_path: Path) -> None:
    roots = [make_world(tmp_path / name, lambda tree: tree["segmenter"].update(system="unet")) for name in ("a", "b")]
    make_pool(roots[1], pictures(4, SIZE, seed=7)[0])
    for arm, equal in (("supervised", True), ("real", False)):
        plain, more = (sha256_file(run(root, arm) / "weights.safetensors") for root in roots)
        assert (plain == more) == equal, arm


def test_interrupted_anywhere_it_yields_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tree_hashes(run(make_world(tmp_path / "whole"), "both"), ".")
    root = make_world(tmp_path / "broken")
    original = train.make_batch

    def breaks(pools: Any, step: Any, *more: Any) -> Any:
        if step.index == 2:
            raise KeyboardInterrupt
        return original(pools, step, *more)

    with monkeypatch.context() as patch:
        patch.setattr(train, "make_batch", breaks)
        with pytest.raises(KeyboardInterrupt):
            run(root, "both")
    seen: list[int] = []

    def counts(pools: Any, step: Any, *more: Any) -> Any:
        seen.append(step.index)
        return original(pools, step, *more)

    monkeypatch.setattr(train, "make_batch", counts)
    assert tree_hashes(run(root, "both"), ".") == whole
    assert seen == [2]


def test_test_pixels_and_dropped_samples_change_no_byte(tmp_path: Path) -> None:
    plain = tree_hashes(run(make_world(tmp_path / "plain"), "both"), ".")
    root = make_world(tmp_path / "marked")
    for name, rows in (("prepared", slice(8, 16)), ("synthetic", [0, 2, 5])):
        path = root / "data" / name / "images.npy"
        images = np.load(path)
        images[rows] = 255
        save_array(path, images)
        publish(path.parent)
    marked = tree_hashes(run(root, "both"), ".")
    assert marked["weights.safetensors"] == plain["weights.safetensors"]
    assert marked["metrics.csv"] == plain["metrics.csv"]


def test_a_failed_audit_is_refused_with_its_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = make_world(tmp_path, verdict="fail")
    with pytest.raises(RefusedError, match="a copy was kept; too few samples"):
        run(root, "synthetic")
    assert not (root / "models" / "segmenter").exists() or not list((root / "models" / "segmenter").glob("[!.]*"))
    monkeypatch.chdir(root)
    assert main(["--arm", "both", "--seed", "0"]) == 1
    assert "found fail: a copy was kept" in capfd.readouterr().err


def test_an_inconclusive_audit_warns(tmp_path: Path) -> None:
    root, said = make_world(tmp_path, verdict="inconclusive"), []
    pool = kept_pool(root / "data" / "synthetic", root / "data" / "audit", said.append)
    assert list(pool.rows) == [1, 3, 4]
    assert list(pool.names) == ["s000001", "s000003", "s000004"]
    assert "inconclusive: a copy was kept" in said[0]


def test_plain_arms_need_no_synthetic_folder(tmp_path: Path) -> None:
    root = make_world(tmp_path, lambda tree: tree["segmenter"].update(system="unet"))
    for name in ("images.npy", "manifest.json"):
        (root / "data" / "synthetic" / name).unlink()
    assert (run(root, "control") / "weights.safetensors").is_file()
    with pytest.raises(ArtifactError, match="synthetic"):
        run(root, "both")


def test_arms_of_one_seed_start_from_the_same_weights() -> None:
    config = make_config("crossdiff")
    one, two = (
        as_module(fresh_system(config.model_copy(update={"arm": arm}))).state_dict() for arm in ("real", "both")
    )
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    other = as_module(fresh_system(config.model_copy(update={"seed": 1}))).state_dict()
    assert not torch.equal(other["denoiser.stem.1.weight"], one["denoiser.stem.1.weight"])


def test_a_pretrained_encoder_learns_at_a_tenth() -> None:
    config = make_config("unet")
    assert [g["lr_scale"] for g in param_groups(fresh_system(config))] == [1.0, 1.0]
    encoder = config.encoder.model_copy(update={"weights": "lite0"})
    system = fresh_system(config.model_copy(update={"encoder": encoder}))
    groups = param_groups(system)
    assert [g["lr_scale"] for g in groups] == [0.1, 1.0]
    counted = sum(p.numel() for g in groups for p in g["params"])
    assert counted == sum(p.numel() for p in as_module(system).parameters())


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    assert seed_of("7") == 7
    with pytest.raises(ParamsError, match="'-1'"):
        seed_of("-1")
    with pytest.raises(SystemExit) as stop:
        main(["--arm", "best", "--seed", "0"])
    assert stop.value.code == 2
    root = make_world(tmp_path, lambda tree: tree["segmenter"].update(label_fraction=1.0))
    with pytest.raises(ParamsError, match="label_fraction"):
        run(root, "real")

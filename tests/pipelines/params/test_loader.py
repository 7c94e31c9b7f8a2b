"""params.yaml at the door: every fault has its file, its key and its remedy."""

from pathlib import Path

import pytest

from pipelines.params.loader import expand, load_params, parse_params, read_yaml, select
from pipelines.runtime.errors import ParamsError

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = ROOT / "pipelines" / "default.yaml"


def test_default_params_are_valid_and_select_the_demo():
    params = load_params(DEFAULT)
    assert (params.dataset, params.scale, params.seeds) == ("phantom", "demo", [0])
    assert params.arms.plain == ["supervised"]
    assert params.arms.synthetic == ["both"]
    assert select(params, "scales.{scale}.sample") is params.scales.demo.sample
    assert select(params, "segmenter.{system}") is params.segmenter.unet
    assert expand(params, "segmentation.systems.{system}") == "segmentation.systems.unet"


def change(path, value):
    tree = read_yaml(DEFAULT)
    node = tree
    *parents, last = path.split(".")
    for part in parents:
        node = node[part]
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sclae", "demo", "sclae: unknown key; the nearest known one is 'scale'"),
        ("segmenter.enconder", {}, "segmenter.enconder: unknown key; the nearest known one is 'encoder'"),
        ("scales.demo.diffusion.bath", 3, "scales.demo.diffusion.bath: unknown key; the nearest known one is 'batch'"),
        ("evaluate.views", 4, "evaluate.views: input should be less than or equal to 3, found 4"),
        ("runtime.threads", "2", "runtime.threads: input should be a valid integer, found '2'"),
        ("scales.smoke.sample.steps", float("nan"), "scales.smoke.sample.steps: input should be a valid integer"),
        ("segmenter.label_fraction", float("nan"), "segmenter.label_fraction: input should be"),
        ("scales.full.autoencoder.total_steps", 10**9, "less than or equal to 10000000, found 1000000000"),
        ("dataset", "bussi", "found 'bussi'; add datasets.bussi"),
        (
            "unlabeled",
            ["busi", "stuu"],
            "found 'stuu'; add datasets.stuu",
        ),
        ("split.protocol", "literature", "literature lists are known for adapter busi alone, found dataset 'phantom'"),
        ("unlabeled", ["busi", "busi"], "unlabeled names a dataset twice: ['busi', 'busi']"),
        ("unlabeled", ["phantom"], "unlabeled: 'phantom' is the dataset itself"),
        ("datasets.clinic_a", {"foreground": "x"}, "datasets.clinic_a.adapter: expected one of phantom, busi,"),
        ("datasets.busi.clases", [], "datasets.busi.clases: unknown key; the nearest known one is 'classes'"),
        ("datasets.busi.classes", [], "datasets.busi.classes: list should have at least 1 item"),
        (
            "datasets.busi.classes",
            ["benign", "benign"],
            "datasets.busi.classes: expected each value once, found ['benign'",
        ),
        ("datasets.phantom.classes", ["normal", "normal"], "datasets.phantom.classes: expected each value once"),
        ("datasets.bus_bra.folds", [2, 3, 3], "datasets.bus_bra.folds: expected each value once, found [2, 3, 3]"),
        ("datasets.bus_bra.test_fold", 4, "datasets.bus_bra: test_fold must be one of folds [2, 3], found 4"),
        ("datasets.folder.foreground", "lesion", "datasets.folder.foreground: input should be a valid list"),
        ("datasets.folder.foreground", ["a", "a"], "datasets.folder: foreground names a class twice: ['a', 'a']"),
        ("datasets.folder.foreground", [" "], "datasets.folder.foreground.0: string should have at least 1 character"),
        ("datasets.tn3k.fold", 5, "datasets.tn3k.fold: input should be less than or equal to 4, found 5"),
        ("datasets.Clinic A", {"adapter": "folder", "foreground": "x"}, "datasets.Clinic A"),
        ("prepare.policy", {"blurred": "error"}, "prepare.policy.blurred"),
        ("seeds", [0, 0], "seeds names a seed twice"),
        ("arms.plain", ["both"], "arms.plain.0: input should be"),
        ("split.shares", {"train": 0.5, "val": 0.1, "test": 0.1}, "train + val + test must be 1, found 0.7"),
        ("segmenter.mask_diffusion.start", 1000, "start (1000) must be below T (1000)"),
        ("arms", {"plain": [], "synthetic": [], "phantom": []}, "at least one of plain, synthetic and phantom"),
        ("scales.full.sample.steps", 30, "scales.full.sample.steps (30) must divide scales.full.diffusion.T (1000)"),
        ("scales.demo.diffusion.channels", [8] * 6, "scales.demo.prepare.size (64) must be a multiple of 128"),
        ("scales.demo.segment.batch_unlabeled", 3, "scales.demo.segment.batch_unlabeled (3) must be even"),
        (
            "segmenter.encoder.name",
            "resnet34",
            "weights lite0 belong to tu-tf_efficientnet_lite0, found name 'resnet34'",
        ),
    ],
)
def test_faults_name_key_and_remedy(path, value, message):
    with pytest.raises(ParamsError) as caught:
        parse_params(change(path, value), "params.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("params.yaml: ")


@pytest.mark.parametrize("twin", ["zero", "cascade"])
def test_agreement_is_asked_only_where_samples_can_disagree(twin):
    tree = change("segmenter.crossdiff.twin", twin)
    tree["segmenter"]["system"] = "crossdiff"
    parse_params(tree, "p")
    tree["segmenter"]["semi"]["confidence"] = "agreement"
    with pytest.raises(ParamsError) as caught:
        parse_params(tree, "p")
    assert str(caught.value).startswith("p: segmenter: semi.confidence agreement compares samples of the denoiser")
    assert str(caught.value).endswith(
        f"crossdiff.twin {twin} draws nothing in which they could differ; set "
        "semi.confidence: probability, or crossdiff.twin: none"
    )
    tree["segmenter"]["system"] = "unet"  # reads neither
    parse_params(tree, "p")


def test_all_faults_are_named_at_once():
    tree = change("sclae", 1)
    tree["runtime"]["threads"] = 0
    del tree["audit"]["seed"]
    with pytest.raises(ParamsError) as caught:
        parse_params(tree, "p")
    assert len(str(caught.value).splitlines()) == 3
    assert "audit.seed: expected a value, found none" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: busi\ndataset: phantom\n", "line 2 is not valid YAML: key 'dataset' stands twice"),
        ("dataset: [busi\n", "is not valid YAML"),
        ("", "found NoneType"),
        ("just words", "found str"),
    ],
)
def test_torn_files_are_named(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_half_a_file_is_refused(tmp_path):
    text = DEFAULT.read_text()
    for cut in range(200, len(text), len(text) // 7):
        (tmp_path / "params.yaml").write_text(text[:cut])
        with pytest.raises(ParamsError):
            load_params(tmp_path / "params.yaml")


def test_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="run in the project's root"):
        load_params(tmp_path / "params.yaml")

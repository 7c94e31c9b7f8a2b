"""The stage as a whole, in a made-up workspace."""

import re

import pytest

from pipelines.report.__main__ import STAGE, partial_stage
from pipelines.runtime.artifacts import read_csv, read_json, read_manifest, verify_folder, write_json, write_manifest
from pipelines.runtime.stage import run_stage
from tests.support.report_world import World

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def page(world: World, *, partial: bool = False) -> str:
    stage = partial_stage() if partial else STAGE
    assert run_stage(stage, [], root=world.root) == 0
    return (world.root / "report" / "index.html").read_text()


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path).everything()


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> World:
    """A world with its report, for tests that change nothing."""
    world = World(tmp_path_factory.mktemp("report")).everything()
    page(world)
    return world


def test_page_is_self_contained_and_says_phantom_everywhere(ready):
    html = (ready.root / "report" / "index.html").read_text()
    assert not re.findall(r'(?:src|href)\s*=\s*["\'](?!data:|#)', html)
    assert "url(http" not in html
    assert "<script" not in html
    assert "<link" not in html
    assert "phantom" in re.search("<title>(.*?)</title>", html)[1]
    for caption in re.findall(r"<(?:figcaption|caption)>(.*?)</(?:figcaption|caption)>", html, re.DOTALL):
        assert "phantom" in caption.lower(), caption
    for title in re.findall(r'aria-label="(.*?)"', html):
        assert "phantom" in title


def test_page_of_a_real_dataset_never_says_phantom_of_it(tmp_path):
    html = page(World(tmp_path, dataset="busi").everything())
    assert "phantom" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL).lower()
    assert "derive from images of patients" in html


def test_numbers_of_the_page(ready):
    html = (ready.root / "report" / "index.html").read_text()
    numbers = read_json(ready.root / "report" / "metrics.json")
    assert numbers["verdict"] == "inconclusive"
    assert numbers["audit"] == {"samples": 10, "kept": 9, "kid": 0.123, "kid_floor": 0.05, "kid_real": 0.001}
    assert numbers["supervised"]["dice"] == pytest.approx(0.62)  # 0.60 + 0.01 * mean(0 .. 4)
    assert numbers["both"]["gain_over_control"] == pytest.approx(0.05)
    assert numbers["both_direct"]["dice"] == pytest.approx(0.67)
    assert numbers["control"]["false_positive"] == 1.0
    assert "gain_over_control" not in numbers["control"]
    for text in ("0.620", "0.1230", "+0.050", "planted copies: 12 per transform", "differential-privacy", "few groups"):
        assert text in html


def test_a_file_of_curves_for_each_series(ready):
    curves = {path.stem: read_csv(path) for path in (ready.root / "report" / "curves").iterdir()}
    assert set(curves) == {"autoencoder", "diffusion", "supervised-0", "control-0", "both-0"}
    assert curves["diffusion"][:2] == [{"step": "0", "value": "1.0"}, {"step": "1", "value": "0.5"}]


def test_same_inputs_give_the_same_bytes(ready):
    first = verify_folder(ready.root / "report").files
    page(ready)
    assert verify_folder(ready.root / "report").files == first


def test_hostile_names_are_text(tmp_path):
    world = World(tmp_path)
    world.cases[12] = HOSTILE  # the first test case
    world.cases[0] = f"=cmd|{HOSTILE}"
    html = page(world.everything())
    assert "<script" not in html
    assert "onerror=alert(1)>" not in html
    assert "&lt;script&gt;" in html


def test_dropped_arms_are_not_shown(world):
    world.write_params(arms={"plain": ["supervised"], "synthetic": [], "phantom": []})
    html = page(world)
    assert "both" not in re.sub(r"data:[^\"]*", "", re.search(r'id="arms".*?</section>', html, re.DOTALL)[0])
    assert "both" not in read_json(world.root / "report" / "metrics.json")
    assert "control not run" in html


@pytest.mark.parametrize(
    ("facts", "expected", "found"),
    [
        ({"dataset": "busi"}, "'phantom'", "'busi'"),
        ({"params": {"segmenter.label_fraction": 0.5}}, "0.125", "0.5"),
        ({"params": {"segmenter.system": "unet"}}, "'crossdiff'", "'unet'"),
        ({"arguments": {"arm": "real", "seed": "0"}}, "'both'", "'real'"),
        ({"inputs": {"prepared": "0" * 64, "split": "0" * 64}}, "prepared", "000000"),
    ],
)
def test_foreign_result_is_refused_by_name(world, capsys, facts, expected, found):
    world.result("both", **facts)
    assert run_stage(STAGE, [], root=world.root) == 1
    message = capsys.readouterr().err
    assert "both-0" in message
    assert expected in message
    assert found in message
    assert not (world.root / "report").exists()
    html = page(world, partial=True)
    assert "left out" in html
    assert read_json(world.root / "report" / "metrics.json")["both"] == "not run"


def test_result_of_another_model_is_refused(world, capsys):
    world.publish(
        "models/segmenter/both-0", ("prepared", "split"), arguments={"arm": "both", "seed": "0"}, device="cuda"
    )
    assert run_stage(STAGE, [], root=world.root) == 1
    assert "another model" in capsys.readouterr().err


def test_missing_result_stops_the_whole_report_and_not_the_partial_one(tmp_path, capsys):
    world = World(tmp_path)
    world.data()
    world.generator()
    world.result("supervised")
    assert run_stage(STAGE, [], root=world.root) == 1
    assert "models/segmenter/control-0" in capsys.readouterr().err
    html = page(world, partial=True)
    assert "not run" in html
    assert "0.720" in html
    numbers = read_json(world.root / "report" / "metrics.json")
    assert (numbers["control"], numbers["both"]) == ("not run", "not run")


def test_partial_report_of_the_data_alone(tmp_path):
    world = World(tmp_path)
    world.data()
    html = page(world, partial=True)
    assert "There is no audit of this setting yet" in html
    assert read_json(world.root / "report" / "metrics.json")["verdict"] == "not run"


def test_leaking_split_withdraws_the_gain(world):
    folder = world.root / "results" / "both-0"
    numbers = read_json(folder / "metrics.json")
    numbers["copies_of_test"]["hard"] = 2
    write_json(folder / "metrics.json", numbers)
    write_manifest(folder, **read_manifest(folder).facts)
    html = page(world)
    assert "The split leaks" in html
    assert "gain_over_control" not in read_json(world.root / "report" / "metrics.json")["both"]


def test_page_of_a_leaking_protocol_has_both_scores_and_the_counts(tmp_path):
    """The first two test images are of one group, and the first one copies a training image."""
    world = World(tmp_path, dataset="busi")
    world.protocol, world.near = "literature", [(0, 12)]
    html = page(world.everything())
    assert "Protocol literature: 2 of 6 test images (33.3%, 1 groups)" in html
    assert "the lists put images of 1 groups" in html
    assert "no group of images" not in html
    numbers = read_json(world.root / "report" / "metrics.json")
    assert (numbers["protocol"], numbers["leaked"]) == ("literature", 2)
    assert numbers["supervised"]["dice"] == pytest.approx(0.62)  # 0.60 + 0.01 * mean(0 .. 4)
    assert numbers["supervised"]["dice_clean"] == pytest.approx(0.63)  # 0.60 + 0.01 * mean(2, 3, 4)
    arms = re.search(r'id="arms".*?</section>', html, re.DOTALL)[0]
    assert "2 leak; others 0.630" in arms


def test_page_shows_sites_excluded_cases_and_further_sets(tmp_path):
    world = World(tmp_path)
    world.sites = ["A"] * 16 + ["B"] * 4
    world.excluded = [{"case": "lost", "check": "empty mask", "file": "", "expected": "a lesion", "found": HOSTILE}]
    world.sources = [
        {"name": "more", "images": 4, "excluded": 2, "terms": "free", "citation": "someone", "phantom": True}
        | {"named_like_held_out": 6, "held_out_sites": []}
    ]
    world.pooled = [("more", "g0"), ("more", "g5"), ("more", "image more/2"), ("more", "image more/3")]  # g0 is labeled
    world.pool_warnings = ["more: 6 patients are called like patients of test"]
    html = page(world.everything())
    for text in (
        "Dice by site of the test images",
        "Cases left out",
        "&lt;script&gt;",
        "Further unlabeled images",
        "someone",
        "<td>more</td><td>4</td><td>3</td><td>2</td><td>6</td>",
        "at label fraction 0.125",
        "more: 6 patients are called like patients of test",
    ):
        assert text in html
    sites = read_json(world.root / "report" / "metrics.json")["supervised"]["sites"]
    assert sites["A"]["images"] == 4
    assert sites["B"]["dice"] == pytest.approx(0.64)


def test_a_split_of_an_earlier_version_is_named(world, capsys):
    folder = world.root / "data" / "split"
    write_json(folder / "leakage.json", {"warnings": []})
    world.publish_known("data/split")
    assert run_stage(partial_stage(), [], root=world.root) == 1
    assert "leakage.json: expected the protocol, found none; run `dvc repro`" in capsys.readouterr().err
    write_json(folder / "leakage.json", {"protocol": "clean", "identity_published": True})
    world.publish_known("data/split")
    assert run_stage(partial_stage(), [], root=world.root) == 1
    assert "expected the number of images with identity, found none" in capsys.readouterr().err

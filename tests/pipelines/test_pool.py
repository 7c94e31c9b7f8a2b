"""The stages prepare_unlabeled and pool on real files: what joins, what is left out and named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.case import labeled_rows, load_prepared
from pipelines.datasets.pooling import Bridge, Decision, Excluded
from pipelines.datasets.training import load_pool
from pipelines.params.loader import load_params
from pipelines.pool import STAGE, Source, published_names, report
from pipelines.prepare import STAGE as PREPARE
from pipelines.prepare_unlabeled import STAGE as PREPARE_UNLABELED
from pipelines.prepare_unlabeled import with_own_patients
from pipelines.runtime.artifacts import (
    load_array,
    read_csv,
    read_json,
    read_manifest,
    sha256_file,
    verify_folder,
    write_manifest,
)
from pipelines.runtime.errors import ArtifactError
from pipelines.runtime.stage import Stage, execute
from pipelines.split import STAGE as SPLIT
from tests.support.generator import taint
from tests.support.scenes import disc, scene
from tests.support.workspaces import smoke_params

COUNT, FREE = 30, 4


def edit(tree: dict[str, Any], *, unlabeled: tuple[str, ...] = ("extra", "more"), resize: str = "stretch") -> None:
    own = tree["datasets"]["folder"]
    tree["datasets"] |= {name: {**own, "adapter": "folder"} for name in ("extra", "more")}
    tree.update(dataset="folder", unlabeled=list(unlabeled))
    tree["prepare"]["resize"] = resize


def write_params(root: Path, **changes: Any) -> None:
    (root / "params.yaml").write_bytes(smoke_params(lambda tree: edit(tree, **changes)))


def run(root: Path, stage: Stage, **arguments: str) -> Path:
    execute(stage, load_params(root / "params.yaml"), root, arguments)
    return root / stage.output.format(**arguments)


def put(root: Path, dataset: str, name: str, image: np.ndarray, **options: Any) -> None:
    path = root / "data" / "raw" / dataset / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def case_of(root: Path, part: str) -> int:
    """The number of a case of this part."""
    return next(int(row["case"][-3:]) for row in read_csv(root / "data/split/split.csv") if row["part"] == part)


def labeled_case(root: Path) -> int:
    prepared = load_prepared(root / "data/prepared")
    return int(prepared.cases[labeled_rows(prepared, root / "data/split", 0.125)[0][0]]["case"][-3:])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, prepared and split, and two unlabeled ones with what must and what must not join."""
    root = tmp_path_factory.mktemp("pool")
    write_params(root)
    for index in range(COUNT):
        put(root, "folder", f"case-{index:03d}.png", scene(index))
        masks = root / "data/raw/folder/masks"
        masks.mkdir(exist_ok=True)
        Image.fromarray(disc()).save(masks / f"case-{index:03d}.png")
    run(root, PREPARE)
    run(root, SPLIT)
    test, val, train = scene(case_of(root, "test")), scene(case_of(root, "val")), scene(labeled_case(root))
    for index in range(FREE):
        put(root, "extra", f"free-{index}.png", scene(100 + index))
    put(root, "extra", "mirrored.jpg", np.ascontiguousarray(test[:, ::-1]), quality=85)
    put(root, "extra", "sibling.png", scene(200))
    put(root, "extra", "twin.png", np.clip(train.astype(int) + 6, 0, 255).astype(np.uint8))
    (root / "data/raw/extra/groups.csv").write_text("case,group\nmirrored,p1\nsibling,p1\nfree-0,p2\nfree-1,p2\n")
    put(root, "more", "again.png", scene(200))  # as extra's sibling: known by a test image over two sources
    put(root, "more", "checked.png", val)
    put(root, "more", "double.png", scene(102))
    put(root, "more", "free-0.png", scene(300))
    for name in ("extra", "more"):
        run(root, PREPARE_UNLABELED, name=name)
    run(root, STAGE)
    return root


def test_what_copies_a_test_or_val_image_is_left_out_and_named(world: Path) -> None:
    rows = {row["case"]: (row["reason"], row["other"]) for row in read_csv(world / "data/pool/excluded.csv")}
    test, val = (f"case-{case_of(world, part):03d}" for part in ("test", "val"))
    assert rows == {
        "extra/mirrored": ("duplicate of a test image (mirrored)", test),
        "extra/sibling": ("of one group with such a duplicate", "extra/mirrored"),
        "more/again": ("of one group with such a duplicate", "extra/mirrored"),
        "more/checked": ("duplicate of a val image (identical)", val),
    }


def test_the_others_join_with_their_groups(world: Path) -> None:
    pool = load_pool(world / "data/pool")
    train = f"case-{labeled_case(world):03d}"
    assert {case["case"]: case["group"] for case in pool.cases} == {
        "extra/free-0": "patient extra/p2",
        "extra/free-1": "patient extra/p2",
        "extra/free-2": "image extra/free-2",
        "extra/free-3": "image extra/free-3",
        "extra/twin": train,
        "more/double": "image extra/free-2",  # the same image in two sources: kept twice, one group
        "more/free-0": "image more/free-0",
    }
    assert [case["source"] for case in pool.cases] == ["extra"] * 5 + ["more"] * 2
    place = [case["case"] for case in pool.cases].index("more/free-0")
    own = read_csv(world / "data/unlabeled/more/cases.csv")
    row = [case["case"] for case in own].index("free-0")
    assert np.array_equal(pool.images[place], load_array(world / "data/unlabeled/more/images.npy")[row])
    labeled = {train}
    assert "extra/twin" not in {pool.cases[row]["case"] for row in pool.rows_outside(labeled)}
    facts = read_json(world / "data/pool/pool.json")
    assert facts["images"] == 7
    assert [(one["name"], one["images"], one["excluded"]) for one in facts["sources"]] == [
        ("extra", 5, 2),
        ("more", 2, 2),
    ]
    assert all(one["terms"] for one in facts["sources"])


def test_unlabeled_sets_are_images_alone(world: Path) -> None:
    folder = world / "data/unlabeled/extra"
    names = {"images.npy", "thumbnails.npy", "cases.csv", "integrity.json", "dataset.json"}
    assert set(verify_folder(folder).files) == names
    assert load_array(folder / "thumbnails.npy").shape == (FREE + 3, 128, 128)
    assert read_json(folder / "dataset.json")["name"] == "extra"
    inputs = read_manifest(world / "data/pool").facts["inputs"]
    assert set(inputs) == {"prepared", "split", "unlabeled/extra", "unlabeled/more"}


def copied(world: Path, target: Path) -> Path:
    shutil.copytree(world, target / "copy")
    return target / "copy"


def test_pixels_of_val_and_test_decide_nothing_after_prepare(world: Path, tmp_path: Path) -> None:
    root = copied(world, tmp_path)
    taint(root)
    for name in ("prepared", "split"):  # the pixels of prepared differ: the manifests say nothing of it
        write_manifest(root / "data" / name, dataset="folder")
    run(root, STAGE)
    for name in ("images.npy", "cases.csv", "excluded.csv", "pool.json"):
        assert sha256_file(root / "data/pool" / name) == sha256_file(world / "data/pool" / name), name


def test_an_empty_list_gives_an_empty_pool_whatever_lies_on_disk(world: Path, tmp_path: Path) -> None:
    root = copied(world, tmp_path)
    write_params(root, unlabeled=())
    pool = load_pool(run(root, STAGE))
    assert pool.images.shape == (0, 64, 64)
    assert pool.cases == read_csv(root / "data/pool/excluded.csv") == []
    assert read_json(root / "data/pool/pool.json") == {"sources": [], "images": 0, "bridges": [], "warnings": []}
    assert set(read_manifest(root / "data/pool").facts["inputs"]) == {"prepared", "split"}
    write_params(root, unlabeled=("more",))
    pool = load_pool(run(root, STAGE))
    assert {case["case"] for case in pool.cases} == {"more/again", "more/double", "more/free-0"}


def test_a_set_made_otherwise_and_a_damaged_one_are_refused(world: Path, tmp_path: Path) -> None:
    root = copied(world, tmp_path)
    write_params(root, resize="letterbox")
    run(root, PREPARE_UNLABELED, name="extra")
    write_params(root)
    with pytest.raises(
        ArtifactError, match=r"extra: expected extra at \(64, 64\), stretch.*found extra at .*letterbox"
    ):
        run(root, STAGE)
    with (root / "data/unlabeled/more/images.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x07")
    with pytest.raises(ArtifactError, match=r"more/images\.npy: expected sha256"):
        run(root, STAGE)


def test_images_of_the_site_that_is_never_trained_on_do_not_join_as_unlabeled(tmp_path: Path) -> None:
    def phantoms(tree: dict[str, Any]) -> None:
        tree["datasets"]["phantom_more"] = {**tree["datasets"]["phantom"], "adapter": "phantom", "seed": 9}
        tree["scales"]["smoke"]["prepare"]["phantom_images"] = 24
        tree.update(dataset="phantom", unlabeled=["phantom_more"])

    (tmp_path / "params.yaml").write_bytes(smoke_params(phantoms))
    for stage in (PREPARE, SPLIT):
        run(tmp_path, stage)
    cases = read_csv(run(tmp_path, PREPARE_UNLABELED, name="phantom_more") / "cases.csv")
    pool = run(tmp_path, STAGE)
    joined = read_csv(pool / "cases.csv")
    assert {row["site"] for row in joined} == {"A"}
    reasons = {row["case"]: row["reason"] for row in read_csv(pool / "excluded.csv")}
    at_b = {f"phantom_more/{row['case']}" for row in cases if row["site"] == "B"}
    assert at_b
    assert {reasons[case] for case in at_b} == {"image of an external site"}
    assert len(joined) + len(reasons) == len(cases)
    # simulated patients of another seed, though they are called like those of the dataset
    facts = read_json(pool / "pool.json")
    assert (facts["sources"][0]["named_like_held_out"], facts["warnings"]) == (0, [])


def test_what_only_names_could_tell_is_counted_and_said() -> None:
    """a and b join, c is left out: p1 is a patient of val, p2 of test, p3 of train; site S is in train too."""
    main = [
        {"case": "t", "identity": "p3", "site": "S"},
        {"case": "u", "identity": "", "site": ""},
        {"case": "v", "identity": "p1", "site": "S"},
        {"case": "s", "identity": "p2", "site": "Z"},
        {"case": "r", "identity": "", "site": ""},
    ]
    parts = dict(zip("tuvsr", ("train", "train", "val", "test", "test"), strict=True))
    held_out = published_names(main, parts)
    assert held_out == {"identity": {"p1", "p2"}, "site": {"Z"}}
    cases = [
        {"case": "a", "identity": "p1", "site": "Z"},
        {"case": "b", "identity": "p3", "site": "S"},
        {"case": "c", "identity": "p2", "site": ""},
        {"case": "d", "identity": "p1", "site": "Z"},
    ]
    facts = {"terms": "none", "citation": "nobody", "phantom": False}
    source = Source("more", Path("more"), np.zeros((4, 2, 2), np.uint8), cases, facts)
    left_out = [Excluded(2, "duplicate of a test image (near)", "s")]
    bridges = [Bridge(2, "g", "s")]
    decision = Decision({0: "patient more/p1", 1: "patient more/p3", 3: "patient more/p1"}, left_out, bridges)
    names = [f"more/{case['case']}" for case in cases]
    found = report([source], decision, names, held_out)
    (line,) = found["sources"]
    assert (line["images"], line["excluded"], line["named_like_held_out"]) == (3, 1, 1)
    assert line["held_out_sites"] == ["Z"]
    assert found["bridges"] == [{"case": "more/c", "group": "g", "held_out": "s"}]
    named, sites, bridge = found["warnings"]
    assert named.startswith("more: 1 patients, lesions or videos of images that join have names of val or test")
    assert sites.startswith("more: images of Z join, which only val and test of the dataset have")
    assert bridge.startswith("more/c duplicates train group g and the val or test image s: look whether")
    simulated = replace(source, facts=facts | {"phantom": True})
    (line,) = report([simulated], decision, names, held_out)["sources"]
    assert (line["named_like_held_out"], line["held_out_sites"]) == (0, [])


def test_warnings_stand_in_the_log_and_in_pool_json(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same numbering in groups.csv of both sets, as two folders of one clinic may have it."""
    root = copied(world, tmp_path)
    numbers = "".join(f"case-{index:03d},case-{index:03d}\n" for index in range(COUNT))
    (root / "data/raw/folder/groups.csv").write_text(f"case,group\n{numbers}")
    run(root, PREPARE)
    run(root, SPLIT)
    test, train = case_of(root, "test"), case_of(root, "train")
    own = f"case,group\nfree-0,case-{test:03d}\nfree-1,case-{test:03d}\nfree-2,case-{train:03d}\n"
    (root / "data/raw/extra/groups.csv").write_text(own)
    run(root, PREPARE_UNLABELED, name="extra")
    capsys.readouterr()
    run(root, STAGE)
    facts = read_json(root / "data/pool/pool.json")
    assert [one["named_like_held_out"] for one in facts["sources"]] == [1, 0]
    (warning,) = facts["warnings"]
    assert f"warning: {warning}" in "".join(capsys.readouterr())


def test_phantom_pools_have_patients_of_their_own() -> None:
    import yaml

    from pipelines.params.loader import parse_params

    params = parse_params(yaml.safe_load(smoke_params(edit)), "params")
    phantom, folder = params.datasets["phantom"], params.datasets["folder"]
    seeds = {with_own_patients(name, phantom).seed for name in ("phantom", "other")} | {phantom.seed}
    assert len(seeds) == 3
    assert with_own_patients("folder", folder) is folder

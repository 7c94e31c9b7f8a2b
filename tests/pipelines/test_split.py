from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.datasets.case import PARTS
from pipelines.datasets.phantom.emission import plan
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import read_csv, write_csv, write_json, write_manifest
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import execute
from pipelines.split import STAGE, assign_parts, describe_split, find_groups, label_ranks, part_of, unit_hash
from tests.support.workspaces import smoke_params

SHARES = {"train": 0.63, "val": 0.07, "test": 0.30}
Rows = list[dict[str, str]]
UNLUCKY = 1  # with this seed six groups c0..c5 leave a part empty


def case(name: str, identity: str = "", class_name: str = "benign", official: str = "") -> dict[str, str]:
    return {"case": name, "identity": identity, "class": class_name, "official_part": official, "area": "0.05"}


def random_set(seed: int, patients: int = 60) -> tuple[Rows, Rows]:
    """Patients with 1 to 5 images, some duplicates across patients."""
    rng = np.random.default_rng(seed)
    cases = []
    for patient in range(patients):
        class_name = str(rng.choice(["benign", "malignant"], p=[0.7, 0.3]))
        cases += [
            case(f"c{seed}-{patient}-{view}", f"p{patient:03d}", class_name) for view in range(rng.integers(1, 6))
        ]
    pairs = [rng.choice(len(cases), 2, replace=False) for _ in range(6)]
    return cases, [{"a": cases[a]["case"], "b": cases[b]["case"]} for a, b in pairs]


def split(cases: Rows, pairs: Rows, seed: int = 0, official: bool = False) -> dict[str, str]:
    groups = find_groups(cases, pairs)
    parts = assign_parts(groups, seed, "toy", SHARES, official=official)
    return {cases[row]["case"]: parts[group.name] for group in groups for row in group.rows}


def test_hash_is_uniform_and_pinned() -> None:
    values = np.array([unit_hash(0, "toy", index) for index in range(4000)])
    assert 0 <= values.min() < values.max() < 1
    assert abs(np.histogram(values, 10, (0, 1))[0] - 400).max() < 80
    assert unit_hash(0, "a", "b") != unit_hash(0, "ab", "")
    # A change here would move cases of every published split.
    assert unit_hash(41, "busi", "benign (1)") == pytest.approx(0.212729, abs=1e-6)


def test_groups_merge_patients_and_duplicates() -> None:
    cases = [case("a", "p2"), case("b", "p1"), case("c", "p2"), case("d"), case("e"), case("f")]
    groups = find_groups(cases, [{"a": "b", "b": "c"}, {"a": "d", "b": "f"}])
    assert [(group.name, group.rows, group.identities) for group in groups] == [
        ("d", (3, 5), ("d", "f")),
        ("e", (4,), ("e",)),
        ("p1", (0, 1, 2), ("p1", "p2")),
    ]


@pytest.mark.parametrize("seed", range(40))
def test_parts_are_disjoint_complete_and_hold_whole_groups(seed: int) -> None:
    cases, pairs = random_set(seed)
    parts = split(cases, pairs, seed)
    assert set(parts) == {row["case"] for row in cases}
    by_patient: dict[str, set[str]] = {}
    for row in cases:
        by_patient.setdefault(row["identity"], set()).add(parts[row["case"]])
    assert all(len(own) == 1 for own in by_patient.values())
    assert all(parts[pair["a"]] == parts[pair["b"]] for pair in pairs)
    order = np.random.default_rng(seed + 1000).permutation(len(cases))
    assert split([cases[row] for row in order], pairs[::-1], seed) == parts


@pytest.mark.parametrize("seed", range(40))
def test_adding_a_case_moves_only_the_group_that_it_joins(seed: int) -> None:
    cases, pairs = random_set(seed)
    before = split(cases, pairs, seed)
    joined = cases[seed]["case"]
    added = [*cases, case("new", "p0000-smaller")]
    after = split(added, [*pairs, {"a": "new", "b": joined}], seed)
    group = next(g for g in find_groups(cases, pairs) if joined in {cases[row]["case"] for row in g.rows})
    own = {cases[row]["case"] for row in group.rows}
    assert {name for name in before if after[name] != before[name]} <= own
    alone = split([*cases, case("new")], pairs, seed)
    assert all(alone[name] == part for name, part in before.items())


def test_class_conflicts_are_always_in_train() -> None:
    for seed in range(30):
        cases = [case(f"c{index}") for index in range(60)]
        cases += [case(f"x{index}", f"p{index}", name) for index in range(10) for name in ("benign", "malignant")]
        cases = [row | {"case": f"{row['case']}-{place}"} for place, row in enumerate(cases)]
        parts = split(cases, [], seed)
        assert {parts[row["case"]] for row in cases if row["identity"]} == {"train"}


def test_shares_are_met_over_many_groups() -> None:
    groups = find_groups([case(f"c{index:05d}") for index in range(6000)], [])
    found = Counter(part_of(group, 3, "toy", SHARES) for group in groups)
    assert [found[part] / 6000 for part in PARTS] == pytest.approx(list(SHARES.values()), abs=0.02)


def test_official_parts_are_kept_and_checked() -> None:
    parts = ["train", "train", "val", "test", "test"]
    cases = [case(f"c{index}", official=part) for index, part in enumerate(parts)]
    assert list(split(cases, [], official=True).values()) == parts
    with pytest.raises(
        DataError, match=r"c1: expected one of the owner's parts, found test, train; set split\.official"
    ):
        split(cases, [{"a": "c1", "b": "c4"}], official=True)


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ([case(f"c{index}", "p") for index in range(9)], r"1 groups give .*needed 2.*add patients"),
        ([case("a"), case("b"), case("c")], "3 groups give"),
        ([case(f"c{index}") for index in range(6)], r"or set split\.seed: \d+ before any training"),
    ],
)
def test_tiny_sets_say_what_is_needed(cases: Rows, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(cases, [], seed=UNLUCKY)


def test_the_proposed_seed_works() -> None:
    cases = [case(f"c{index}") for index in range(6)]
    with pytest.raises(DataError) as caught:
        split(cases, [], seed=UNLUCKY)
    seed = int(str(caught.value).split("split.seed: ")[1].split()[0])
    assert set(split(cases, [], seed).values()) == set(PARTS)


def test_label_ranks_are_balanced_in_every_prefix() -> None:
    cases = [case(f"b{index:03d}") for index in range(90)] + [
        case(f"m{index:03d}", "", "malignant") for index in range(30)
    ]
    groups = find_groups(cases, [])
    ranks = label_ranks(groups, 0, "toy")
    assert sorted(ranks.values()) == list(range(120))
    ordered = sorted(ranks, key=lambda name: ranks[name])
    for length in range(1, 121):
        malignant = sum(name.startswith("m") for name in ordered[:length])
        assert abs(malignant - length / 4) <= 1.0
    assert label_ranks(groups[::-1], 0, "toy") == ranks
    assert label_ranks(groups, 1, "toy") != ranks


def test_report_has_numbers_and_warnings() -> None:
    cases = [case(f"c{index}", f"p{index // 2}") for index in range(8)]
    groups = find_groups(cases, [{"a": "c0", "b": "c7"}])
    parts = {"p0": "train", "p1": "train", "p2": "test"}
    report = describe_split(cases, groups, parts | {}, 0, SHARES)
    assert report["merged_groups"] == {"p0": ["p0", "p3"]}
    assert report["parts"]["train"] | {"classes": {}} == {
        "images": 6,
        "groups": 2,
        "nominal_share": 0.63,
        "share_images": 0.75,
        "share_groups": 2 / 3,
        "classes": {},
        "median_area": 0.05,
    }
    assert "train holds 75.0% of the images; nominal 63%" in report["warnings"]
    assert "val holds no image of class benign" in report["warnings"]
    assert report["identity_published"] is True


def write_workspace(root: Path, cases: Rows) -> Path:
    (root / "params.yaml").write_bytes(smoke_params())
    prepared = root / "data" / "prepared"
    prepared.mkdir(parents=True)
    write_csv(prepared / "cases.csv", cases, ("case", "identity", "class", "official_part", "area"))
    write_csv(prepared / "duplicates.csv", [], ("a", "b"))
    write_json(prepared / "dataset.json", {"name": "phantom"})
    write_manifest(prepared, dataset="phantom")
    return root


def run_split(root: Path) -> Path:
    execute(STAGE, load_params(root / "params.yaml"), root, {})
    return root / "data" / "split"


def test_a_class_absent_from_train_stops_the_stage(tmp_path: Path) -> None:
    lost = next(f"m{k}" for k in range(99) if unit_hash(default_seed(), "phantom", f"m{k}") > 0.8)
    cases = [case(f"c{index}") for index in range(60)] + [case(lost, "", "malignant")]
    with pytest.raises(DataError, match="train holds 0 images of malignant, needed 1"):
        run_split(write_workspace(tmp_path, cases))
    assert not (tmp_path / "data" / "split").exists()


def default_seed() -> int:
    return int(yaml.safe_load(smoke_params())["split"]["seed"])


def test_stage_on_the_smoke_phantoms_patients(tmp_path: Path) -> None:
    """The default seed gives each part its classes at 48 images too."""
    views = plan(0, 48, ("benign", "malignant", "normal"))
    cases = [case(view.case, f"patient-{view.patient:04d}", view.class_name) for view in views]
    folder = run_split(write_workspace(tmp_path, cases))
    rows = read_csv(folder / "split.csv")
    assert len(rows) == 48
    assert {row["part"] for row in rows} == set(PARTS)
    train = {row["case"] for row in rows if row["part"] == "train"}
    labels = read_csv(folder / "labels.csv")
    assert {row["case"] for row in labels} == train
    group = {row["case"]: row["group"] for row in rows}
    assert len({(group[row["case"]], row["label_rank"]) for row in labels}) == len({group[name] for name in train})
    report = json.loads((folder / "leakage.json").read_text())
    assert report["groups_that_cross_parts"] == 0
    assert sum(report["parts"][part]["images"] for part in PARTS) == 48
    assert all(min(report["parts"][part]["classes"].values()) >= 1 for part in PARTS)

import pytest

from pipelines.datasets.case import load_prepared
from pipelines.report.gather import count_duplicates, count_parts, gather, read_curve, read_pool
from pipelines.report.origin import ORDER
from pipelines.runtime.artifacts import write_csv, write_json, write_manifest
from pipelines.runtime.errors import ArtifactError
from tests.support.report_world import SIZE, World

ARMS = ("supervised", "both")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("gather")).everything()


def folders(world: World, *names: str) -> dict:
    places = {"autoencoder": "models/autoencoder", "diffusion": "models/diffusion"}
    return {name: world.root / places.get(name, f"data/{name}") for name in names}


def test_counts_of_images_and_groups(world):
    split = world.root / "data" / "split"
    assert count_parts(load_prepared(world.root / "data" / "prepared"), split, 0.5) == [
        ("train", 12, 6),
        ("train, labeled", 6, 3),
        ("train, unlabeled", 6, 3),
        ("val", 2, 1),
        ("test", 6, 3),
    ]
    assert count_duplicates(world.root / "data" / "prepared") == {"near": 1}


def test_everything_is_found(world):
    found = gather(
        world.root,
        folders(world, *ORDER),
        world.selection(*ARMS),
        False,
    )
    assert found.synthetic.shape == (9, SIZE, SIZE)  # the kept ones
    assert found.training.shape == (12, SIZE, SIZE)
    assert (found.audit.samples, found.audit.kept) == (10, 9)
    assert list(found.cells) == [("supervised", 0), ("both", 0)]
    assert set(found.curves) == {"autoencoder", "diffusion", "supervised-0", "both-0"}
    assert found.notices == []


def test_only_test_results_and_training_pictures_are_on_the_page(world):
    """Of the data itself the page shows training images alone; test images come only as published overlays."""
    prepared = load_prepared(world.root / "data" / "prepared")
    found = gather(world.root, folders(world, "prepared", "split"), world.selection(*ARMS), True)
    shown = {image.tobytes() for image in found.training}
    assert shown <= {image.tobytes() for image in prepared.images[:12]}


def test_damage_is_never_passed_over(tmp_path):
    world = World(tmp_path).everything()
    (world.root / "results" / "both-0" / "per_case.csv").write_text("case\n")
    with pytest.raises(ArtifactError, match=r"per_case\.csv"):
        gather(world.root, folders(world, *ORDER), world.selection(*ARMS), True)


def test_manifest_without_origin_is_named(tmp_path):
    world = World(tmp_path).everything()
    write_manifest(world.root / "models" / "segmenter" / "both-0", dataset="phantom")
    with pytest.raises(ArtifactError, match=r"both-0.*arguments"):
        gather(world.root, folders(world, *ORDER), world.selection(*ARMS), False)


def test_curve_skips_steps_without_a_loss(tmp_path):
    write_csv(tmp_path / "metrics.csv", [{"step": 1, "total": 0.5}, {"step": 2, "total": None}], ("step", "total"))
    assert read_curve(tmp_path / "metrics.csv") == [(1, 0.5)]


def test_the_unlabeled_share_of_a_pool_goes_with_the_label_fraction(tmp_path):
    """g0 ... g5 are train groups of two images in the order of their label rank."""
    world = World(tmp_path)
    world.sources = [{"name": name, "images": images} for name, images in (("more", 3), ("none", 0), ("other", 1))]
    world.pooled = [("more", "g0"), ("more", "g2"), ("more", "image more/x"), ("other", "g0")]
    world.data()
    prepared, split, pool = load_prepared(tmp_path / "data/prepared"), tmp_path / "data/split", tmp_path / "data/pool"
    for fraction, expected in ((0.125, [2, 0, 0]), (0.5, [1, 0, 0])):
        found = read_pool(pool, prepared, split, fraction)
        assert [source["unlabeled"] for source in found["sources"]] == expected
        assert [source["images"] for source in found["sources"]] == [3, 0, 1]
    write_json(pool / "pool.json", {"sources": [], "images": 0})
    with pytest.raises(ArtifactError, match=r"pool\.json: expected the warnings, found none; run `dvc repro`"):
        read_pool(pool, prepared, split, 0.5)

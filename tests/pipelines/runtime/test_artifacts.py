"""Files between stages: round trips, canonical bytes, damage, hostile content."""

import json
import struct
import time
import tracemalloc

import numpy as np
import pytest
import torch

from pipelines.runtime import artifacts
from pipelines.runtime.errors import ArtifactError


def test_json_has_one_spelling_and_refuses_nan(tmp_path):
    artifacts.write_json(tmp_path / "a.json", {"b": 1, "a": [0.1, None]})
    artifacts.write_json(tmp_path / "b.json", {"a": [0.1, None], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert artifacts.read_json(tmp_path / "a.json") == {"a": [0.1, None], "b": 1}
    with pytest.raises(ArtifactError, match="null"):
        artifacts.write_json(tmp_path / "c.json", {"x": float("nan")})
    assert not (tmp_path / "c.json").exists()


def test_csv_round_trip_defuses_formulas(tmp_path):
    path = tmp_path / "t.csv"
    hostile = ["=1+1", "+cmd", "-x", "@a", "'quoted", "-3.5", 'a"b,c', "line\nbreak"]
    artifacts.write_csv(
        path,
        [{"case": text, "value": 0.1 + 0.2, "ok": True, "none": None} for text in hostile],
        ["case", "value", "ok", "none"],
    )
    raw = path.read_text()
    assert "\n=1" not in raw
    assert "\n+cmd" not in raw
    rows = artifacts.read_csv(path)
    assert [row["case"] for row in rows] == hostile
    assert float(rows[0]["value"]) == 0.1 + 0.2
    assert rows[0]["ok"] == "true"
    assert rows[0]["none"] == ""


def test_csv_with_ragged_lines_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(ArtifactError, match="line 3"):
        artifacts.read_csv(tmp_path / "t.csv")


def test_tensors_are_written_in_one_order(tmp_path):
    a, b = torch.arange(3.0), torch.ones(2, 2)
    artifacts.save_tensors(tmp_path / "x.safetensors", {"a": a, "b": b}, {"k": "v"})
    artifacts.save_tensors(tmp_path / "y.safetensors", {"b": b, "a": a}, {"k": "v"})
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()
    loaded = artifacts.load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(loaded["a"], a)
    assert torch.equal(loaded["b"], b)
    assert artifacts.read_metadata(tmp_path / "x.safetensors") == {"k": "v"}


def _bomb(kind: str) -> bytes:
    def entry(begin, end):
        return {"dtype": "F32", "shape": [1], "data_offsets": [begin, end]}

    if kind == "length beyond the file":
        return struct.pack("<Q", 10**12) + b"{}"
    if kind == "huge header":
        return struct.pack("<Q", 100 * 2**20) + b" " * 1000
    header = {
        "overlap": {"a": entry(0, 4), "b": entry(2, 6)},
        "out of range": {"a": entry(0, 4000)},
        "not offsets": {"a": {"dtype": "F32"}},
    }.get(kind, [])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(6)


@pytest.mark.parametrize(
    "kind", ["length beyond the file", "huge header", "overlap", "out of range", "not offsets", "a list"]
)
def test_header_bombs_are_refused_fast_and_small(tmp_path, kind):
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(_bomb(kind))
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=r"bomb\.safetensors"):
        artifacts.load_tensors(path)
    assert time.monotonic() - started < 1
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


def test_a_pickle_named_safetensors_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "marker"), "w"))

    import pickle

    (tmp_path / "evil.safetensors").write_bytes(pickle.dumps(Evil()))
    np.save(tmp_path / "evil.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError):
        artifacts.load_tensors(tmp_path / "evil.safetensors")
    for mmap in (True, False):
        with pytest.raises(ArtifactError):
            artifacts.load_array(tmp_path / "evil.npy", mmap=mmap)
    assert not (tmp_path / "marker").exists()


def test_manifest_finds_every_kind_of_change(tmp_path):
    folder = tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.txt").write_text("b")
    artifacts.write_manifest(folder, stage="s", dataset="phantom")
    manifest = artifacts.verify_folder(folder)
    assert manifest.facts == {"stage": "s", "dataset": "phantom"}
    assert set(manifest.files) == {"a.txt", "sub/b.txt"}

    (folder / "a.txt").write_text("A")
    with pytest.raises(ArtifactError, match=r"a\.txt: expected sha256 ca978112.*found 559aead0"):
        artifacts.verify_folder(folder)
    (folder / "a.txt").unlink()
    with pytest.raises(ArtifactError, match="found none"):
        artifacts.verify_folder(folder)
    (folder / "a.txt").write_text("a")
    (folder / "extra").write_text("")
    with pytest.raises(ArtifactError, match="does not name"):
        artifacts.verify_folder(folder)
    with pytest.raises(ArtifactError, match="found none"):
        artifacts.verify_folder(tmp_path / "absent")


def test_png_has_no_metadata_and_needs_bytes(tmp_path):
    artifacts.write_png(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    data = (tmp_path / "a.png").read_bytes()
    assert b"tEXt" not in data
    assert b"tIME" not in data
    with pytest.raises(ValueError, match="uint8"):
        artifacts.write_png(tmp_path / "b.png", np.zeros((4, 5)))


@pytest.mark.parametrize(("count", "shape"), [(0, (4, 5)), (1, (3,)), (1234, (2, 3)), (3, ())])
def test_rows_that_are_appended_give_the_bytes_of_the_whole_array(tmp_path, count, shape):
    whole = np.random.default_rng(count).integers(0, 255, (count, *shape), np.uint8)
    with artifacts.ArrayWriter(tmp_path / "rows.npy", shape) as writer:
        for row in whole:
            writer.append(np.asarray(row))
    artifacts.save_array(tmp_path / "whole.npy", whole)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert np.array_equal(artifacts.load_array(tmp_path / "rows.npy"), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.npy", "whole.npy"]


def test_a_foreign_row_is_refused_and_leaves_nothing(tmp_path):
    def write(row):
        with artifacts.ArrayWriter(tmp_path / "rows.npy", (2, 3)) as writer:
            writer.append(np.zeros((2, 3), np.uint8))
            writer.append(row)

    for row in (np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.float32)):
        with pytest.raises(ValueError, match=r"rows\.npy: row 1"):
            write(row)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="not open"):
        artifacts.ArrayWriter(tmp_path / "rows.npy", (2, 3)).append(np.zeros((2, 3), np.uint8))


def test_archive_of_arrays_reads_back_and_has_no_times(tmp_path, monkeypatch):
    arrays = [np.eye(n, dtype=np.uint8) for n in (3, 1, 4)]
    for name, clock in (("a", 1.0e9), ("b", 1.7e9)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        with artifacts.ArchiveWriter(tmp_path / f"{name}.npz") as writer:
            for array in arrays:
                writer.append(array)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as shard:
        assert list(shard) == ["000000", "000001", "000002"]
        assert all(np.array_equal(shard[f"{row:06d}"], array) for row, array in enumerate(arrays))
    with pytest.raises(RuntimeError, match="torn"), artifacts.ArchiveWriter(tmp_path / "c.npz"):
        raise RuntimeError("torn")
    assert not list(tmp_path.glob("*c.npz*"))

"""Import closures on a small tree."""

from pipelines.runtime.closure import closure_sha256, entry_file, import_closure


def plant(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(module, root):
    return {path.as_posix() for path in import_closure(module, root)}


def test_closure_follows_what_runs(tmp_path):
    plant(
        tmp_path,
        {
            "pipelines/__init__.py": '"""Doc."""\n',
            "pipelines/a.py": "import numpy\nfrom pipelines import b\nfrom pipelines.sub.c import thing\n",
            "pipelines/b.py": "def late():\n    import pipelines.d\n",
            "pipelines/d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pipelines.e\n",
            "pipelines/e.py": "",
            "pipelines/sub/__init__.py": "VALUE = 1\n",
            "pipelines/sub/c.py": "thing = 1\n",
            "generative/__init__.py": "",
            "generative/x.py": "import pipelines.b\n",
        },
    )
    assert names("pipelines.a", tmp_path) == {
        "pipelines/a.py",
        "pipelines/b.py",
        "pipelines/d.py",
        "pipelines/sub/__init__.py",
        "pipelines/sub/c.py",
    }
    assert names("generative.x", tmp_path) == {"generative/x.py", "pipelines/b.py", "pipelines/d.py"}


def test_a_package_runs_its_main(tmp_path):
    plant(tmp_path, {"pipelines/report/__init__.py": '"""Doc."""', "pipelines/report/__main__.py": "import os\n"})
    assert entry_file("pipelines.report", tmp_path).as_posix() == "pipelines/report/__main__.py"


def test_hash_follows_the_closure_only(tmp_path):
    plant(tmp_path, {"pipelines/a.py": "import pipelines.b\n", "pipelines/b.py": "", "pipelines/z.py": ""})
    before = closure_sha256(["pipelines.a"], tmp_path)
    plant(tmp_path, {"pipelines/z.py": "# changed\n"})
    assert closure_sha256(["pipelines.a"], tmp_path) == before
    plant(tmp_path, {"pipelines/b.py": "# changed\n"})
    assert closure_sha256(["pipelines.a"], tmp_path) != before

"""dvc.yaml says of each stage what its module says: command, inputs, params, output, code."""

import importlib
import re
from pathlib import Path

import pytest

from pipelines.params.loader import read_yaml
from pipelines.wiring import code_dependencies, fold, rewrite, stage_modules

ROOT = Path(__file__).resolve().parents[2]
WIRED = read_yaml(ROOT / "dvc.yaml")["stages"]


def declared(name):
    module = importlib.import_module(stage_module(name))
    return module.STAGES[name] if hasattr(module, "STAGES") else module.STAGE


def stage_module(name):
    found = re.findall(r"^exec python -m ([\w.]+)", WIRED[name]["cmd"])
    assert found, f"{name}: the command must start with `exec python -m`, so that dvc is the stage's parent"
    return found[0] + (".__main__" if (ROOT / found[0].replace(".", "/") / "__main__.py").is_file() else "")


def template(text):
    """`${item.arm}` of dvc.yaml as `{arm}` of a Stage."""
    text = text.replace("${segmenter.system}", "{system}")
    return re.sub(r"\$\{(?:item\.)?(\w+)\}", r"{\1}", text)


@pytest.mark.parametrize("name", WIRED)
def test_stage_and_dvc_yaml_agree(name):
    stage, wired = declared(name), WIRED[name]
    assert stage.name == name
    folders = {template(dep) for dep in wired["deps"] if dep.startswith(("data/", "models/", "results", "report"))}
    # a folder per name of `unlabeled`: dvc.yaml names the folder above them, which a list of any length has
    expected = {folder.removesuffix("/{unlabeled}") for folder in stage.inputs.values()} | ({stage.raw} - {""})
    if name == "report":  # reads what arms x seeds name, below these two folders
        expected |= {"results", "models/segmenter"}
    assert folders == expected
    # a stage that reads no other stage's folder learns the dataset's name from params, the others from a manifest
    named = set() if stage.inputs else {"dataset"}
    assert {template(key) for key in wired["params"]} == set(stage.params.values()) | named
    (out,) = wired["outs"]
    ((folder, options),) = out.items()
    assert template(folder) == stage.output
    assert options == {"push": False}
    assert re.findall(r"--(\w+) \$\{item\.\w+\}", wired["cmd"]) == list(stage.arguments)
    assert stage.module == re.findall(r"-m ([\w.]+)", wired["cmd"])[0]


def test_every_derived_output_is_marked_as_not_to_be_pushed():
    unmarked = [out for stage in WIRED.values() for out in stage["outs"] if not isinstance(out, dict)]
    assert unmarked == []


def test_code_dependencies_are_the_import_closures():
    for name, (module, selected, files) in stage_modules(ROOT).items():
        assert files == code_dependencies(module, selected, ROOT), f"{name}: run python -m pipelines.wiring --write"
    assert rewrite(ROOT) == (ROOT / "dvc.yaml").read_text()


def test_a_choice_pulls_in_what_it_imports_but_not_the_other_choices(tmp_path):
    files = {
        "segmentation/train.py": "import segmentation.loop\n",
        "segmentation/loop.py": "",
        "segmentation/blocks.py": "",
        "segmentation/systems/__init__.py": "",
        "segmentation/systems/a.py": "import segmentation.blocks\n",
        "segmentation/systems/b.py": "import segmentation.systems.a\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = code_dependencies("segmentation.train", ["segmentation/systems/${segmenter.system}.py"], tmp_path)
    assert found == [
        "segmentation/blocks.py",
        "segmentation/loop.py",
        "segmentation/systems/a.py",  # b needs it, whichever is selected
        "segmentation/train.py",
    ]


def test_only_whole_folders_are_folded(tmp_path):
    for name in ("pipelines/params/a.py", "pipelines/params/b.py", "pipelines/runtime/c.py", "pipelines/runtime/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    files = {Path("pipelines/params/a.py"), Path("pipelines/params/b.py"), Path("pipelines/runtime/c.py")}
    assert fold(files, tmp_path) == {Path("pipelines/params"), Path("pipelines/runtime/c.py")}

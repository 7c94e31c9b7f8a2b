"""Code dependencies of dvc.yaml, computed: `python -m pipelines.wiring` compares, `--write` renews them.

A stage depends on the import closure of its module. Where it also imports a file by a name from params (a system, an
adapter; the line with `${...}`), it depends on what any of those files imports, and on the selected file alone.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pipelines.params.loader import read_yaml
from pipelines.runtime.closure import import_closure

IGNORED = ("__pycache__",)  # by .dvcignore too
PACKAGES = ("pipelines/", "generative/", "segmentation/")
STAGE_LINE = re.compile(r"^  (\w+):$")


def code_dependencies(module: str, selected: list[str], root: Path) -> list[str]:
    """Sorted `.py` paths of a stage. selected: patterns such as `segmentation/systems/${segmenter.system}.py`."""
    found = import_closure(module, root)
    for pattern in selected:
        folder = (root / pattern).parent
        choices = {path.relative_to(root) for path in folder.glob("*.py") if path.name != "__init__.py"}
        for choice in choices:
            found |= import_closure(".".join(choice.with_suffix("").parts), root)
        # what one choice takes from another one (the phantom from the BUSI reader) stays; the choices themselves go
        found -= {choice for choice in choices if not _is_shared(choice, choices, module, root)}
    return sorted(path.as_posix() for path in fold(found, root))


def fold(files: set[Path], root: Path) -> set[Path]:
    """Name a folder once where all of its modules are meant, so that dvc.yaml stays readable."""
    folded = set(files)
    for folder in {file.parent for file in files}:
        inside = {path.relative_to(root) for path in (root / folder).iterdir() if path.name not in IGNORED}
        modules = {path for path in inside if path.name != "__init__.py"}
        if len(modules) > 1 and modules <= files:
            folded = folded - inside | {folder}
    return folded


def stage_modules(root: Path) -> dict[str, tuple[str, list[str], list[str]]]:
    """Stage -> (module of its command, patterns with `${...}`, its plain `.py` dependencies) as dvc.yaml has them."""
    stages = {}
    for name, stage in read_yaml(root / "dvc.yaml")["stages"].items():
        module = re.findall(r"python -m ([\w.]+)", stage["cmd"])[0]
        files = [dep for dep in stage.get("deps", []) if _is_code(dep)]
        stages[name] = (module, [f for f in files if "${" in f], [f for f in files if "${" not in f])
    return stages


def rewrite(root: Path) -> str:
    """The text of dvc.yaml with renewed code dependencies; all else, comments included, as it was."""
    modules = stage_modules(root)
    lines: list[str] = []
    stage, in_deps = "", False
    for line in (root / "dvc.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith(("metrics:", "plots:")):
            stage = ""
        if found := STAGE_LINE.match(line):
            stage = found.group(1)
        if stage and re.match(r"^    \w+:", line):
            if in_deps or (line.startswith("    params:") and not _has_deps(lines)):
                if not in_deps:
                    lines.append("    deps:")
                lines += [f"      - {path}" for path in code_dependencies(*modules[stage][:2], root)]
            in_deps = line.startswith("    deps:")
        if in_deps and _is_code(line.strip(" -")) and "${" not in line:
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def _is_code(dependency: str) -> bool:
    return dependency.startswith(PACKAGES) and not dependency.endswith(".html")


def _has_deps(lines: list[str]) -> bool:
    for line in reversed(lines):
        if line.startswith("    deps:"):
            return True
        if STAGE_LINE.match(line):
            return False
    return False


def _is_shared(choice: Path, choices: set[Path], module: str, root: Path) -> bool:
    users = [module, *(".".join(other.with_suffix("").parts) for other in choices - {choice})]
    return any(choice in import_closure(user, root) for user in users)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.wiring", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="renew dvc.yaml")
    write = parser.parse_args().write
    path = Path("dvc.yaml")
    text = rewrite(Path())
    if text == path.read_text(encoding="utf-8"):
        print("dvc.yaml: code dependencies equal the import closures")
        return 0
    if write:
        path.write_text(text, encoding="utf-8")
        print("dvc.yaml: code dependencies renewed")
        return 0
    print("dvc.yaml: code dependencies differ from the import closures; run `python -m pipelines.wiring --write`")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())

"""Which files of the project a module imports, directly or not: what a stage's result can depend on.

The same sets are the code dependencies in dvc.yaml (a test compares them) and part of the key of resume states.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

PACKAGES = ("pipelines", "generative", "segmentation")


def module_file(module: str, root: Path) -> Path | None:
    """The source file of a dotted module of this project, relative to `root`; None for anything else."""
    if module.split(".")[0] not in PACKAGES:
        return None
    base = Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if (root / candidate).is_file():
            return candidate
    return None


def entry_file(module: str, root: Path) -> Path:
    """The file that `python -m module` runs."""
    package = Path(*module.split(".")) / "__main__.py"
    if (root / package).is_file():
        return package
    found = module_file(module, root)
    if found is None:
        raise ValueError(f"{module}: no such module below {root}")
    return found


def import_closure(module: str, root: Path) -> set[Path]:
    """All project files that running `module` can import, itself included, relative to `root`.

    Imports inside functions count; those under `if TYPE_CHECKING` do not run and do not count; an `__init__.py` that
    holds only a docstring does not count. Modules imported by a name computed at run time (systems, adapters) are
    not seen: a stage names them apart.
    """
    pending = [entry_file(module, root)]
    found: set[Path] = set()
    while pending:
        path = pending.pop()
        if path in found or _is_only_docstring(root / path):
            continue
        found.add(path)
        for name in sorted(_imported_names(root / path)):
            parts = name.split(".")
            files = (module_file(".".join(parts[:end]), root) for end in range(1, len(parts) + 1))
            pending += [file for file in files if file is not None]
    return found


def closure_sha256(modules: list[str], root: Path) -> str:
    """One hash over the sources of several modules' closures."""
    digest = hashlib.sha256()
    for path in sorted(set().union(*(import_closure(module, root) for module in modules))):
        digest.update(f"{path.as_posix()}\0".encode() + (root / path).read_bytes() + b"\0")
    return digest.hexdigest()


def _imported_names(path: Path) -> set[str]:
    """Dotted names that may be modules: `from a.b import c` gives both a.b and a.b.c."""
    names: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"), filename=str(path))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        pending += ast.iter_child_nodes(node)
    return names


def _is_only_docstring(path: Path) -> bool:
    if path.name != "__init__.py":
        return False
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)

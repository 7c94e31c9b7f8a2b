"""The one reader of params.yaml: text -> Params, or a ParamsError that names file, key, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.params.datasets import DatasetBlock
from pipelines.params.root import Params
from pipelines.runtime.errors import ParamsError


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; this one refuses."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and validate. All faults of the file are named in one message, one line each."""
    return parse_params(read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The bare tree of a YAML file with unique keys."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # a SafeLoader
    except FileNotFoundError:
        raise ParamsError(f"{path}: expected the parameters, found no file; run in the project's root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        raise ParamsError(f"{path}:{line} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(tree, dict):
        raise ParamsError(
            f"{path}: expected keys and values, found {type(tree).__name__}; is half of the file missing?"
        )
    return tree


def parse_params(tree: dict[str, Any], source: str) -> Params:
    """Validate a tree; `source` is named in errors."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(fault) for fault in error.errors()]
        raise ParamsError("\n".join(f"{source}: {line}" for line in lines)) from None


def _explain(fault: Any) -> str:
    loc = list(fault["loc"])
    if fault["type"] == "union_tag_invalid":
        expected, found = fault["ctx"]["expected_tags"].replace("'", ""), fault["ctx"]["tag"]
        return f"{'.'.join(map(str, loc))}.adapter: expected one of {expected}, found {found!r}; say which one reads it"
    tag = loc.pop(2) if loc[:1] == ["datasets"] and len(loc) > 2 else None  # pydantic names the adapter once more
    place = ".".join(str(part) for part in loc)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(tuple(loc[:-1]), tag)
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.0)
        return f"{place}: unknown key; the nearest known one is {near[0]!r}" if near else f"{place}: unknown key"
    if fault["type"] == "missing":
        return f"{place}: expected a value, found none; restore the key (see pipelines/default.yaml)"
    message = fault["msg"].removeprefix("Value error, ")
    found = "" if isinstance(fault["input"], (dict, list, BaseModel)) else f", found {fault['input']!r}"
    return f"{place or 'params'}: {message[0].lower()}{message[1:]}{found}"


def _known_keys(loc: tuple[int | str, ...], adapter: object = None) -> list[str]:
    if adapter is not None:
        blocks = get_args(get_args(DatasetBlock)[0])
        return next(list(block.model_fields) for block in blocks if adapter in get_args(_adapter_of(block)))
    model: type[BaseModel] | None = Params
    for part in loc:
        field = model.model_fields.get(str(part)) if model else None
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return list(model.model_fields) if model else []


def _adapter_of(block: type[BaseModel]) -> Any:
    return block.model_fields["adapter"].annotation


def select(params: Params, key: str, arguments: Mapping[str, str] | None = None) -> Any:
    """The value at a dotted key in which `{dataset}`, `{scale}` and `{system}` stand for what params selects.

    `select(params, "scales.{scale}.diffusion")` is the diffusion block of the selected scale.
    """
    value: Any = params
    for part in expand(params, key, arguments).split("."):
        if isinstance(value, dict) and part not in value:
            raise ParamsError(f"{key}: expected one of {', '.join(sorted(value))}, found {part!r}")
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def expand(params: Params, key: str, arguments: Mapping[str, str] | None = None) -> str:
    """A dotted key with `{dataset}`, `{scale}`, `{system}` and the stage's arguments filled in."""
    fill = {"dataset": params.dataset, "scale": params.scale, "system": params.segmenter.system}
    return key.format(**fill, **(arguments or {}))

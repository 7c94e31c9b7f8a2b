"""A study's table as Markdown and as flat rows for CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.runtime.per_case import COMPONENT_LIMIT
from pipelines.study.columns import flat_columns, title

NOT_RUN = "not run"
Record = Mapping[str, Any]


def markdown(table: Record) -> str:
    """The whole page. A cell that was not run says so; the first metric is the primary one."""
    origin = [f"{name} {table[key] or NOT_RUN}" for name, key in (("sources", "code"), ("base params", "base"))]
    lines = [f"# {table['name']}", ""]
    lines += [f"Study {table['study'][:12]}, {', '.join(origin)}, commit {table['commit'] or NOT_RUN}."]
    lines += [_machine(each) for each in table["hardware"]]
    lines += [
        "Scores are means over images of means over seeds, ± their standard deviation over seeds; in parentheses 95% "
        f"bounds by a bootstrap over groups and seeds ({table['bootstrap']} draws).",
        *[f"Note: {note}." for note in table["notes"]],
        "",
        *_grid(table),
        *_below(table),
    ]
    if table["comparisons"]:
        lines += ["", f"## Comparisons, {title(table['metrics'][0])}", "", *_comparisons(table)]
        lines += ["", _family(table["families"]["compare"])]
    lost = missing(table)
    for head, word in (("Failed", "failed: "), ("Damaged", "damaged: ")):
        named = [f"- {label}: {state.removeprefix(word)}" for label, state in lost.items() if state.startswith(word)]
        lines += ["", f"## {head}", "", *named] if named else []
    return "\n".join(lines) + "\n"


def _below(table: Record) -> Iterator[str]:
    """What must be read beside the rows."""
    shown = [row for row in table["rows"] if row["mode"] is not None]
    notes = []
    if table["reference"]:
        notes.append(_family(table["families"]["reference"]))
    if any(row["done"] == 1 for row in shown):
        notes.append(
            "Rows of one seed: their bounds are over groups alone; what another training changes is not known."
        )
    if any(row["done"] in (2, 3) for row in shown):
        notes.append(
            "Bounds of two or three seeds are too narrow where trainings differ as patients do (docs/study.md)."
        )
    if any(row["lesion_free"] for row in shown):
        notes.append(
            "Lesion-free: test images without a lesion; false lesion: the share of them (and of the seeds) with a "
            f"connected component of more than {COMPONENT_LIMIT:.1%} of the image."
        )
    for note in notes:
        yield from ("", note)


def _family(family: Record) -> str:
    missing = family["planned"] - family["there"]
    rest = f", of which {missing} are not there yet and count as p = 1" if missing else ""
    return (
        "p: Wilcoxon's signed-rank test over groups, of these trained networks, not of another training; after Holm "
        f"over all {family['planned']} planned comparisons{rest}."
    )


def missing(table: Record) -> dict[str, str]:
    """Label of each job that is not done -> its state."""
    return {label: state for row in table["rows"] for label, state in row["missing"].items()}


def flat_rows(table: Record) -> tuple[list[str], list[dict[str, Any]]]:
    """(columns, rows) of table.csv: axes, counts, then mean, sd, low and high of each metric and of its gain."""
    axes = axis_names(table)
    columns = [*axes, *flat_columns(table["metrics"])]
    return columns, [_flat(row, axes, columns) for row in table["rows"]]


def _flat(row: Record, axes: list[str], columns: list[str]) -> dict[str, Any]:
    flat: dict[str, Any] = dict.fromkeys(columns)
    flat |= {name: row["axes"].get(name) for name in axes}
    flat |= {"mode": row["mode"], "foreground": row["foreground"], "seeds": row["done"], "asked": row["asked"]}
    flat |= {"state": _state(row), "gain_missing": row["why"]}
    if row["mode"] is None:
        return flat
    spent = row["training"]
    flat |= {key: spent[key] for key in ("wall_minutes", "cpu_minutes", "unmeasured")}
    flat |= {key: row[key] for key in ("leaked", "lesion_free", "false_lesion")}
    flat |= {f"reached_{key}": value for key, value in (spent["reached"] or {}).items()}
    flat["device"] = " ".join(spent["devices"])
    for prefix, block in (("", row["metrics"]), ("gain_", row["gain"] or {})):
        for metric, found in block.items():
            flat |= {f"{prefix}{metric}_{part}": value for part, value in (found or {}).items() if value is not None}
    return flat


def _state(row: Record) -> str:
    if row["mode"] is not None:
        return "done" if row["done"] == row["asked"] else "partly done"
    return next((state for state in row["missing"].values() if state.startswith("damaged")), NOT_RUN)


def axis_names(table: Record) -> list[str]:
    """All axes in the order in which the rows first have them."""
    return list(dict.fromkeys(name for row in table["rows"] for name in row["axes"]))


def number(metric: str, value: float | None, *, sign: bool = False) -> str:
    """Three digits for shares, one for distances."""
    if value is None:
        return ""
    return f"{value:{'+' if sign else ''}.{1 if metric.startswith(('hd95', 'assd')) else 3}f}"


def _grid(table: Record) -> Iterator[str]:
    axes, first = axis_names(table), table["metrics"][0]
    shown = [row for row in table["rows"] if row["mode"] is not None]
    classes = len({row["foreground"] for row in shown}) > 1
    leaks, frees = (any(row[key] for row in shown) for key in ("leaked", "lesion_free"))
    heads = [*axes, "mode", *["class"] * classes, "seeds", "images", "groups", *["leaked"] * leaks]
    heads += [*["lesion-free", "false lesion"] * frees, *[title(metric) for metric in table["metrics"]]]
    heads.append("training, min (CPU)")
    heads += [f"until Dice {table['reach']:g}"] if table["reach"] else []
    heads += [*[f"gain, {title(first)}", "p (Holm)"] * bool(table["reference"])]
    yield _line(heads)
    yield _line(["---"] * len(heads))
    for row in table["rows"]:
        cells = [row["axes"].get(name, "") for name in axes]
        if row["mode"] is None:
            rest = len(heads) - len(cells) - 1
            yield _line([*cells, _state(row), *[""] * rest])
            continue
        main = row["metrics"][first] or {"images": 0, "groups": 0}
        cells += [row["mode"], *[row["foreground"]] * classes, f"{row['done']} of {row['asked']}"]
        cells += [str(main["images"]), str(main["groups"]), *[str(row["leaked"])] * leaks]
        cells += [str(row["lesion_free"]), number("", row["false_lesion"])] if frees else []
        cells += [_score(metric, found, main, metric == first) for metric, found in row["metrics"].items()]
        cells.append(_minutes(row["training"]))
        if table["reach"]:
            cells.append(_reached(row["training"]["reached"]))
        if table["reference"]:
            cells += _gain(first, row["gain"][first], row["asked"]) if row["gain"] else [row["why"], ""]
        yield _line(cells)


def _comparisons(table: Record) -> Iterator[str]:
    first = table["metrics"][0]
    yield _line(["first", "second", "on", "mode", "class", "difference", "p (Holm)", "images", "groups", "seeds"])
    yield _line(["---"] * 10)
    for record in table["comparisons"]:
        names = [_selected(record["first"]), _selected(record["second"]), _selected(record["on"])]
        names += [" / ".join(dict.fromkeys(filter(None, record["modes"]))), record["foreground"] or ""]
        if record["gain"] is None:
            yield _line([*names, record["why"], "", "", "", ""])
            continue
        found = record["gain"][first]
        counts = [str(found[key]) for key in ("images", "groups", "seeds")]
        yield _line([*names, *_gain(first, found, found["seeds"]), *counts])


def _score(metric: str, found: Record | None, main: Record, full: bool) -> str:
    if found is None:
        return "n = 0" if main["images"] else ""
    text = number(metric, found["mean"])
    if found["sd"] is not None:
        text += f" ± {number(metric, found['sd'])}"
    if found["images"] != main["images"]:
        text += f", n = {found['images']}"
    return f"{text} ({number(metric, found['low'])} to {number(metric, found['high'])})" if full else text


def _gain(metric: str, found: Record, seeds: int) -> list[str]:
    low, high = (number(metric, found[key], sign=True) for key in ("low", "high"))
    fewer = f", {found['seeds']} seed{'s' * (found['seeds'] > 1)}" if found["seeds"] < seeds else ""
    tested = "" if found["p"] is None else f"{found['p']:.3g} ({found['p_holm']:.3g})"
    return [f"{number(metric, found['mean'], sign=True)} ({low} to {high}){fewer}", tested]


def _minutes(spent: Record) -> str:
    if spent["wall_minutes"] is None:
        return ""
    least = "at least " * bool(spent["unmeasured"])
    return f"{least}{spent['wall_minutes']:.1f} ({spent['cpu_minutes']:.1f}), {' '.join(spent['devices'])}"


def _reached(found: Record | None) -> str:
    """Minutes (CPU) until a validation Dice; of how many trainings, where not all came to it."""
    if not found or not found["of"]:
        return ""
    if not found["cells"]:
        return "never"
    some = f", {found['cells']} of {found['of']}" * (found["cells"] < found["of"])
    least = "at least " * bool(found["unmeasured"])
    return f"{least}{found['wall_minutes']:.1f} ({found['cpu_minutes']:.1f}){some}"


def _selected(labels: Record) -> str:
    return ", ".join(f"{name}: {label}" for name, label in labels.items())


def _machine(each: Record) -> str:
    gpu = f", {each['gpu']}" if each.get("gpu") else ""
    cpu, cores = each.get("cpu", "unknown"), each.get("cores", "?")
    return f"Hardware: {cpu}, {cores} cores{gpu}; trained on {', '.join(each['devices'])}."


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

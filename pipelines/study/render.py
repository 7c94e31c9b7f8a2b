"""A study's table as Markdown and as flat rows for CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NOT_RUN = "not run"
TITLES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95, px", "assd": "ASSD, px", "ece": "ECE", "brier": "Brier"}
TITLES |= {"ece_box": "ECE, box", "brier_box": "Brier, box", "hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm"}
TITLES |= {"error_auroc": "AUROC of errors", "error_auroc_box": "AUROC of errors, box"}
Record = Mapping[str, Any]


def markdown(table: Record) -> str:
    """The whole page. A cell that was not run says so; the first metric is the primary one."""
    lines = [f"# {table['name']}", ""]
    lines += [f"Study {table['study'][:12]}, sources {table['code'] or NOT_RUN}, commit {table['commit'] or NOT_RUN}."]
    lines += [_machine(each) for each in table["hardware"]]
    lines += [
        "Scores are means over images of means over seeds, ± their standard deviation over seeds; in parentheses 95% "
        f"bounds by a bootstrap over groups and seeds ({table['bootstrap']} draws).",
        *[f"Note: {note}." for note in table["notes"]],
        "",
        *_grid(table),
    ]
    if table["comparisons"]:
        lines += ["", f"## Comparisons, {title(table['metrics'][0])}", "", *_comparisons(table)]
    failures = [(label, state) for label, state in missing(table).items() if state.startswith("failed")]
    if failures:
        lines += ["", "## Failed", "", *[f"- {label}: {state.removeprefix('failed: ')}" for label, state in failures]]
    return "\n".join(lines) + "\n"


def missing(table: Record) -> dict[str, str]:
    """Label of each job that is not done -> its state."""
    return {label: state for row in table["rows"] for label, state in row["missing"].items()}


def flat_rows(table: Record) -> tuple[list[str], list[dict[str, Any]]]:
    """(columns, rows) of table.csv: axes, counts, then mean, sd, low and high of each metric and of its gain."""
    axes = axis_names(table)
    columns = [*axes, "mode", "foreground", "state", "seeds", "asked", "leaked"]
    columns += ["wall_minutes", "cpu_minutes", "unmeasured", "device"]
    for metric in table["metrics"]:
        columns += [f"{metric}_{part}" for part in ("mean", "sd", "low", "high", "images", "groups")]
    for metric in table["metrics"]:
        columns += [
            f"gain_{metric}_{part}" for part in ("mean", "low", "high", "p", "p_holm", "images", "groups", "seeds")
        ]
    return columns, [_flat(row, axes, columns) for row in table["rows"]]


def _flat(row: Record, axes: list[str], columns: list[str]) -> dict[str, Any]:
    flat: dict[str, Any] = dict.fromkeys(columns)
    flat |= {name: row["axes"].get(name) for name in axes}
    flat |= {"mode": row["mode"], "foreground": row["foreground"], "seeds": row["done"], "asked": row["asked"]}
    flat["state"] = NOT_RUN if row["mode"] is None else "done" if row["done"] == row["asked"] else "partly done"
    if row["mode"] is None:
        return flat
    spent = row["training"]
    flat |= {key: spent[key] for key in ("wall_minutes", "cpu_minutes", "unmeasured")}
    flat |= {"leaked": row["leaked"], "device": " ".join(spent["devices"])}
    for prefix, block in (("", row["metrics"]), ("gain_", row["gain"] or {})):
        for metric, found in block.items():
            flat |= {f"{prefix}{metric}_{part}": value for part, value in (found or {}).items()}
    return flat


def axis_names(table: Record) -> list[str]:
    """All axes in the order in which the rows first have them."""
    return list(dict.fromkeys(name for row in table["rows"] for name in row["axes"]))


def title(metric: str) -> str:
    """The head of a metric's column."""
    native = metric.endswith("_native")
    return TITLES.get(metric.removesuffix("_native"), metric) + (", native" if native else "")


def number(metric: str, value: float | None, *, sign: bool = False) -> str:
    """Three digits for shares, one for distances."""
    if value is None:
        return ""
    return f"{value:{'+' if sign else ''}.{1 if metric.startswith(('hd95', 'assd')) else 3}f}"


def _grid(table: Record) -> Iterator[str]:
    axes, first = axis_names(table), table["metrics"][0]
    shown = [row for row in table["rows"] if row["mode"] is not None]
    classes = len({row["foreground"] for row in shown}) > 1
    leaks = any(row["leaked"] for row in shown)
    heads = [*axes, "mode", *["class"] * classes, "seeds", "images", "groups", *["leaked"] * leaks]
    heads += [title(metric) for metric in table["metrics"]]
    heads += ["training, min (CPU)", *[f"gain, {title(first)}", "p (Holm)"] * bool(table["reference"])]
    yield _line(heads)
    yield _line(["---"] * len(heads))
    for row in table["rows"]:
        cells = [row["axes"].get(name, "") for name in axes]
        if row["mode"] is None:
            rest = len(heads) - len(cells) - 1
            yield _line([*cells, NOT_RUN, *[""] * rest])
            continue
        main = row["metrics"][first] or {"images": 0, "groups": 0}
        cells += [row["mode"], *[row["foreground"]] * classes, f"{row['done']} of {row['asked']}"]
        cells += [str(main["images"]), str(main["groups"]), *[str(row["leaked"])] * leaks]
        cells += [_score(metric, found, metric == first) for metric, found in row["metrics"].items()]
        cells.append(_minutes(row["training"]))
        if table["reference"]:
            cells += _gain(first, row["gain"][first]) if row["gain"] else ["", ""]
        yield _line(cells)


def _comparisons(table: Record) -> Iterator[str]:
    first = table["metrics"][0]
    yield _line(["first", "second", "on", "difference", "p (Holm)", "images", "groups", "seeds"])
    yield _line(["---"] * 8)
    for record in table["comparisons"]:
        names = [_selected(record["first"]), _selected(record["second"]), _selected(record["on"])]
        if record["gain"] is None:
            yield _line([*names, NOT_RUN, "", "", "", ""])
            continue
        found = record["gain"][first]
        yield _line([*names, *_gain(first, found), *(str(found[key]) for key in ("images", "groups", "seeds"))])


def _score(metric: str, found: Record | None, full: bool) -> str:
    if found is None:
        return ""
    text = number(metric, found["mean"])
    if found["sd"] is not None:
        text += f" ± {number(metric, found['sd'])}"
    return f"{text} ({number(metric, found['low'])} to {number(metric, found['high'])})" if full else text


def _gain(metric: str, found: Record) -> list[str]:
    low, high = (number(metric, found[key], sign=True) for key in ("low", "high"))
    return [
        f"{number(metric, found['mean'], sign=True)} ({low} to {high})",
        f"{found['p']:.3g} ({found['p_holm']:.3g})",
    ]


def _minutes(spent: Record) -> str:
    if spent["wall_minutes"] is None:
        return ""
    least = "at least " * bool(spent["unmeasured"])
    return f"{least}{spent['wall_minutes']:.1f} ({spent['cpu_minutes']:.1f}), {' '.join(spent['devices'])}"


def _selected(labels: Record) -> str:
    return ", ".join(f"{name}: {label}" for name, label in labels.items())


def _machine(each: Record) -> str:
    gpu = f", {each['gpu']}" if each.get("gpu") else ""
    cpu, cores = each.get("cpu", "unknown"), each.get("cores", "?")
    return f"Hardware: {cpu}, {cores} cores{gpu}; trained on {', '.join(each['devices'])}."


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

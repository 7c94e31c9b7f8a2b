"""`python -m pipelines.study run | status | table study.yaml`: run a grid of segmenters, see where it is, gather it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pipelines.runtime.errors import LockedError, ParamsError, SonoSynthError
from pipelines.runtime.process import hold_lock
from pipelines.study.compare import check_rows
from pipelines.study.gather import job_state
from pipelines.study.plan import (
    changes,
    check_root,
    last_origin,
    make_plan,
    open_folder,
    preview_plan,
    read_plan,
    study_folder,
)
from pipelines.study.run import Outcome, preview, run_plan
from pipelines.study.spec import Job, Study, expand_jobs, load_study

FROZEN = "SONOSYNTH_STUDY_FROZEN"  # set for the one step into the frozen sources


def main(arguments: list[str] | None = None, root: Path | None = None) -> int:
    """Command line, in the project's root. Exit codes: 0; 1 error or failed job; 75 in use; 129, 130, 143 signals."""
    options = _parse(arguments)
    root = (root or Path.cwd()).resolve()
    try:
        check_root(root)
        study = load_study(options.study)
        jobs = expand_jobs(study, options.study)
        check_rows(study, jobs)
        folder = study_folder(study, options.folder, root)
        if options.command == "run":
            if options.frozen:
                become_frozen(folder, arguments if arguments is not None else sys.argv[1:])
            return (_preview if options.dry_run else _run)(study, jobs, folder, root, options)
        if options.command == "status":
            return _status(study, jobs, folder, root, options.study)
        from pipelines.study.table import write_table  # late: scipy takes a second

        for line in write_table(study, jobs, options.study, folder, root):
            print(line)
    except SonoSynthError as error:
        for line in str(error).splitlines():
            print(f"study: error: {line}", file=sys.stderr)
        return 75 if isinstance(error, LockedError) else 1
    except OSError as error:
        reason = f"{error.filename or 'disk'}: {error.strerror or error}"
        print(f"study: error: {reason}; free space or mend permissions, then run the same command", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the first call; later ones are ended by run_plan
        return 130
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipelines.study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "run what is not done; the same command goes on after any end"),
        ("status", "say of each job whether it is done, failed or not run"),
        ("table", "write table.csv, table.json and table.md of what the last run's plan has done"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("study", type=Path, help="the study's YAML file (docs/study.md)")
        command.add_argument("--folder", type=Path, help="where everything lies (default: studies/<name>)")
        if name == "run":
            command.add_argument("--workers", type=_at_least_one, default=1, help="calls at once (default: 1)")
            command.add_argument("--frozen", action="store_true", help="with the sources and params of the last run")
            command.add_argument("--dry-run", action="store_true", help="say what would be run, and stop")
    return parser.parse_args(arguments)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


def become_frozen(folder: Path, arguments: list[str]) -> None:
    """Go on as the same command of the last run's sources, so that their params are read by the code they belong to."""
    code = folder / "code" / last_origin(folder).code
    tried = os.environ.pop(FROZEN, None) is not None
    if Path(__file__).resolve().parents[2] == code:
        return
    if tried or not (code / "pipelines" / "study" / "__main__.py").is_file():
        raise ParamsError(
            f"{code}: expected the sources of the last run, found none that can be run; leave out --frozen"
        )
    path = os.pathsep.join([os.fspath(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", "pipelines.study", *arguments]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path, FROZEN: "1"})


def log(text: str) -> None:
    """A line for whoever watches; a run goes on where nobody reads any more."""
    try:
        print(f"study: {text}", flush=True)
    except BrokenPipeError:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _run(study: Study, jobs: list[Job], folder: Path, root: Path, options: argparse.Namespace) -> int:
    open_folder(folder)
    with hold_lock(folder / "run.lock", f"the study in {folder}"):
        plan = make_plan(study, jobs, options.study, folder, root, frozen=options.frozen)
        log(f"{len(plan.jobs)} jobs, {len(plan.calls)} stage calls, in {folder}")
        outcome = run_plan(plan, folder, root / "data" / "raw", options.workers, log)
    if outcome.signal is not None:
        log(f"stopped by {signal.Signals(outcome.signal).name}; the same command goes on from here")
        return 128 + outcome.signal
    for line in summary(jobs, plan.jobs, outcome):
        log(line)
    return 1 if outcome.failed else 0


def _preview(study: Study, jobs: list[Job], folder: Path, root: Path, options: argparse.Namespace) -> int:
    plan = preview_plan(study, jobs, options.study, folder, root, frozen=options.frozen)
    for line in preview(plan, folder, jobs):
        log(line)
    return 0


def summary(jobs: list[Job], ends: Mapping[str, tuple[str, ...]], outcome: Outcome) -> list[str]:
    """What a run came to: a line per failed call, with the jobs that wait for it. ends: as in Plan.jobs."""
    lost: dict[str, list[str]] = {}
    for job in jobs:
        for end in ends[job.id]:
            if cause := outcome.skipped.get(end, end if end in outcome.failed else None):
                lost.setdefault(cause, []).append(job.label)
    lines = []
    for cause, reason in outcome.failed.items():
        lines.append(f"failed: {cause}: {reason}")
        lines += [f"    without it: {label}" for label in dict.fromkeys(lost.get(cause, []))]
    missing = len({label for labels in lost.values() for label in labels})
    lines.append(f"{len(jobs) - missing} of {len(jobs)} jobs are done; {len(outcome.ran)} calls ran")
    return lines


def _status(study: Study, jobs: list[Job], folder: Path, root: Path, file: Path) -> int:
    plan = read_plan(folder)
    counts: Counter[str] = Counter()
    for job in jobs:
        state = job_state(plan, job, folder)
        counts[state.partition(":")[0]] += 1
        print(f"{job.label}: {state}")
    for change in changes(study, file, plan, root):
        print(f"note: {change}")
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The dvc command line as a child: real processes, real signals, a trivial workspace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.flows import dvc
from pipelines.flows.dvc import Outcome
from pipelines.runtime.errors import LockedError, ParamsError
from tests.support.workspaces import ROOT, processes_in, wait_until_gone

DOT = """strict digraph {
"d";
"a";
"b@x-0";
"c";
"a" -> "b@x-0";
"b@x-0" -> "c";
}
"""


def test_graph_is_ordered_parents_first():
    graph = dvc.parse_graph(DOT)
    assert graph.order == ("d", "a", "b@x-0", "c")
    assert graph.ancestors("c") == {"a", "b@x-0"}
    assert graph.ancestors("d") == set()


def test_targets_keep_what_they_need_and_unknown_ones_name_the_nearest():
    graph = dvc.parse_graph(DOT.replace('"d"', '"report"'))
    assert graph.up_to(["b"]).order == ("a", "b@x-0")
    assert graph.up_to(["report", "a"]).order == ("report", "a")
    with pytest.raises(ParamsError, match=r"'reprot'; did you mean 'report'\?"):
        graph.up_to(["reprot"])


def test_a_circle_is_named():
    with pytest.raises(dvc.DvcError, match="circle"):
        dvc.parse_graph('"a" -> "b";\n"b" -> "a";')


def test_outcomes_are_read_from_the_lines():
    lines = [
        "Stage 'one' didn't change, skipping",
        "'data/raw/x.dvc' didn't change, skipping",
        "Stage 'two@x-0' is cached - skipping run, checking out outputs",
        "Running stage 'three':",
        "step 3: Running stage 'four' is not said by dvc",
    ]
    assert dvc.parse_outcomes(lines) == {
        "one": Outcome.UNCHANGED,
        "data/raw/x.dvc": Outcome.UNCHANGED,
        "two@x-0": Outcome.RESTORED,
        "three": Outcome.RAN,
    }


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: '/p/out' is busy, it is being blocked by:",
        "ERROR: Unable to acquire lock. Most likely another DVC process is running",
        "ERROR: failed to reproduce 'a': failed to run: exec python x, exited with 75",
    ],
)
def test_each_lock_message_is_one_error(line):
    assert isinstance(dvc.error_of([line], 255), LockedError)


def test_a_failed_stage_keeps_its_code_and_last_words():
    lines = [
        "begins",
        "DataError: x.png: broken",
        "ERROR: failed to reproduce 'a@b-0': failed to run: c, exited with -9",
    ]
    error = dvc.error_of(lines, 255)
    assert isinstance(error, dvc.StageFailedError)
    assert (error.stage, error.code, error.tail) == ("a@b-0", -9, tuple(lines))
    assert str(error) == "stage a@b-0 exited with -9: DataError: x.png: broken"


def test_a_workspace_from_first_run_to_restored(trivial):
    graph = dvc.graph(trivial)
    assert set(graph.order) == {"raw", "train@real-0", "train@real-1", "side", "report"}
    assert (graph.order[0], graph.order[-1]) == ("raw", "report")
    assert dvc.changed(trivial) == set(graph.order)
    streamed: list[str] = []
    assert set(dvc.repro(trivial, on_line=streamed.append).values()) == {Outcome.RAN}
    assert "train-1: begins" in streamed
    assert dvc.changed(trivial) == set()
    (trivial / "out/side/result.txt").unlink()
    assert dvc.changed(trivial) == {"side", "report"}
    assert dvc.repro(trivial, ["side"]) == {"raw": Outcome.UNCHANGED, "side": Outcome.RESTORED}


def test_a_failing_stage_is_a_typed_error(trivial):
    (trivial / "orders/raw").write_text("exit 3")
    with pytest.raises(dvc.StageFailedError, match="stage raw exited with 3: DataError: raw: told to fail"):
        dvc.repro(trivial)
    (trivial / "dvc.yaml").write_text("stages: [")
    with pytest.raises(dvc.DvcError, match="dvc ended with"):
        dvc.graph(trivial)


def test_a_second_run_of_the_same_stage_is_a_lock_error(trivial):
    (trivial / "orders/raw").write_text("sleep 30")
    first = subprocess.Popen(
        [Path(sys.executable).parent / "dvc", "repro", "raw"],
        cwd=trivial,
        env=dvc.environment(),
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 20
        while len(processes_in(trivial)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        with pytest.raises(LockedError, match="in use"):
            dvc.repro(trivial, ["raw"])
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


def test_the_deadline_ends_the_whole_group(trivial):
    (trivial / "orders/raw").write_text("sleep 60")
    started = time.monotonic()
    with pytest.raises(dvc.DvcTimeoutError, match="after the 3 s"):
        dvc.run_dvc(["repro", "raw"], trivial, deadline_s=3, grace_s=1)
    assert time.monotonic() - started < 15
    assert wait_until_gone(processes_in(trivial), 2) == set()


def test_an_exception_of_the_listener_ends_the_whole_group(trivial):
    (trivial / "orders/raw").write_text("sleep 60")

    def stumble(line: str) -> None:
        if "begins" in line:
            raise RuntimeError("stumbled")

    with pytest.raises(RuntimeError, match="stumbled"):
        dvc.run_dvc(["repro", "raw"], trivial, on_line=stumble, grace_s=1)
    assert wait_until_gone(processes_in(trivial), 2) == set()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_dvc_dies_with_its_runner(trivial):
    (trivial / "orders/raw").write_text("sleep 60")
    code = (
        "import sys; from pathlib import Path; from pipelines.flows import dvc; dvc.repro(Path(sys.argv[1]), ['raw'])"
    )
    runner = subprocess.Popen([sys.executable, "-c", code, str(trivial)], cwd=ROOT)
    until = time.monotonic() + 20
    while len(processes_in(trivial)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    pids = processes_in(trivial)
    assert len(pids) >= 2  # dvc and the stage
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert wait_until_gone(pids, 5) == set()


def test_the_environment_of_this_python_comes_first():
    environment = dvc.environment()
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert environment["DVC_NO_ANALYTICS"] == environment["DO_NOT_TRACK"] == "1"

"""What a call ran on, for tables: the same work takes other minutes elsewhere."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def describe_hardware() -> dict[str, str | int]:
    """cpu: model; cores: how many this process may use; gpu: model, or "" without a driver that names one."""
    return {"cpu": cpu_model(), "cores": usable_cores(), "gpu": gpu_model()}


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """As the kernel names it."""
    text = info.read_text(errors="replace") if info.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that the scheduler lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_model(folder: Path = Path("/proc/driver/nvidia/gpus")) -> str:
    """Models of the NVIDIA cards as their driver lists them, without loading torch."""
    models = []
    for file in sorted(folder.glob("*/information")):
        models += re.findall(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.MULTILINE)
    return ", ".join(models)

"""What a benchmark ran on, without names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

_PACKAGES = {
    "torch": "torch",
    "pyarrow": "pyarrow",
    "numpy": "numpy",
    "PyAV": "av",
    "decord2": "decord2",
    "torchcodec": "torchcodec",
    "datasets": "datasets",
    "webdataset": "webdataset",
    "litdata": "litdata",
    "duckdb": "duckdb",
    "OpenCV": "opencv-python-headless",
}


def machine() -> dict[str, Any]:
    """CPU model, cores that this process may use, memory in bytes, operating system, versions of what is installed."""
    psutil: Any = import_module("psutil")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": cores,
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"Python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for title, name in _PACKAGES.items():
        try:
            found[title] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def load_average() -> float | None:
    """Processes that ran or waited over the last minute; None where the system doesn't say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None

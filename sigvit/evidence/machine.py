"""On what a result was computed: processor, memory, versions of packages."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("sigvit", "torch", "numpy", "scipy", "scikit-learn", "pyriemann", "mne", "pandas", "matplotlib")


def describe_machine() -> dict[str, str]:
    """Processor, cores this process may use, memory, system and Python; nothing that names the machine or its user.

    >>> list(describe_machine())
    ['Processor', 'Cores', 'Memory', 'System', 'Python']
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return {"Processor": _processor(), "Cores": str(cores), "Memory": _memory(), "System": system, "Python": platform.python_version()}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on, without importing them."""
    return {package: found for package in PACKAGES if (found := _version(package)) is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The model's name where the system tells it (Linux), else the architecture."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "not known"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"

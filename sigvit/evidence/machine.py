"""On what a result was computed: processor, memory, versions of packages."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from sigvit.processor import processor_name

PACKAGES = ("sigvit", "torch", "numpy", "scipy", "scikit-learn", "pyriemann", "mne", "pandas", "matplotlib")


def describe_machine() -> dict[str, str]:
    """Processor, cores this process may use, memory, system and Python; nothing that names the machine or its user.

    >>> list(describe_machine())
    ['Processor', 'Cores', 'Memory', 'System', 'Python']
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return {"Processor": processor_name(), "Cores": str(cores), "Memory": _memory(), "System": system, "Python": platform.python_version()}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on, without importing them."""
    return {package: found for package in PACKAGES if (found := _version(package)) is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "not known"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"

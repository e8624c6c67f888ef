"""Which processor this is; imports nothing of ours."""

from __future__ import annotations

import os
import platform


def processor_name() -> str:
    """The model's name where the system tells it (Linux), else the architecture.

    >>> processor_name() != ""
    True
    """
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

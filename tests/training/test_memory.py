"""Memory of a step that is kept for the next one."""

import platform
import subprocess
import sys

import pytest

# A block of 48 MiB, larger than what glibc takes from its heap unless it is told to take all from there, written again and again by a process of its own.
FAULTS = """
import resource
import torch
from sigvit.training.memory import keep_freed_memory

keep_freed_memory(any_size=True)

def write():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(12 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults = [write() for _ in range(50)]
print(*faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library can't be asked to keep freed memory")
def test_a_large_block_that_was_freed_is_not_fetched_from_the_system_again():
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    faults = [int(found) for found in told.stdout.split()]
    # It has 12 288 pages of 4 KiB. The first times glibc leaves holes that are a little too small for the next; then it has room for all.
    assert max(faults) >= 12288
    assert max(faults[-20:]) < 1000

"""Several processes pre-train to the weights of one with the same batches, in either kind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sigvit.training.distributed import Processes

PROGRAM = Path(__file__).with_name("shared_pretraining.py")
# Sums of shares round otherwise than sums over the whole batch, by some 1e-16 a step in float64.
FLOAT64 = 1e-10


@pytest.mark.slow
def test_two_processes_pre_train_as_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    import shared_pretraining as program

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM), str(tmp_path)]
    done = subprocess.run(torchrun, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in program.OBJECTIVES:
        alone, other = program.trained(name, Processes.alone()), program.trained(name, Processes.alone(), seed=1)
        for kind in ("ddp", "fsdp2"):
            found = torch.load(tmp_path / f"{kind} {name}.pt", weights_only=True)
            assert max(float((found[key] - alone[key]).abs().max()) for key in alone) <= FLOAT64, (kind, name)
            assert max(float((found[key] - other[key]).abs().max()) for key in other) > 1e-2, "another seed must differ, or nothing was compared"

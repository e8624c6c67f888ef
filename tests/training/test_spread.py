"""Trainings that two processes share are those of one process."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sigvit.training.many import Plan, train_many

PROGRAM = Path(__file__).with_name("spread_training.py")
# Stacks of other members: float64 sums in another order, after nine steps of AdamW.
SUMS = 1e-10


@pytest.mark.slow
def test_two_processes_end_with_all_members_as_one_process_trains_them(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM), str(tmp_path)]
    done = subprocess.run(torchrun, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr
    specification = importlib.util.spec_from_file_location("spread_training", PROGRAM)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    expected = program.members()
    histories = train_many(expected, Plan(2))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for own, weights, history, entries in zip(expected, found["weights"], found["histories"], histories, strict=True):
            for name, tensor in own.model.state_dict().items():
                torch.testing.assert_close(weights[name], tensor, rtol=0, atol=SUMS)
            assert [entry["step"] for entry in history] == [entry["step"] for entry in entries]
            assert history[-1]["train_loss"] == pytest.approx(entries[-1]["train_loss"], abs=1e-9)
        assert found["spoilt"].startswith("NotFiniteError: member 3: The loss became nan at step 1")
        own, told = "OSError: No space is left.", "RuntimeError: Process 1 of the 2 that share the trainings couldn't train its part: "
        assert found["stopped"] == (own if rank == 1 else told + own)

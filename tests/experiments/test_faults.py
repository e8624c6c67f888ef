"""A script ends in a sentence where the fault is the user's, and shows the way through the code where another package stumbled."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

import sigvit
from sigvit.evidence.fit_job import named
from sigvit.training.journal import Journal

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def faults(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.setattr("sys.argv", ["somewhere/transfer.py"])
    return importlib.import_module("faults").faults_in_a_sentence


@pytest.mark.parametrize(
    ("stumble", "kind", "sentence"),
    [
        (lambda: sigvit.open_dataset("scp7"), ValueError, r"^transfer.py: There is no page 'scp7'"),
        (lambda: np.load("nowhere.npz"), OSError, r"^transfer.py: .*nowhere.npz"),
        (lambda: sigvit.certify(*leaking()), sigvit.Leak, r"^transfer.py: .*row"),
    ],
)
def test_a_users_fault_is_a_sentence(faults, stumble, kind, sentence):
    with pytest.raises(SystemExit, match=sentence) as stopped, faults():
        stumble()
    assert isinstance(stopped.value.__cause__, kind)


def test_a_package_that_is_not_installed_is_a_sentence(faults, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SystemExit, match=r"^transfer.py: TensorBoard's files are asked for, .*: pip install tensorboard\.$"), faults():
        Journal(tmp_path, every=1, samples_per_step=1, tensorboard=True)


def test_a_fault_of_the_disk_says_in_which_fit(faults):
    with pytest.raises(SystemExit, match=r"^transfer.py: .*nowhere.npz.* 'LDA', fold 2\.$"), faults(), named("'LDA', fold 2"):
        np.load("nowhere.npz")


def leaking():
    windows = sigvit.windows_from_arrays(np.random.default_rng(0).normal(0, 1e-5, (7, 2, 11)), list("abababa"), ["C3", "C4"], sampling_rate=13.0)
    return windows, [sigvit.Fold(train=np.arange(5), validation=[], test=np.arange(4, 7))]


def test_a_killed_worker_is_a_sentence(faults):
    sentence = "^transfer.py: a process that shared the work was killed, likely for want of memory; start again with fewer"
    with pytest.raises(SystemExit, match=sentence), faults():
        raise TerminatedWorkerError("A worker process managed by the executor was unexpectedly terminated.")


def test_an_error_of_another_package_keeps_its_way(faults):
    with pytest.raises(ValueError, match="reshape"), faults():
        np.zeros(3).reshape(2)


def test_a_reader_that_has_enough_of_a_script_is_no_fault():
    """`image_training.py --help | head`: the help is printed, and the script asked to end."""
    reading, writing = os.pipe()
    os.close(reading)
    script = "import sys; from faults import faults_in_a_sentence\nwith faults_in_a_sentence():\n    print('help')\n    sys.exit(0)"
    run = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, text=True, check=False, cwd=EXPERIMENTS, env=with_sigvit())
    os.close(writing)
    assert (run.returncode, run.stderr) == (141, "")


def test_a_script_says_what_it_can_in_the_terminals_encoding():
    script = "from faults import faults_in_a_sentence\nwith faults_in_a_sentence():\n    print('5 – 10 × 3')"
    environment = {**with_sigvit(), "PYTHONIOENCODING": "ascii"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=EXPERIMENTS, env=environment)
    assert (run.stdout, run.stderr) == ("5 ? 10 ? 3\n", "")


def with_sigvit():
    return {**os.environ, "PYTHONPATH": str(EXPERIMENTS.parent)}

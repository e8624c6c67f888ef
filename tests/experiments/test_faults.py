"""A script ends in a sentence where the fault is the user's, and shows the way through the code where another package stumbled."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import sigvit


@pytest.fixture
def faults(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "experiments"))
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


def leaking():
    windows = sigvit.windows_from_arrays(np.random.default_rng(0).normal(0, 1e-5, (7, 2, 11)), list("abababa"), ["C3", "C4"], sampling_rate=13.0)
    return windows, [sigvit.Fold(train=np.arange(5), validation=[], test=np.arange(4, 7))]


def test_an_error_of_another_package_keeps_its_way(faults):
    with pytest.raises(ValueError, match="reshape"), faults():
        np.zeros(3).reshape(2)

"""The words of `benchmarks/eeg_accuracy.py` about rows that differ in what could be fitted, and about sets without any signal."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def accuracy():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        specification = importlib.util.spec_from_file_location("eeg_accuracy", FOLDER / "eeg_accuracy.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        yield module
    for name in ("eeg_datasets", "eeg_epoch"):
        sys.modules.pop(name, None)


def row(name, vit, **others):
    scores = {"guessing": 0.55, "ViT": vit, "ViT: network": vit - 0.1, "ViT: classical half": vit - 0.05, "Majority": 0.5}
    return pd.Series(scores | others, name=name)


def test_pipelines_that_a_set_does_not_allow_are_dashes_and_the_lead_is_over_one_that_ran_everywhere(accuracy):
    found = [row("a", 0.8, LDA=0.7, CSP=0.72), row("b", 0.9, LDA=0.65, EEGNet=0.95)]
    words = accuracy.report(found, "command")
    assert "first in 1 of 2 rows above chance; over these it is +0.175 beside LDA (permutation test over rows, p 0.5000)" in words
    assert "| a | 0.550 | 0.800 | 0.700 | 0.750 | 0.720 (CSP) | +0.080 | – |" in words
    assert "| b | 0.550 | 0.900 | 0.800 | 0.850 | 0.650 (LDA) | -0.050 | 0.950 (EEGNet) |" in words


def test_a_set_without_signal_gets_a_sentence(accuracy):
    words = accuracy.report([row("noise", 0.52, LDA=0.5)], "command")
    assert "No pipeline is above chance in any row." in words
    assert "| noise | 0.550 | 0.520 |" in words

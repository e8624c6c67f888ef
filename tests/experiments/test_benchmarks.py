"""Benchmarks never write over a published page, and `make bench` starts scripts that are there."""

import importlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

import sigvit
from sigvit.data.synthetic import synthetic_windows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("page")
    for name in ("page", "braindecode_networks", "eeg_accuracy"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("page")
def test_a_default_run_leaves_the_published_page_with_its_notes_alone(monkeypatch, tmp_path):
    accuracy = importlib.import_module("eeg_accuracy")
    windows = synthetic_windows()
    results = sigvit.cross_validate({"Majority": sigvit.baselines.majority()}, windows, sigvit.folds.cross_subject(windows.metadata))
    published = ROOT / "benchmarks" / "results" / "eeg_accuracy.md"
    before = published.read_bytes()
    found = {"guessing": 0.55, "ViT": 0.8, "ViT: network": 0.7, "ViT: classical half": 0.7, "LDA": 0.6}
    monkeypatch.setattr("sys.argv", ["eeg_accuracy.py"])
    monkeypatch.setattr(accuracy, "run", lambda *given: results)
    monkeypatch.setattr(accuracy, "scores", lambda row, results: pd.Series(found, name=row))
    monkeypatch.chdir(tmp_path)
    accuracy.main()
    assert "| scp1:shipped | 0.550 | 0.800 |" in (tmp_path / "results" / "benchmarks" / "eeg_accuracy.md").read_text()
    assert published.read_bytes() == before


def test_a_page_says_where_it_was_measured_and_with_what(page):
    assert re.fullmatch(r".+, \d+ cores, \d+ threads; Python [\d.]+, torch [\d.]+\S*, numpy [\d.]+, sigvit [\d.]+", page.where("numpy"))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("braindecode") is None, reason="braindecode isn't installed")
def test_windows_are_compared_with_braindecode_s_also_without_torchaudio(tmp_path):
    few = "import windows; windows.recordings, windows.many_recordings = dict, lambda into=None: 0.0; windows.main(); import braindecode.datasets"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"}
    run = subprocess.run([sys.executable, "-c", few], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "braindecode" in (tmp_path / "results" / "benchmarks" / "windows.md").read_text()


def test_make_bench_starts_scripts_that_are_there():
    names = re.search(r"for script in ([a-z_ ]+);", (ROOT / "Makefile").read_text()).group(1).split()
    assert [name for name in names if not (ROOT / "benchmarks" / f"{name}.py").is_file()] == []

"""Killed at any moment, out of disk, or pointed at a foreign folder: nothing is lost and nothing is confused."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from sigvit.evidence.results_folder import claim_folder
from sigvit.training.snapshots import Snapshots
from sigvit.whole_file import write_atomically

RUN = """
import sys, torch, sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines
from sigvit.evidence.results_folder import claim_folder, write_results
from sigvit.training.snapshots import Snapshots
torch.set_num_threads(1)
Snapshots.__init__.__defaults__ = (0.0,)  # a snapshot at every look instead of every minute
windows = synthetic_windows(n_subjects=3)
folds = sigvit.folds.cross_subject(windows.metadata)
pipelines = {"ViT": sigvit.SignalViTClassifier(training_steps=40, ensemble=False, width=8, heads=2, classical=None), "LDA": baselines.shrinkage_lda()}
claim_folder(sys.argv[1], {"steps": 40})
results = sigvit.cross_validate(pipelines, windows, folds, range(int(sys.argv[2])), folder=sys.argv[1])
write_results(sys.argv[1], results, windows, folds, {"steps": 40})
"""


def start(folder: Path, seeds: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(seeds)], stderr=subprocess.PIPE)


def run_here(folder: Path, seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in this process, which has loaded everything already."""
    monkeypatch.setattr(sys, "argv", ["", str(folder), str(seeds)])
    monkeypatch.setattr(Snapshots.__init__, "__defaults__", Snapshots.__init__.__defaults__)  # set back at the end
    exec(RUN, {})


def table(folder: Path) -> str:
    """The table as text, times aside."""
    return pd.read_csv(folder / "results.csv", dtype=str).drop(columns="time").to_csv()


def run_with_kills(folder: Path, kills: int, seeds: int) -> int:
    """Start, kill at a random moment after the folder is claimed, start again; returns how many kills met a living process."""
    generator, met = random.Random(kills), 0
    for _ in range(kills):
        process = start(folder, seeds)
        while process.poll() is None and not (folder / "fits").exists():
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 1.0))
        met += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
    process = start(folder, seeds)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return met


@pytest.mark.parametrize(("kills", "seeds"), [(1, 1), pytest.param(20, 2, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_and_ends_with_the_same_table(tmp_path, monkeypatch, kills, seeds):
    run_here(tmp_path / "whole", seeds, monkeypatch)
    met = run_with_kills(tmp_path / "killed", kills, seeds)
    assert met > 0
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
    assert (tmp_path / "killed" / "folds.csv").read_bytes() == (tmp_path / "whole" / "folds.csv").read_bytes()


# A snapshot at every look in the workers too, and stacks of two whatever the machine is faster with.
IN_PROCESSES = """
import sys, sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.results_folder import write_results
from sigvit.training import many, snapshots

class Saved(sigvit.SignalViTClassifier):
    def fit_many(self, windows, jobs, folder=None, processes=None):
        snapshots.Snapshots.__init__.__defaults__ = (0.0,)
        many.choose_plan = lambda members, processes: many.Plan(2)
        return super().fit_many(windows, jobs, folder, processes)

windows = synthetic_windows(n_subjects=4)
folds = sigvit.folds.cross_subject(windows.metadata)
pipelines = {"ViT": Saved(training_steps=200, ensemble=False, width=8, heads=2, classical=None)}
results = sigvit.cross_validate(pipelines, windows, folds, folder=sys.argv[1], n_jobs=2)
write_results(sys.argv[1], results, windows, folds, {})
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there nothing says that a parent is gone")
def test_a_killed_run_in_processes_goes_on_and_ends_with_the_same_table(tmp_path):
    for name, kill in (("whole", False), ("killed", True), ("killed", False)):
        with subprocess.Popen([sys.executable, "-W", "ignore", "-c", IN_PROCESSES, str(tmp_path / name)], stderr=subprocess.PIPE) as process:
            while kill and len([*tmp_path.glob("killed/fits/training/together-*/step_*.pt")]) < 2:
                assert process.poll() is None
                time.sleep(0.05)
            if kill:
                process.kill()
            _, errors = process.communicate()
        assert kill or process.returncode == 0, errors.decode()
    assert table(tmp_path / "killed") == table(tmp_path / "whole")


WORKERS = """
import sys, sigvit
from sigvit.data.synthetic import synthetic_windows
windows = synthetic_windows(n_subjects=4)
pipelines = {"ViT": sigvit.SignalViTClassifier(training_steps=1_000_000, ensemble=False, width=8, heads=2, classical=None)}
sigvit.cross_validate(pipelines, windows, sigvit.folds.cross_subject(windows.metadata), folder=sys.argv[1], n_jobs=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there nothing says that a parent is gone")
def test_the_workers_of_a_killed_run_end(tmp_path):
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", WORKERS, str(tmp_path)], stdout=subprocess.PIPE) as process:
        while len([*tmp_path.glob("fits/training/together-*/claims")]) < 2:
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
        # The workers hold the pipe as well: it ends with the last of them.
        process.communicate(timeout=30)


def test_a_full_disk_is_a_sentence_and_the_old_file_survives(tmp_path, full_disk):
    path = tmp_path / "fit.json"
    write_atomically(path, "old")
    with full_disk(1000), pytest.raises(OSError, match=r"fit\.json could not be written"):
        write_atomically(path, "new" * 10_000)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["fit.json"]


def test_a_folder_of_another_protocol_is_refused_with_what_differs(tmp_path):
    claim_folder(tmp_path, {"steps": 40})
    claim_folder(tmp_path, {"steps": 40})
    with pytest.raises(ValueError, match="there: steps = 40; now: steps = 50"):
        claim_folder(tmp_path, {"steps": 50})
    claim_folder(tmp_path, {"steps": 40, "start": "elsewhere"}, free=["start"])
    (tmp_path / "config.toml").write_text("steps = 4", encoding="utf-8")
    with pytest.raises(ValueError, match="there: steps = 4; now: steps = 40"):
        claim_folder(tmp_path, {"steps": 40})
    (tmp_path / "config.toml").write_text("steps = 40, cut o", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.toml can't be read \(.*\)\. Choose another output folder, or delete that one"):
        claim_folder(tmp_path, {"steps": 40})
    (tmp_path / "config.toml").write_text("steps = 40", encoding="utf-8")
    with pytest.raises(ValueError, match=r"protocol \(there: steps = 40; now: steps = 50\)"):
        claim_folder(tmp_path, {"steps": 50, "start": "here"}, free=["start"])


def test_pipelines_in_another_order_are_the_same_protocol_and_those_of_another_table_are_not(tmp_path):
    claim_folder(tmp_path, {"pipelines": {"LDA": "a", "CSP": "b"}, "asked": {"seeds": 3}})
    claim_folder(tmp_path, {"asked": {"seeds": 3}, "pipelines": {"CSP": "b", "LDA": "a"}})
    with pytest.raises(ValueError, match=r"there: pipelines\.LDA = 'a'; now: pipelines\.LDA = 'b'"):
        claim_folder(tmp_path, {"asked": {"seeds": 3}, "pipelines": {"CSP": "b", "LDA": "b"}})
    claim_folder(tmp_path / "tables", {"one": {"steps": 1}, "other": {"steps": 2}})
    with pytest.raises(ValueError, match=r"\(there: one.steps = 1; there: other.steps = 2; now: one.steps = 2; now: other.steps = 1\)"):
        claim_folder(tmp_path / "tables", {"one": {"steps": 2}, "other": {"steps": 1}})


@pytest.mark.usefixtures("ascii_locale")
def test_a_folder_is_claimed_again_whatever_the_locale(tmp_path):
    for _ in range(2):
        claim_folder(tmp_path, {"data": "Schläfrigkeit"})

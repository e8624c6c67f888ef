"""The journal: one line an interval, means since the line before, and every line once after a resume."""

import csv
import sys
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from sigvit.training.batches import RecordingBatches
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.journal import COLUMNS, Journal
from sigvit.training.loop import train
from sigvit.training.member import validation_loss
from sigvit.training.recipe import Recipe
from sigvit.training.schedule import learning_rate_factor

N, E, S = 23, 3, 11
RECIPE = Recipe(steps=11, batch_size=N, validate_every=5, warmup_steps=3)


def journal(folder: Path | None, **changes) -> Journal:
    return Journal(folder, **({"every": 3, "samples_per_step": N, "console": Console(file=StringIO(), width=300)} | changes))


def trained(written: Journal, validated: bool = True) -> list[float]:
    """The losses of each step, as the loop hands them to nobody else."""
    losses = []

    class Spied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(E * S, 2)

        def forward(self, values):
            logits = self.layer(values.flatten(1))
            if self.training:
                losses.append(float(nn.functional.cross_entropy(logits.detach(), batches.targets, label_smoothing=RECIPE.label_smoothing)))
            return logits

    values, targets = torch.randn(N, E, S, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 2
    batches = RecordingBatches(values, targets, RECIPE, 0)
    # The batch is the whole set, in the set's order.
    batches.batch = lambda step, share=None: (batches.values, batches.targets)
    validation = (lambda model: validation_loss(model, values, targets)) if validated else None
    train(Spied(), batches, RECIPE, journal=written, validation=validation)
    return losses


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_lines_come_at_their_interval_at_each_look_and_at_the_end(tmp_path):
    trained(journal(tmp_path))
    assert [row["step"] for row in rows(tmp_path)] == ["3", "5", "6", "9", "10", "11"]
    assert [row["step"] for row in rows(tmp_path) if row["validation_loss"]] == ["5", "10", "11"]
    assert tuple(rows(tmp_path)[0]) == COLUMNS


def test_without_validation_only_the_interval_and_the_end_count(tmp_path):
    trained(journal(tmp_path), validated=False)
    assert [row["step"] for row in rows(tmp_path)] == ["3", "6", "9", "11"]


def test_a_line_holds_the_mean_since_the_line_before_and_the_rate_of_its_last_step(tmp_path):
    losses, before = trained(journal(tmp_path)), 0
    for row in rows(tmp_path):
        step = int(row["step"])
        assert float(row["loss"]) == pytest.approx(sum(losses[before:step]) / (step - before), rel=1e-6)  # float32 means
        assert float(row["learning_rate"]) == RECIPE.learning_rate * learning_rate_factor(RECIPE, step - 1)
        assert float(row["gradient_norm"]) > 0
        assert 0 <= float(row["accuracy"]) <= 1
        before = step


def test_share_of_the_peak_is_samples_a_second_times_their_operations(tmp_path):
    trained(journal(tmp_path, flops_per_sample=2e6, peak_flops=1e12))
    for row in rows(tmp_path):
        assert float(row["share_of_peak"]) == pytest.approx(float(row["samples_per_s"]) * 2e6 / 1e12)


def test_time_outside_training_is_not_counted_in_samples_a_second(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("sigvit.training.journal.time.perf_counter", lambda: clock[0])
    written = journal(tmp_path)
    written.open(0, 10)
    clock[0] += 2.0
    with written.outside():
        clock[0] += 100.0
    written.write(5, {"loss": 1.0})
    assert float(rows(tmp_path)[0]["samples_per_s"]) == 5 * N / 2.0
    assert "1 min 42 s left" in written.console.file.getvalue()  # validation comes again: 102 s for 5 of 10 steps


def test_the_terminals_line_says_what_the_file_says(tmp_path):
    written = journal(tmp_path)
    trained(written)
    first, *_, last = written.console.file.getvalue().splitlines()
    assert first.startswith(f"step 3/11  loss {float(rows(tmp_path)[0]['loss']):.4f}  accuracy ")
    assert first.endswith(" left")
    assert f"validation loss {float(rows(tmp_path)[-1]['validation_loss']):.4f}" in last
    assert not last.endswith("left")


def test_a_resume_cuts_lines_behind_the_checkpoint_and_a_line_that_a_kill_cut_short(tmp_path):
    written = journal(tmp_path)
    written.open(0, 100)
    for step in (10, 20, 30):
        written.write(step, {"loss": step / 7})
    path = tmp_path / "metrics.csv"
    whole = path.read_bytes()
    path.write_bytes(whole + b"1")  # of 150, say
    for _ in range(2):
        written.open(20, 100)
        assert [row["step"] for row in rows(tmp_path)] == ["10", "20"]
    assert whole.startswith(path.read_bytes())


def test_a_training_from_the_beginning_starts_the_file_anew(tmp_path):
    (tmp_path / "metrics.csv").write_text("of an earlier run\n")
    journal(tmp_path).open(0, 10)
    assert rows(tmp_path) == []


def test_a_foreign_file_is_not_cut(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match=r"metrics\.csv has the columns 'epoch,loss' instead of"):
        journal(tmp_path).open(5, 10)


def test_a_file_that_somebody_edited_is_cut_or_refused_by_line(tmp_path):
    written = journal(tmp_path)
    written.open(0, 100)
    written.write(10, {"loss": 0.5})
    path = tmp_path / "metrics.csv"
    whole = path.read_text()
    path.write_text(whole + "\n\n")
    written.open(20, 100)
    assert [row["step"] for row in rows(tmp_path)] == ["10"]
    path.write_text(whole + "new rate,1e-3\n")
    with pytest.raises(ValueError, match=r"Line 3 of .*metrics\.csv begins with 'new rate' instead of a step"):
        written.open(20, 100)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full is Linux's")
def test_a_full_disk_names_the_last_good_checkpoint(tmp_path):
    def fill(step):
        if step == 8:
            (tmp_path / "metrics.csv").unlink()
            (tmp_path / "metrics.csv").symlink_to("/dev/full")

    batches = RecordingBatches(torch.randn(N, E, S), torch.arange(N) % 2, RECIPE, 0)
    model, checkpoints = nn.Sequential(nn.Flatten(), nn.Linear(E * S, 2)), Checkpoints(tmp_path / "checkpoints", every=4)
    told = r"metrics couldn't be written into .* \(No space left on device\)\. The last good checkpoint is .*step_00000008\.pt\."
    with pytest.raises(OSError, match=told):
        train(model, batches, RECIPE, journal=journal(tmp_path), checkpoints=checkpoints, on_step=fill)
    assert checkpoints.latest()[0] == 8


def test_only_the_first_process_writes(tmp_path):
    written = journal(tmp_path / "nothing")
    written.open(0, 10, writes=False)
    written.write(5, {"loss": 1.0})
    assert not (tmp_path / "nothing").exists()
    assert written.console.file.getvalue() == ""


def test_tensorboard_holds_the_same_numbers(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard isn't installed")
    trained(journal(tmp_path, tensorboard=True))
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(int(row["step"]), pytest.approx(float(row["loss"]))) for row in rows(tmp_path)]


def test_tensorboard_that_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        journal(tmp_path, tensorboard=True)


@pytest.mark.parametrize(
    ("changes", "sentence"), [({"every": 0}, "every is 0"), ({"samples_per_step": 0}, "samples_per_step is 0"), ({"tensorboard": True}, "need a folder")]
)
def test_choices_that_make_no_journal_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        journal(None, **changes)

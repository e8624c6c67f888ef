"""The pre-training script end to end, a few steps: images, one page, several caps at once; exact resume, and what the folder says of what was seen."""

import importlib
import inspect
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.pretraining import read_pretraining
from sigvit.training.checkpoint import Stopped

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FEW = ("--steps", 12, "--batch-size", 6, "--width", 16, "--depth", 1, "--heads", 2, "--every", 6)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    module = importlib.import_module("pretraining")

    def run(*arguments):
        return module.main(module.tyro.cli(module.Configuration, args=[str(argument) for argument in arguments]))

    run.module = module
    return run


@pytest.fixture
def pages(monkeypatch):
    """Two sets of other caps and rates, behind the names of pages."""
    sets = {
        "three": synthetic_windows(n_trials=6),
        "two": synthetic_windows(n_subjects=2, n_trials=4, electrodes=("Fz", "Oz"), sampling_rate=50.0, n_times=71, seed=1),
    }
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: sets[name])
    return sets


@pytest.mark.parametrize("objective", ["masked_patches", "masked_autoencoder"])
def test_images_pre_train_and_the_model_can_be_opened(script, tmp_path, objective):
    folder = script("--data", "digits", "--objective", objective, *FEW, "--output", tmp_path)
    model = sigvit.VisionTransformer.from_pretrained(folder)
    assert model.features(torch.zeros(2, 1, 8, 8)).shape == (2, 16)
    assert len(read_pretraining(folder).table) == 0
    windows = synthetic_windows()
    assert sigvit.certify(windows, sigvit.folds.cross_subject(windows.metadata), pretrained=folder).verdict == "proved"


def test_pre_trained_models_are_judged_beside_random_ones_and_by_fine_tuning(script, tmp_path):
    transfer = importlib.import_module("image_transfer")
    few = ("--steps", "8", "--seeds", "2", "--width", "12", "--depth", "1", "--batch-size", "6", "--objectives", "masked_autoencoder")
    transfer.main(transfer.tyro.cli(transfer.Options, args=[*few, "--judged", "few_shot", "fine_tuning", "--output", str(tmp_path / "tables.md")]))
    text = (tmp_path / "tables.md").read_text()
    for row in ("| pixels |", "| random encoder |", "| masked autoencoder (normalised) |", "| from scratch |", "| 2 steps of these without labels |"):
        assert text.count(row) == 1
    with pytest.raises(SystemExit):
        transfer.tyro.cli(transfer.Options, args=["--data", "some_folder"])


@pytest.mark.parametrize(
    ("lowest", "highest", "met"),
    [((0.01, 0.05), 0.0699, True), ((-0.01, 0.05), 0.0699, False), ((0.01, -0.01), 0.12, False), ((0.01, 0.03), 0.0699, False)],
)
def test_the_margin_is_met_where_every_seed_is_above_and_the_mean_by_five_points(script, lowest, highest, met):
    """Of two seeds one gains `highest`, the other `lowest`: with one shot, and with more; by the mean alone only .03 is too little, just below 5 points."""
    transfer = importlib.import_module("image_transfer")
    gains = {shots: (lowest[0] if shots == 1 else lowest[1], highest) for shots in transfer.SHOTS}
    found = {"random encoder": {shots: [0.25, 0.5] for shots in gains}, "own": {shots: [0.25 + one, 0.5 + other] for shots, (one, other) in gains.items()}}
    assert transfer.verdict("own", found).endswith(f"is {'met' if met else 'missed'}.")


def test_one_page_pre_trains_and_the_folder_names_every_window(script, pages, tmp_path):
    folder = script("--data", "three", "--target", "band_power", "--window-s", 0.5, "--subjects", "01", "03", *FEW, "--output", tmp_path)
    record = read_pretraining(folder)
    seen = pages["three"][pages["three"].metadata["subject"].isin(["01", "03"]).to_numpy()]
    assert record.table["sha256"].tolist() == seen.row_hashes()
    folds = sigvit.folds.cross_subject(pages["three"].metadata)
    assert sigvit.certify(pages["three"], folds[1:2], pretrained=folder).verdict == "proved"
    with pytest.raises(sigvit.Leak, match="01"):
        sigvit.certify(pages["three"], folds[:1], pretrained=folder)


def test_several_caps_and_rates_pre_train_one_model(script, pages, tmp_path):
    arguments = ("--data", "three", "two", "--objective", "masked_autoencoder", "--masking", "time", *FEW)
    model = sigvit.VisionTransformer.from_pretrained(script(*arguments, "--output", tmp_path))
    batch = sigvit.collate_windows([(windows.values[0] * 1e6, windows.info) for windows in pages.values()])
    assert model.features(batch).shape == (2, 16)
    assert set(read_pretraining(tmp_path / "model").table["dataset"]) == {"synthetic"}


def test_stopped_and_started_again_ends_with_the_same_weights(script, tmp_path, monkeypatch):
    arguments = ("--data", "digits", *FEW)
    whole = script(*arguments, "--output", tmp_path / "whole")
    update, steps = inspect.unwrap(script.module.train).__globals__["update"], []

    def stopping(state, *others, **options):
        update(state, *others, **options)
        steps.append(state.step)
        if len(steps) == 5:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setitem(inspect.unwrap(script.module.train).__globals__, "update", stopping)
    with pytest.raises(Stopped):
        script(*arguments, "--output", tmp_path / "stopped")
    assert steps == [1, 2, 3, 4, 5]
    again = script(*arguments, "--output", tmp_path / "stopped")
    assert steps[5] == 6
    first, second = (sigvit.VisionTransformer.from_pretrained(folder).state_dict() for folder in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_refused_command_leaves_the_folder_free(script, tmp_path):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        script("--data", "digits", "--share", 0, "--steps", 3, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("data", "masking", "sentence"), [("digits", "electrode", "sit on the axes"), ("three", "time", "share the one step of time")])
def test_a_masking_that_does_not_fit_leaves_the_folder_free(script, pages, tmp_path, data, masking, sentence):
    long = () if data == "digits" else ("--window-s", 1.0)
    with pytest.raises(ValueError, match=sentence):
        script("--data", data, "--masking", masking, *long, *FEW, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_objective_in_the_same_folder_is_refused(script, tmp_path):
    script("--data", "digits", *FEW, "--output", tmp_path)
    with pytest.raises(ValueError, match="another protocol"):
        script("--data", "digits", "--share", 0.4, *FEW, "--output", tmp_path)


@pytest.mark.parametrize("change", [lambda windows: windows[6:], lambda windows: replace(windows, page={"citation": "other people"})])
def test_a_finished_run_does_not_take_other_windows_under_the_same_name(script, pages, tmp_path, change):
    arguments = ("--data", "three", "--window-s", 0.5, *FEW, "--output", tmp_path)
    record = script(*arguments) / "pretraining.json"
    before = record.read_bytes()
    script(*arguments)
    pages["three"] = change(pages["three"])
    with pytest.raises(ValueError, match=r"another protocol \(there: data_sha256.three = .*now: data_sha256.three = "):
        script(*arguments)
    assert record.read_bytes() == before


def test_a_finished_run_does_not_take_other_images_under_the_same_name(script, tmp_path):
    pixels, labels = np.random.default_rng(0).integers(0, 256, (14, 8, 8), dtype=np.uint8), np.arange(14) % 2
    for values in (pixels, 255 - pixels):
        np.savez(tmp_path / "set.npz", x_train=values, y_train=labels, x_test=values, y_test=labels)
        if values is pixels:
            script("--data", tmp_path / "set.npz", "--patch", 2, 2, *FEW, "--output", tmp_path / "out")
    with pytest.raises(ValueError, match=r"another protocol \(there: .*set.npz"):
        script("--data", tmp_path / "set.npz", "--patch", 2, 2, *FEW, "--output", tmp_path / "out")


def test_a_subject_that_is_not_there_is_refused(script, pages, tmp_path):
    with pytest.raises(ValueError, match="no subject 07; it has 01, 02, 03"):
        script("--data", "three", "--subjects", "07", *FEW, "--output", tmp_path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("digits", "--subjects", "01"), r"subjects is \('01',\), but nothing reads it: digits are images"),
        (("digits", "--window-s", 0.5), "window_s is 0.5, but nothing reads it: digits are images"),
        (("digits", "--folder", "here"), "folder is here, but nothing reads it: digits are images"),
        (("three", "--patch", 2, 2), r"patch is \(2, 2\), but nothing reads it: three are recordings"),
        ((), "--data names nothing"),
    ],
)
def test_what_nothing_reads_is_refused(script, pages, tmp_path, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        script("--data", *given, *FEW, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""The scaling script end to end: nested subsets, resumed cells, a fitted curve, for images and for recordings."""

import importlib
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sigvit
from sigvit.data.images import open_images
from sigvit.data.synthetic import synthetic_windows
from sigvit.evaluation.scaling_law import fit_scaling_law

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FEW = ("--sizes", "8x1", "--shares", 0.1, 0.3, 1, "--seeds", 2, "--steps", 4, "--batch-size", 6)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    module = importlib.import_module("scaling")

    def run(*arguments):
        return module.main(module.tyro.cli(module.Configuration, args=[str(argument) for argument in arguments]))

    run.module = module
    return run


@pytest.mark.slow
def test_images_are_measured_fitted_drawn_and_not_measured_twice(script, tmp_path, monkeypatch):
    cells = script("--data", "digits", *FEW, "--output", tmp_path)
    assert len(cells) == 3 * 2
    assert cells["samples"].nunique() == 3
    assert cells["flops"].nunique() == 1
    assert "| 8x1 |" in (tmp_path / "scaling.md").read_text()
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("by_data.png", "by_compute.png"))

    def never(*given):
        raise AssertionError("measured twice")

    monkeypatch.setattr(script.module, "measure", never)
    assert script("--data", "digits", *FEW, "--output", tmp_path).equals(cells)


def test_recordings_are_measured_on_people_left_out(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: synthetic_windows(n_trials=20))
    cells = script("--data", "synthetic", "--k", 3, *FEW, "--output", tmp_path)
    assert sorted(cells["samples"].unique()) == [8, 24, 80]


def test_more_seeds_go_on_in_the_same_folder_and_fewer_read_their_own(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: synthetic_windows(n_trials=6))
    few = ("--data", "synthetic", "--k", 3, "--sizes", "8x1", "--shares", 1, "--steps", 2, "--output", tmp_path)
    one, two = (script(*few, "--seeds", seeds) for seeds in (1, 2))
    assert two["seed"].tolist() == [0, 1]
    assert two[:1].equals(one)
    assert script(*few, "--seeds", 1).equals(one)


def test_a_second_start_is_refused_while_the_first_goes_on(script, tmp_path, monkeypatch, claimed_elsewhere):
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: synthetic_windows(n_trials=20))
    with claimed_elsewhere(tmp_path, "cells") as held:
        assert held
        with pytest.raises(BlockingIOError, match="Another process trains the same into"):
            script("--data", "synthetic", "--k", 3, *FEW, "--output", tmp_path)


def test_cells_of_other_windows_are_not_taken_for_those_of_the_same_name(script, tmp_path, monkeypatch):
    few = ("--data", "synthetic", "--k", 3, "--sizes", "8x1", "--shares", 1, "--seeds", 2, "--steps", 2, "--output", tmp_path)
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: synthetic_windows(n_trials=6))
    assert script(*few).equals(script(*few))
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: synthetic_windows(n_trials=6, seed=1))
    with pytest.raises(ValueError, match=r"another protocol \(there: data_sha256.synthetic = .*now: data_sha256.synthetic = "):
        script(*few)


def test_the_claim_names_both_parts_of_images(script, tmp_path, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(script.module, "measure", stop)
    with pytest.raises(KeyboardInterrupt):
        script("--data", "digits", *FEW, "--output", tmp_path)
    told = tomllib.loads((tmp_path / "config.toml").read_text())["data_sha256"]
    assert told == {f"digits {part}": open_images("digits", part).fingerprint() for part in ("train", "test")}


@pytest.mark.parametrize("share", [-1, 0, 2])
def test_shares_that_are_none_are_refused(script, tmp_path, share):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        script("--data", "digits", *FEW, "--shares", share, "--output", tmp_path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--sizes", "16"), "written WIDTHxDEPTH, such as 32x2, but one is '16'"),
        (("--shares", 0.1, 0.1, 1), "each measured once"),
        (("--sizes",), "at least one size is measured, at one share and with one seed"),
        (("--shares",), "at least one size is measured, at one share and with one seed"),
        (("--seeds", 0), "--seeds 0: at least one size is measured, at one share and with one seed"),
        (("--k", 3), "k is 3, but nothing reads it: digits are images"),
        (("--window-s", 0.2), "window_s is 0.2, but nothing reads it: digits are images"),
        (("--folder", "here"), "folder is here, but nothing reads it: digits are images"),
    ],
)
def test_what_can_not_be_measured_leaves_the_folder_free(script, tmp_path, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        script("--data", "digits", *FEW, *given, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_seed_has_a_curve_without_an_interval(script):
    law = fit_scaling_law([100.0, 200, 400, 800], [0.41, 0.425, 0.41, 0.361])
    assert all(words.endswith("(one seed: no interval)") for words in script.module.of_law(law, 800))


def test_one_seed_has_no_deviation(script):
    cells = pd.DataFrame({"size": "8x1", "share": [0.3, 0.3, 1.0, 1.0], "samples": [14, 14, 43, 43], "flops": 1e6, "accuracy": [0.5, 0.75, 0.25, 0.5]})
    one = script.module.report(cells[::2], {"8x1": None}, script.module.Configuration(seeds=1))
    assert "one seed, " in one
    assert "| 0.500 | 0.250 |" in one
    two = script.module.report(cells, {"8x1": None}, script.module.Configuration(seeds=2))
    assert "mean ± standard deviation of 2 seeds" in two
    assert "| 0.625 ± 0.177 | 0.375 ± 0.177 |" in two


def test_growth_with_operations_is_told_of_the_largest_subset(script):
    """Errors of 2 · flops^-.2 with all samples; with few of them none fall."""
    flops = np.repeat([1e9, 3e9, 9e9, 27e9], 2)
    most = pd.DataFrame({"size": np.repeat(list("abcd"), 2), "share": 1.0, "samples": 97, "flops": flops, "accuracy": 1 - 2 * flops**-0.2})
    cells = pd.concat([most, most.assign(share=0.1, samples=11, accuracy=0.5)])
    told = script.module.report(cells, {}, script.module.Configuration(seeds=2))
    assert "By operations of a training, 97 samples: exponent 0.20 [0.20, 0.20], from 4 sizes." in told
    assert "Three points" not in told
    three, two = (script.module.by_operations(most[most["size"].isin(list(sizes))]) for sizes in ("abc", "ab"))
    assert "from 3 sizes. Three points fix three numbers" in three
    assert two == "By operations of a training, 97 samples: sizes of 2 different numbers of operations fit no curve; it takes three."


def test_smaller_subsets_lie_inside_larger_ones_and_hold_every_class(script):
    labels = np.repeat([0, 1, 2], [50, 7, 90])
    small, large = (script.module.subset(labels, share, seed=3) for share in (0.05, 0.5))
    assert set(small) < set(large)
    assert set(labels[small]) == {0, 1, 2}
    assert not np.array_equal(large, script.module.subset(labels, 0.5, seed=4))

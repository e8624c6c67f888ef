"""The transfer script end to end on small synthetic sets: every start and tuning is judged on the same trials, a killed run goes on, and leaks are refused."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.model.scaling import Scaling

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FEW = ("--pretraining-steps", 3, "--steps", 3, "--width", 12, "--depth", 1, "--seeds", 1, "--shots", 2, 0, "--window-s", 0.2, "--batch-size", 4)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    module = importlib.import_module("transfer")
    sets = {
        "own": replace(synthetic_windows(n_trials=6, effect=2.0), name="own"),
        "other": replace(synthetic_windows(n_subjects=2, n_trials=4, electrodes=("Fz", "Oz"), sampling_rate=50.0, n_times=71, seed=1), name="other"),
        "leaking": replace(synthetic_windows(n_trials=6, effect=2.0), name="leaking"),
    }
    # As pages do, each states whose recordings it holds.
    sets = {name: replace(windows, page={"citation": f"{name} 2020"}) for name, windows in sets.items()}
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: sets[name])

    def run(*arguments):
        return module.main(module.tyro.cli(module.Configuration, args=[str(argument) for argument in arguments]))

    run.module, run.sets = module, sets
    return run


@pytest.mark.slow
def test_every_start_and_tuning_is_judged_in_the_same_folds(script, tmp_path):
    sigvit.vit("Ti/2", 8, 10, 1, width=12, depth=1, heads=2, mlp_width=11, pool="mean").save_pretrained(tmp_path / "image")
    arguments = ("--dataset", "own", "--others", "other", "--image-model", tmp_path / "image", *FEW, "--output", tmp_path / "out")
    cells = script(*arguments)
    # scratch, training part, other recordings, other labels, and an image model by three tokenizers, trained and not.
    assert cells["start"].nunique() == 4 + 6
    assert len(cells) == 10 * 3 * 2 * 3
    assert not cells.duplicated(["start", "tuning", "shots", "fold", "seed"]).any()
    assert cells.groupby(["shots", "fold"])["labelled"].nunique().eq(1).all()
    assert set(cells["labelled"]) == {4, 24}
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text(encoding="utf-8"))
    assert certificate["verdict"] == "proved"
    # One model a fold of its own training part, and two for all folds.
    assert sorted(len(entry["folds"]) for entry in certificate["pretraining"]) == [1, 1, 1, 3, 3]
    table = (tmp_path / "out" / "transfer.md").read_text()
    assert table.count("| scratch |") == 3
    assert all((tmp_path / "out" / f"curves_{tuning}.png").stat().st_size > 10_000 for tuning in ("full", "lora", "ridge"))
    assert "| other labels |" in table


def test_a_killed_run_goes_on_with_the_same_cells(script, tmp_path, monkeypatch):
    arguments = ("--dataset", "own", "--tunings", "ridge", "full", *FEW)
    whole = script(*arguments, "--output", tmp_path / "whole")
    judge, count = script.module.judge, []

    def dying(*given):
        count.append(given)
        if len(count) == 3:
            raise KeyboardInterrupt
        return judge(*given)

    monkeypatch.setattr(script.module, "judge", dying)
    with pytest.raises(KeyboardInterrupt):
        script(*arguments, "--output", tmp_path / "killed")
    again = script(*arguments, "--output", tmp_path / "killed")
    assert len(count) == 3 * 2 + 1  # folds × shots, and the one that died
    assert again.equals(whole)


def test_more_seeds_go_on_in_the_same_folder_and_fewer_read_their_own(script, tmp_path):
    arguments = ("--dataset", "own", "--tunings", "ridge", *FEW, "--output", tmp_path)
    one, two = script(*arguments), script(*arguments, "--seeds", 2)
    assert two["seed"].value_counts().to_dict() == {0: len(one), 1: len(one)}
    assert script(*arguments)["score"].tolist() == one["score"].tolist()
    assert "and 1 seeds" in (tmp_path / "transfer.md").read_text()


def test_a_session_too_small_to_divide_is_left_out(script, tmp_path):
    windows = script.sets["own"]
    script.sets["own"] = windows[(windows.metadata["subject"] != "02") | (windows.metadata["trial"] % 6 < 1)]
    cells = script("--dataset", "own", "--protocol", "within_session", "--tunings", "ridge", *FEW, "--output", tmp_path)
    assert len(cells) > 0
    warnings = json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8"))["warnings"]
    assert any("tested in no fold, of subject 02" in warning for warning in warnings)


def test_a_second_start_is_refused_while_the_first_goes_on(script, tmp_path, claimed_elsewhere):
    with claimed_elsewhere(tmp_path, "cells") as held:
        assert held
        with pytest.raises(BlockingIOError, match="Another process trains the same into"):
            script("--dataset", "own", "--tunings", "ridge", *FEW, "--output", tmp_path)


def test_other_recordings_of_tested_people_are_refused(script, tmp_path):
    with pytest.raises(sigvit.Leak, match="pre-training"):
        script("--dataset", "own", "--others", "leaking", *FEW, "--output", tmp_path)


@pytest.mark.parametrize("name", ["own", "other"])
def test_cells_of_other_windows_are_not_taken_for_those_of_the_same_name(script, tmp_path, name):
    arguments = ("--dataset", "own", "--others", "other", "--tunings", "ridge", *FEW, "--output", tmp_path)
    script(*arguments)
    script.sets[name] = replace(script.sets[name], values=2 * script.sets[name].values)
    with pytest.raises(ValueError, match=rf"another protocol \(there: data_sha256.{name} = .*now: data_sha256.{name} = "):
        script(*arguments)


@pytest.mark.usefixtures("ascii_locale")
def test_the_report_is_printed_whatever_the_locale(script, tmp_path, capsys):
    script.sets["Schläfrigkeit"] = script.sets["own"]
    script("--dataset", "Schläfrigkeit", "--tunings", "ridge", *FEW, "--output", tmp_path)
    assert "# Transfer: Schläfrigkeit, cross_subject" in capsys.readouterr().out


def test_cells_of_other_weights_are_not_taken_for_those_of_the_same_folder(script, tmp_path):
    model = sigvit.vit("Ti/2", 8, 10, 1, width=12, depth=1, heads=2, mlp_width=11, pool="mean")
    model.save_pretrained(tmp_path / "image")
    image = ("--image-model", tmp_path / "image", "--through", "electrode_time")
    arguments = ("--dataset", "own", *image, "--tunings", "ridge", *FEW, "--output", tmp_path / "out")
    script(*arguments)
    model.head.bias.data += 1
    model.save_pretrained(tmp_path / "image")
    with pytest.raises(ValueError, match=r"another protocol \(there: image_model_sha256\.model\.safetensors = "):
        script(*arguments)


def test_gains_are_paired_by_fold_and_an_image_model_s_over_its_own_shape(script):
    scores = {
        "scratch": (0.5, 0.7, 0.6),
        "training part": (0.6, 0.9, 0.9),
        "image shape, scratch (scalp_map)": (0.8, 0.8, 0.8),
        "image weights (scalp_map)": (0.9, 0.7, 0.95),
    }
    cells = [(start, 0, fold, score) for start, told in scores.items() for fold, score in enumerate(told)]
    table = pd.DataFrame(cells, columns=["start", "shots", "fold", "score"]).set_index(["start", "shots", "fold"])["score"].sort_index()
    # Gains of .1, .2 and .3: Student's t with two degrees of freedom is 4.303, times .1 by the root of 3.
    assert script.module.entry(table, "training part", 0, 0.0) == "0.800 (+0.200 [-0.048, +0.448])"
    assert script.module.entry(table, "image weights (scalp_map)", 0, 0.0).startswith("0.850 (+0.050 [")
    wider = script.module.entry(table, "training part", 0, 0.5)
    assert wider == f"0.800 (+0.200 [{0.2 - 0.4303 * (1 / 3 + 0.5) ** 0.5:+.3f}, {0.2 + 0.4303 * (1 / 3 + 0.5) ** 0.5:+.3f}])"


def test_curves_show_each_start_s_own_score_over_the_labelled_trials(script):
    scores = {("scratch", 5): (0.5, 0.7, 0.6), ("scratch", 0): (0.7, 0.9, 0.8), ("training part", 5): (0.4, 0.5, 0.6), ("training part", 0): (0.9, 1.0, 0.95)}
    labelled = {5: (10, 10, 10), 0: (31, 37, 43)}
    cells = [(start, "full", shots, fold, 0, labelled[shots][fold], score) for (start, shots), told in scores.items() for fold, score in enumerate(told)]
    table = pd.DataFrame(cells, columns=["start", "tuning", "shots", "fold", "seed", "labelled", "score"]).assign(metric="roc_auc")
    axes = script.module.draw(table, (0, 5), "full", 0.0).axes[0]
    lines = {container.get_label(): container for container in axes.containers}
    x, mean = lines["scratch"].lines[0].get_data()
    assert mean.tolist() == pytest.approx([0.6, 0.8])
    assert x == pytest.approx([10, 37], rel=0.02)  # drawn a little apart
    low, high = lines["scratch"].lines[2][0].get_segments()[0][:, 1]
    half = 4.3027 * 0.1 / 3**0.5  # Student's t with two degrees of freedom, to four decimals
    assert [low, high] == pytest.approx([0.6 - half, 0.6 + half], abs=1e-4)
    assert lines["training part"].lines[2][0].get_segments()[1][1, 1] == 1.0  # no score is above it
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10", "37"]
    assert "roc_auc, full" in axes.get_ylabel()


def test_muscles_without_places_start_from_their_own_alone(script, tmp_path, monkeypatch):
    muscles = replace(synthetic_windows(n_trials=6, electrodes=("EMG0", "EMG1", "EMG2"), effect=2.0), name="muscles")
    known = script.sets | {"muscles": muscles}
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: known[name])
    with pytest.raises(ValueError, match=r"None of the electrodes of muscles has a known place, .* leave --others out"):
        script("--dataset", "muscles", "--others", "other", *FEW, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    cells = script("--dataset", "muscles", "--tunings", "ridge", *FEW, "--output", tmp_path / "out")
    assert set(cells["start"]) == {"scratch", "training part"}
    assert [path.name for path in (tmp_path / "out").glob("curves_*.png")] == ["curves_ridge.png"]


@pytest.mark.parametrize("shots", [25, -1])
def test_more_labelled_trials_than_there_are_are_refused_before_anything_is_trained(script, tmp_path, shots):
    with pytest.raises(ValueError, match="in fold 0 training has 12 of "):
        script("--dataset", "own", *FEW, "--shots", 2, shots, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--steps", 0), "steps is 0; it must be at least 1"),
        (("--pretraining-steps", 0), "steps is 0; it must be at least 1"),
        (("--learning-rate", 0), "learning_rate is 0.0; it must be above 0"),
        (("--seeds", 0), "--seeds 0: each names at least one"),
        (("--tunings",), r"--tunings \(\), .*: each names at least one"),
        (("--shots",), r"--shots are \(\), .*: each names at least one"),
        (("--image-model", "image", "--through"), r"--through \(\) .*: each names at least one"),
        (("--through", "scalp_map"), r"through is \('scalp_map',\), but nothing reads it: it is for image models"),
        (("--image-model", "nowhere"), "There is no nowhere"),
        (("--image-model", "image", "--through", "scalp_map"), "A picture of the scalp needs every position"),
    ],
)
def test_what_can_not_be_started_leaves_the_folder_free(script, tmp_path, monkeypatch, given, sentence):
    monkeypatch.chdir(tmp_path)
    sigvit.vit("Ti/2", 8, 10, 1, width=12, depth=1, heads=2, mlp_width=7, pool="mean").save_pretrained("image")
    script.sets["muscles"] = replace(synthetic_windows(n_trials=6, electrodes=("EMG0", "EMG1", "EMG2"), effect=2.0), name="muscles")
    dataset = "muscles" if given[-1] == "scalp_map" else "own"
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        script("--dataset", dataset, *FEW, *given, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("own", "other"), ("other",)], ids=["two sets", "one of another cap and rate"])
def test_levels_are_equally_frequent_among_all_windows_that_pretrain(script, monkeypatch, names):
    starts, made = script.module.starts, []
    monkeypatch.setattr(starts, "train", lambda objective, *given: made.append(objective))
    sets = [script.sets[name] for name in names]
    starts._without_labels(script.sets["own"], sets, starts.Sizes(12, 1, 0.2), starts.Training("masked_patches", 1, 4, 1e-3), seed=0)
    tokenizer, target = made[0].model.tokenizer, made[0].target
    batches = [sigvit.collate_windows([(window, each.info) for window in Scaling.of(each.values)(each.values)]) for each in sets]
    counts = [target.classes(patches[real]).flatten().bincount(minlength=8) for patches, real, _ in map(tokenizer.unfold_several, batches)]
    shares = sum(counts) / sum(counts).sum()
    # Fewer than 1000 windows are all looked at; quantiles lie between patches, so that a level's count may be one off.
    torch.testing.assert_close(shares, torch.full((8,), 1 / 8), rtol=0, atol=1.5 / float(sum(counts).sum()))

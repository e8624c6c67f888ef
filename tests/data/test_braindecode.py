"""braindecode's datasets of windows become ours: the same signals, names for targets, times on each recording's clock."""

from __future__ import annotations

import sys
import types
import warnings

import mne
import numpy as np
import pandas as pd
import pytest

from sigvit.data.arrays import support_of_info
from sigvit.data.braindecode import windows_from_braindecode
from sigvit.data.recordings import windows_from_raw
from sigvit.data.synthetic import synthetic_raw

LEFT_RIGHT = {"left": 0, "right": 1}


@pytest.fixture(scope="module")
def braindecode():
    """The package. Its networks import torchaudio, which has no build for this machine's torch; no dataset uses it."""
    try:
        import torchaudio  # noqa: F401

        names = ()
    except (ImportError, OSError):
        names = ("torchaudio", "torchaudio.functional", "torchaudio.transforms")
        for name in names:
            module = types.ModuleType(name)
            module.__getattr__ = _absent
            sys.modules[name] = module
        sys.modules["torchaudio"].functional = sys.modules["torchaudio.functional"]
        sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import braindecode.datasets
            import braindecode.preprocessing
        yield braindecode
    except ImportError as error:
        pytest.skip(f"braindecode can't be imported: {error}")
    finally:
        for name in names:  # others look whether it is there
            sys.modules.pop(name, None)


def _absent(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def concatenated(braindecode, raws, **described):
    parts = [
        braindecode.datasets.RawDataset(raw, description={"subject": number, "session": "a", "run": "0", "age": 30 + number, **described})
        for number, raw in enumerate(raws)
    ]
    return braindecode.datasets.BaseConcatDataset(parts)


def test_a_baseline_outside_of_cropped_epochs_counts_as_support():
    """Without the package: of its parts no more is read than these attributes."""
    epochs = mne.Epochs(synthetic_raw(n_trials=5), tmin=-0.5, tmax=1, baseline=(-0.5, 0), preload=True, verbose="ERROR").crop(0.4, 0.9)
    told = pd.DataFrame({"i_start_in_trial": epochs.events[:, 0], "i_stop_in_trial": epochs.events[:, 0] + 81, "target": epochs.events[:, 2]})
    part = types.SimpleNamespace(windows=epochs, metadata=told, description={"subject": "7"})
    assert windows_from_braindecode(part).filter_support_s == 0.9


def described_as(described, n_trials=5):
    """A part as braindecode has it, without the package."""
    raw = synthetic_raw(n_trials=n_trials)
    first = np.arange(n_trials) * 97
    told = pd.DataFrame({"i_start_in_trial": first, "i_stop_in_trial": first + 89, "target": np.arange(n_trials) % 2})
    return types.SimpleNamespace(raw=raw, metadata=told, description=pd.Series(described))


def test_whole_floats_in_descriptions_are_whole_names():
    """A description that also holds an age of 24.5 is a column of floats."""
    metadata = windows_from_braindecode(described_as({"subject": 1, "session": 2, "age": 24.5})).metadata
    assert metadata.loc[0, ["subject", "session", "run", "recording"]].tolist() == ["1", "2", "1", "sub-1_ses-2_run-1"]
    assert not [column for column in metadata if column.endswith("_of_description")]
    for missing in (None, float("nan")):
        with pytest.raises(ValueError, match=r"The subject of part 0 of braindecode is (nan|None) in its description; name it"):
            windows_from_braindecode(described_as({"subject": missing, "run": "a"}))


def epochs_part(raw):
    epochs = mne.Epochs(raw, tmin=0, tmax=0.5, baseline=None, preload=True, verbose="ERROR")
    told = pd.DataFrame({"i_start_in_trial": epochs.events[:, 0], "i_stop_in_trial": epochs.events[:, 0] + 81, "target": epochs.events[:, 2]})
    return types.SimpleNamespace(windows=epochs, metadata=told, description={"subject": "7"})


@pytest.mark.parametrize("as_epochs", [False, True])
def test_electrodes_are_taken_in_the_order_that_is_asked_for_and_bad_or_dead_ones_are_refused(as_epochs):
    def part(bads=(), dead=()):
        recorded = described_as({"subject": "7"})
        recorded.raw.info["bads"] = list(bads)
        recorded.raw._data[list(dead)] = 0.0
        return epochs_part(recorded.raw) if as_epochs else recorded

    whole, turned = windows_from_braindecode(part()), windows_from_braindecode(part(), electrodes=["C4", "C3"])
    assert (whole.electrodes, turned.electrodes) == (("C3", "Cz", "C4"), ("C4", "C3"))
    np.testing.assert_array_equal(turned.values, whole.values[:, [2, 0]])
    with pytest.raises(ValueError, match=r"marks the channels \['Cz'\] as bad"):
        windows_from_braindecode(part(bads=["Cz"]))
    np.testing.assert_array_equal(windows_from_braindecode(part(bads=["Cz"]), bad_electrodes="drop").values, whole.values[:, [0, 2]])
    with pytest.raises(ValueError, match="In sub-7_ses-1_run-1 the electrodes C3 never move"):
        windows_from_braindecode(part(dead=[0]))
    with pytest.warns(UserWarning, match="don't move"):
        assert len(windows_from_braindecode(part(dead=[0]), constant_electrodes="keep")) == 5


def test_what_a_filter_smeared_is_that_of_the_recording_unless_it_is_said():
    part = described_as({"subject": "7"}, n_trials=17)
    part.raw.filter(4.0, 30.0, verbose="ERROR")
    assert windows_from_braindecode(part).filter_support_s == support_of_info(part.raw.info) > 0.1
    assert windows_from_braindecode(part, filter_support_s=0.37).filter_support_s == 0.37


def test_events_that_share_a_target_name_its_class_together_and_targets_that_are_signals_are_refused():
    part = described_as({"subject": "7"})
    part.window_kwargs = (("Cut", {"mapping": {"left": 0, "right": 1, "west": 0}}),)
    assert windows_from_braindecode(part).classes == ("left+west", "right")
    part.targets_from = "channels"
    with pytest.raises(ValueError, match="The targets of braindecode are signals of channels, not classes"):
        windows_from_braindecode(part)


def test_recordings_of_which_nothing_is_said_are_runs():
    parts = types.SimpleNamespace(datasets=[described_as({}), described_as({})])
    for part, seed in zip(parts.datasets, (3, 5), strict=True):
        part.raw = synthetic_raw(seed=seed, n_trials=5)
    metadata = windows_from_braindecode(parts).metadata
    assert metadata[["subject", "session", "run"]].drop_duplicates().to_numpy().tolist() == [["1", "1", "0"], ["1", "1", "1"]]


def test_columns_of_our_names_carry_over_under_another():
    told = {"subject": "7", "label": "patient", "trial": "x", "recording": "morning", "first": 3, "last": 5}
    metadata = windows_from_braindecode(described_as(told)).metadata
    assert (metadata["label"].tolist(), metadata["recording"][0]) == ([0, 1, 0, 1, 0], "sub-7_ses-1_run-1")
    carried = ["label_of_description", "trial_of_description", "recording_of_description", "first", "last"]
    assert metadata.loc[4, carried].tolist() == ["patient", "x", "morning", 3, 5]


def test_windows_beyond_a_recording_that_was_resampled_after_it_was_cut_are_refused():
    part = described_as({"subject": "7"}, n_trials=7)  # the last window ends at 6 * 97 + 89
    part.raw.crop(0.0, 671 / 160, include_tmax=False)
    assert len(windows_from_braindecode(part)) == 7
    part.raw.resample(80.0, verbose="ERROR")
    with pytest.raises(ValueError, match=r"A window of sub-7_ses-1_run-1 ends at sample 671, but its recording has 33\d: it was resampled or cropped after"):
        windows_from_braindecode(part)


def test_windows_that_were_resampled_or_cropped_keep_their_times():
    epochs = mne.Epochs(synthetic_raw(n_trials=5), tmin=0, tmax=1.99375, baseline=None, preload=True, verbose="ERROR")
    told = pd.DataFrame({"i_start_in_trial": epochs.events[:, 0], "i_stop_in_trial": epochs.events[:, 0] + 320, "target": epochs.events[:, 2]})
    part = types.SimpleNamespace(windows=epochs.resample(64.0).crop(0.5, 1.484375), metadata=told, description={"subject": "7"})
    metadata = windows_from_braindecode(part).metadata
    assert metadata["start_s"].tolist() == (told["i_start_in_trial"] / 160 + 0.5).tolist()
    assert (metadata["stop_s"] - metadata["start_s"] == 1.0).all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("as_epochs", [False, True])
def test_windows_of_events_are_ours(braindecode, as_epochs):
    raws = [synthetic_raw(seed=seed, n_trials=5) for seed in range(2)]
    cut = braindecode.preprocessing.create_windows_from_events
    dataset = cut(concatenated(braindecode, raws), 80, -80, mapping=LEFT_RIGHT, preload=True, use_mne_epochs=as_epochs, drop_bad_windows=as_epochs)
    windows = windows_from_braindecode(dataset)
    for number, raw in enumerate(raws):
        mine = windows.metadata["subject"] == str(number)
        # From half a second after the event to half a second before its end, four seconds later.
        ours = windows_from_raw(raw, {"left": "left", "right": "right"}, 0.5, 3.5)
        np.testing.assert_array_equal(windows.values[mine], ours.values)
        assert windows.labels[mine].tolist() == ours.labels.tolist()
        np.testing.assert_allclose(windows.metadata.loc[mine, ["start_s", "stop_s"]], ours.metadata[["start_s", "stop_s"]])
    assert windows.metadata["age"].unique().tolist() == [30, 31]
    assert windows.metadata["recording"].unique().tolist() == ["sub-0_ses-a_run-0", "sub-1_ses-a_run-0"]


@pytest.mark.filterwarnings("ignore")
def test_overlapping_windows_of_one_event_are_one_trial(braindecode):
    cut = braindecode.preprocessing.create_windows_from_events
    dataset = cut(concatenated(braindecode, [synthetic_raw(n_trials=3)]), 0, 0, 160, 80, True, mapping=LEFT_RIGHT)
    windows = windows_from_braindecode(dataset)
    assert windows.metadata["trial"].tolist() == sorted(windows.metadata["trial"])
    assert windows.metadata.groupby("trial").size().tolist() == [7, 7, 7]
    assert (windows.metadata["start_s"].diff().iloc[1:7] == 0.5).all()


@pytest.mark.filterwarnings("ignore")
def test_whole_recordings_are_labelled_by_their_description(braindecode):
    raws = [synthetic_raw(seed=seed, n_trials=2) for seed in range(2)]
    data = concatenated(braindecode, raws)
    for number, part in enumerate(data.datasets):
        part.set_description({"state": ("rest", "task")[number]})
    dataset = braindecode.preprocessing.create_fixed_length_windows(data, window_size_samples=160, window_stride_samples=80, drop_last_window=True)
    windows = windows_from_braindecode(dataset, label="state")
    assert windows.classes == ("rest", "task")
    assert windows.metadata.groupby("recording")["trial"].nunique().tolist() == windows.metadata.groupby("recording").size().tolist()
    with pytest.raises(ValueError, match="have no column 'mood'; they have subject, session"):
        windows_from_braindecode(dataset, label="mood")


@pytest.mark.filterwarnings("ignore")
def test_microvolts_and_twins_are_named(braindecode):
    raws = [synthetic_raw(n_trials=2) for _ in range(2)]
    for raw in raws:
        raw._data *= 1e6
    cut = braindecode.preprocessing.create_windows_from_events
    dataset = cut(concatenated(braindecode, raws), 0, 0, mapping=LEFT_RIGHT)
    with pytest.raises(ValueError, match="looks like microvolts"):
        windows_from_braindecode(dataset)
    volts = windows_from_braindecode(dataset, unit="uV")
    np.testing.assert_allclose(volts.values[:2], windows_from_raw(synthetic_raw(n_trials=2), {"left": 0, "right": 1}, 0, 4).values, rtol=1e-6)  # float32
    with pytest.raises(ValueError, match="unit is 'µV'"):
        windows_from_braindecode(dataset, unit="µV")
    twins = cut(concatenated(braindecode, raws, subject="x"), 0, 0, mapping=LEFT_RIGHT)
    with pytest.raises(ValueError, match="Two recordings of braindecode are called sub-x_ses-a_run-0"):
        windows_from_braindecode(twins, unit="uV")
    with pytest.raises(ValueError, match="has no windows; cut it with"):
        windows_from_braindecode(concatenated(braindecode, raws))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("as_epochs", [False, True])
def test_a_classifier_takes_them_as_they_are(braindecode, as_epochs):
    estimators = pytest.importorskip("sigvit.estimators")
    cut = braindecode.preprocessing.create_windows_from_events
    raws = concatenated(braindecode, [synthetic_raw(seed=seed, n_trials=7) for seed in range(2)])
    dataset = cut(raws, 80, -80, mapping=LEFT_RIGHT, preload=True, use_mne_epochs=as_epochs)
    windows = windows_from_braindecode(dataset)
    quick = estimators.SignalViTClassifier(training_steps=3, ensemble=False, classical=None, width=8, heads=2)
    fitted = quick.fit(dataset)
    assert fitted.classes_.tolist() == ["left", "right"]
    np.testing.assert_array_equal(fitted.predict_proba(dataset), quick.fit(windows).predict_proba(windows))
    targets = [dataset[number][1] for number in range(len(dataset))]
    assert quick.fit(dataset, targets).score(dataset, targets) >= 0.0
    assert quick.classes_.tolist() == [0, 1]
    assert set(quick.predict(dataset.datasets[0])) <= {0, 1}

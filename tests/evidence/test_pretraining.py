"""A model that has seen a test part is refused, with the rows named; one that hasn't is named in the certificate."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sigvit.data.synthetic import synthetic_windows
from sigvit.data.windows import Windows, concatenate
from sigvit.evidence import folds as splitters
from sigvit.evidence.certificate import Leak, certify
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.fit_keys import pretrained_models
from sigvit.evidence.pretraining import FILE, read_pretraining, windows_sha256, write_pretraining
from sigvit.evidence.results_folder import write_results
from sigvit.evidence.verify import verify


@pytest.fixture
def windows() -> Windows:
    """3 subjects × 2 runs × 11 trials, a second apart."""
    return synthetic_windows(n_trials=11)


@pytest.fixture
def first_fold(windows: Windows):
    return splitters.cross_subject(windows.metadata)[:1]


def model(folder: Path, *sets: Windows) -> Path:
    write_pretraining(folder, sets, "masked_patches")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def refused(windows: Windows, folds: list, folder: Path) -> Leak:
    with pytest.raises(Leak) as caught:
        certify(windows, folds, pretrained=folder)
    assert caught.value.checks == ["pretraining"]
    return caught.value


def test_pretraining_on_the_training_part_is_proved_and_named(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    fold = first_fold[0]
    certificate = certify(windows, first_fold, pretrained=model(tmp_path, windows[fold.train]))
    assert certificate.verdict == "proved"
    (entry,) = certificate.pretraining
    assert entry["rows"] == fold.train.tolist()
    assert entry["windows"] == {"synthetic": len(fold.train)}
    assert entry["folds"] == [0]
    assert entry["objective"] == "masked_patches"
    check = next(check for check in certificate.checks if check.name == "pretraining")
    assert (check.compared, check.found) == (len(fold.train) * len(fold.test), 0)


def test_a_single_test_window_is_found_by_its_bytes_under_other_names(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    row = int(first_fold[0].test[3])
    disguised = replace(windows[[row]], name="elsewhere")
    disguised.metadata[["subject", "recording"]] = "someone"
    leak = refused(windows, first_fold, model(tmp_path, disguised))
    assert leak.rows == [row]
    assert f"row {row} (" in str(leak)
    assert "elsewhere subject elsewhere: someone" not in str(leak)
    assert "elsewhere subject someone" in str(leak)


def test_the_tested_subject_is_found_in_a_recording_that_is_not_in_the_set(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    further = synthetic_windows(n_runs=3, n_trials=11, seed=5)
    tested = windows.metadata["subject"].iloc[first_fold[0].test[0]]
    other_run = further[((further.metadata["subject"] == tested) & (further.metadata["run"].astype(str) == "3")).to_numpy()]
    assert len(other_run) == 11
    leak = refused(windows, first_fold, model(tmp_path, other_run))
    assert leak.rows == first_fold[0].test.tolist()


def test_people_of_another_source_are_others_whatever_they_are_called(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    cited = replace(windows, page={"citation": "Someone 2020"})
    other = replace(synthetic_windows(n_trials=11, seed=5), name="elsewhere", page={"citation": "Someone else 2021"})
    assert certify(cited, first_fold, pretrained=model(tmp_path, other)).verdict == "proved"


@pytest.mark.parametrize("cited", ["neither", "the judged", "the pre-training's"])
def test_sets_that_do_not_both_state_a_citation_count_as_the_same_people(windows: Windows, first_fold: list, tmp_path: Path, cited: str) -> None:
    """A set's name says nothing: windows_from_raw calls each recording's by the recording, concatenate all by the first."""
    citation = {"citation": "Someone 2020"}
    judged = replace(windows, page=citation if cited == "the judged" else {})
    other = replace(synthetic_windows(n_trials=11, seed=5), name="sub-02_ses-1_run-1", page=citation if cited == "the pre-training's" else {})
    leak = refused(judged, first_fold, model(tmp_path, other))
    assert leak.rows == first_fold[0].test.tolist()
    assert "unless the pages of both sets state citations" in str(leak)


def test_pages_of_one_citation_number_the_same_people(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    cited = replace(windows, page={"citation": "Someone 2020"})
    other = replace(synthetic_windows(n_trials=11, seed=5), name="another page", page={"citation": "Someone 2020"})
    assert refused(cited, first_fold, model(tmp_path, other)).rows == first_fold[0].test.tolist()


@pytest.mark.parametrize(("name", "later"), [("another page", "  someone  2020"), ("synthetic", "Someone 2020, doi:1")], ids=["written otherwise", "completed"])
def test_a_citation_written_otherwise_or_completed_later_leaves_people_the_same(
    windows: Windows, first_fold: list, tmp_path: Path, name: str, later: str
) -> None:
    further = replace(synthetic_windows(n_trials=11, seed=5), name=name, page={"citation": "Someone 2020"})
    leak = refused(replace(windows, page={"citation": later}), first_fold, model(tmp_path, further))
    assert leak.rows == first_fold[0].test.tolist()
    assert "and the sets have different names" in str(leak)


@pytest.mark.parametrize("joined", ["the pre-training's", "the judged"])
def test_people_of_a_joined_set_are_not_all_the_first_parts(windows: Windows, tmp_path: Path, joined: str) -> None:
    """Pages of two citations join into one that states none: a citation of the first would prove a model that saw the second's people."""
    first = replace(synthetic_windows(n_subjects=2, n_trials=5, seed=7), name="first", page={"citation": "Someone else 2021"})
    first.metadata[["subject", "recording"]] = "other " + first.metadata[["subject", "recording"]]
    cited = replace(windows, name="second", page={"citation": "Someone 2020"})
    seen = replace(synthetic_windows(n_subjects=1, n_trials=11, seed=5), name="second", page={"citation": "Someone 2020"})
    judged, before = (concatenate([first, cited]), seen) if joined == "the judged" else (cited, concatenate([first, seen]))
    folds = [fold for fold in splitters.cross_subject(judged.metadata) if set(judged.metadata["subject"].iloc[fold.test]) == {"01"}]
    assert refused(judged, folds, model(tmp_path, before)).rows == folds[0].test.tolist()


def test_a_neighbour_in_time_is_found_by_the_filters_support(windows: Windows, tmp_path: Path) -> None:
    """Windows of another cut of the same run: their bytes and trials differ, their clock tells."""
    folds = splitters.within_session(windows.metadata)[:1]
    row = int(folds[0].test[-1])  # the run ends with it
    cut = replace(windows[[row]], values=np.ascontiguousarray(windows.values[[row]][:, :, ::-1]), name="another cut", page={"citation": "S"})
    cut.metadata[["start_s", "stop_s"]] += 1.2  # of a window of 1.05 s
    cut.metadata["trial"] = 999
    cut.metadata["run"] = "another"
    free = certify(replace(windows, page={"citation": "S"}), folds, pretrained=model(tmp_path / "free", cut))
    assert free.verdict == "proved"
    smeared = replace(windows, page={"citation": "S"}, filter_support_s=0.4)
    wide = splitters.within_session(windows.metadata, filter_support_s=0.4)[:1]
    assert row in refused(smeared, wide, model(tmp_path / "smeared", cut)).rows
    apart = splitters.within_session(windows.metadata, guard_s=0.2)[:1]
    with pytest.raises(Leak, match="share what the protocol keeps apart"):
        certify(replace(windows, page={"citation": "S"}), apart, guard_s=0.2, pretrained=tmp_path / "free")


def test_each_fold_can_have_a_model_of_its_own(windows: Windows, tmp_path: Path) -> None:
    folds = splitters.cross_subject(windows.metadata)
    models = {fold.number: model(tmp_path / str(fold.number), windows[fold.train]) for fold in folds}
    certificate = certify(windows, folds, pretrained=models)
    assert [entry["folds"] for entry in certificate.pretraining] == [[0], [1], [2]]
    with pytest.raises(Leak, match="Fold 2"):
        certify(windows, folds, pretrained={**models, 2: [models[2], models[0]]})
    with pytest.raises(ValueError, match="numbered"):
        certify(windows, folds, pretrained={7: models[0]})


def test_a_certificate_speaks_of_the_models_and_the_folds_that_it_compared(windows: Windows, tmp_path: Path) -> None:
    folds = splitters.cross_subject(windows.metadata, validation=0)[:2]
    models = {fold.number: model(tmp_path / str(fold.number), windows[fold.train]) for fold in folds}
    with pytest.raises(ValueError, match=r"says nothing of the pre-training of .*1 in the folds \[0\]"):
        certify(windows, folds, pretrained=models).require_pretrained([models[1]])


def test_bare_metadata_take_equal_names_for_the_same_people(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    with pytest.raises(Leak):
        certify(windows.metadata, first_fold, pretrained=model(tmp_path, windows[first_fold[0].test]))


def test_it_can_be_tolerated_by_name_only(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    certificate = certify(windows, first_fold, pretrained=model(tmp_path, windows), tolerate=["pretraining"])
    assert (certificate.verdict, certificate.tolerated) == ("tolerated", ("pretraining",))


def test_a_folder_without_a_record_is_refused(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no {FILE}"):
        certify(windows, first_fold, pretrained=tmp_path)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ValueError, match="can't be read"):
        read_pretraining(tmp_path)


def test_a_record_speaks_of_the_weights_that_it_was_written_beside_only(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    train = windows[first_fold[0].train]
    model(tmp_path, train)  # written before there were weights: it says of none
    assert certify(windows, first_fold, pretrained=tmp_path).verdict == "proved"
    write_pretraining(tmp_path, [train], "masked_patches")
    assert certify(windows, first_fold, pretrained=tmp_path).verdict == "proved"
    (tmp_path / "model.safetensors").write_bytes(b"trained on everything")
    with pytest.raises(ValueError, match="says what other weights have seen"):
        certify(windows, first_fold, pretrained=tmp_path)


class Constant(ClassifierMixin, BaseEstimator):
    """Starts from a model, as far as its parameter says."""

    def __init__(self, pretrained: str | Path | None = None) -> None:
        self.pretrained = pretrained

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_cross_validation_refuses_a_model_that_saw_the_test_part(windows: Windows, tmp_path: Path) -> None:
    folds = splitters.cross_subject(windows.metadata)
    with pytest.raises(Leak):
        cross_validate({"constant": Constant(model(tmp_path, windows[folds[0].train]))}, windows, folds)
    with pytest.raises(ValueError, match="says nothing of the pre-training"):
        cross_validate({"constant": Constant(tmp_path)}, windows, folds, certificate=certify(windows, folds))


@pytest.mark.parametrize(
    "held",
    [
        lambda model: [model],
        lambda model: {"first": (model,)},
        lambda model: {"pretrained": [model.pretrained]},
        lambda model: model.fit,
        lambda model: partial(len, model),
        lambda model: partial(dict, pretrained=model.pretrained),
    ],
    ids=["list", "dictionary of tuples", "folders by name", "method", "partial", "keyword"],
)
def test_models_inside_lists_dictionaries_and_functions_are_found(held) -> None:
    assert pretrained_models({"ensemble": make_pipeline(FunctionTransformer(held(Constant("seen"))))}) == ["seen"]


def test_rows_of_a_table_without_trials_are_no_trials_of_that_number(windows: Windows, tmp_path: Path) -> None:
    own = windows[np.flatnonzero(windows.metadata.recording == windows.metadata.recording[0])]
    train, test = np.arange(0, len(own), 2), np.arange(1, len(own), 2)
    seen = own[train[: len(test)]]
    seen.metadata["trial"] = [str(row) for row in test]
    seen.metadata[["start_s", "stop_s"]] = np.nan  # where there is a clock, it tells
    table = own.metadata.drop(columns=["trial", "start_s", "stop_s"])
    assert certify(table, [(train, test)], pretrained=model(tmp_path, seen)).verdict == "proved"


def test_what_was_seen_before_stands_in_the_results_folder_and_is_verified(windows: Windows, first_fold: list, tmp_path: Path) -> None:
    folder = model(tmp_path / "model", windows[first_fold[0].train])
    results = cross_validate({"constant": Constant(folder)}, windows, first_fold)
    (tmp_path / "results").mkdir()
    write_results(tmp_path / "results", results, windows, first_fold, {})
    assert verify(tmp_path / "results") == []
    path = tmp_path / "results" / "certificate.json"
    told = json.loads(path.read_text())
    assert told["pretraining"][0]["rows"] == first_fold[0].train.tolist()
    told["pretraining"][0]["rows"].append(int(first_fold[0].test[0]))
    path.write_text(json.dumps(told))
    assert any("in the pre-training of" in finding for finding in verify(tmp_path / "results"))


def test_a_hash_tells_sets_apart_by_whose_they_are_what_is_known_and_bytes(windows: Windows) -> None:
    louder = windows.values.copy()
    louder[3, 1, 7] *= 2
    others = [
        windows[1:],
        replace(windows, values=louder),
        replace(windows, metadata=windows.metadata.assign(subject="07")),
        replace(windows, metadata=windows.metadata.assign(start_s=np.nan)),
        replace(windows, page={"citation": "other people"}),
        replace(windows, filter_support_s=0.5),
        replace(windows, metadata=windows.metadata.assign(shipped="train")),
        replace(windows, metadata=windows.metadata.assign(shipped="test")),
        replace(windows, info=changed_info(windows, names=("C4", "Cz", "C3"))),
        replace(windows, info=changed_info(windows, left_is=-1)),
        replace(windows, info=changed_info(windows, rate=53.0)),
        replace(windows, info=changed_info(windows, bads=("Cz",))),
    ]
    assert len({windows_sha256(each) for each in (windows, *others)}) == 13
    assert windows_sha256(replace(windows, values=windows.values.copy())) == windows_sha256(windows)
    assert len({windows_sha256(replace(windows, info=changed_info(windows, bads=bads))) for bads in (("Cz", "C3"), ("C3", "Cz"))}) == 1


def test_a_hash_is_that_of_the_saved_set_also_where_places_are_not_known(windows: Windows, tmp_path: Path) -> None:
    for number, each in enumerate((windows, replace(windows, info=changed_info(windows, left_is=np.nan)))):
        each.save(tmp_path / str(number))
        assert windows_sha256(Windows.load(tmp_path / str(number))) == windows_sha256(each)


def changed_info(windows: Windows, names: tuple[str, ...] = ("C3", "Cz", "C4"), left_is: float = 1, rate: float = 64.0, bads=()):
    """The info with other names, rate, bad electrodes, or places times `left_is` along the axis from left to right."""
    info = windows.info.copy()
    with info._unlock():
        info["sfreq"] = rate
    for channel in info["chs"]:
        channel["loc"][0] *= left_is
    info.rename_channels(dict(zip(windows.electrodes, names, strict=True)))
    info["bads"] = list(bads)
    return info

"""MOABB both ways: its datasets become windows, our classifier is a pipeline of its evaluations, our results feed its statistics and plots."""

from __future__ import annotations

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from sigvit import SignalViTClassifier, certify, cross_validate, folds
from sigvit.data.page_sources import recordings_of_moabb
from sigvit.data.recordings import Cut, LabelledRecording, windows_from_recordings
from sigvit.data.synthetic import synthetic_windows

pytestmark = [pytest.mark.filterwarnings("ignore")]  # MOABB's own, of pandas, seaborn and mne


@pytest.fixture(scope="module")
def moabb(tmp_path_factory):
    """The package, with its downloads and results in a folder of the test."""
    mpl.use("Agg")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("MNE_DATA", str(tmp_path_factory.mktemp("mne_data")))
        patch.setenv("MOABB_RESULTS", str(tmp_path_factory.mktemp("moabb")))
        found = pytest.importorskip("moabb", reason="MOABB isn't installed: pip install 'sigvit[moabb]'", exc_type=ImportError)

        yield found


@pytest.fixture(scope="module")
def fake(moabb):
    return moabb.datasets.fake.FakeDataset(["left_hand", "right_hand"], n_sessions=2, n_runs=1, n_subjects=2, paradigm="imagery", seed=7, n_events=24)


def vit() -> SignalViTClassifier:
    return SignalViTClassifier(training_steps=2, ensemble=False, classical=None, random_state=0)


def test_a_dataset_of_moabb_becomes_windows_with_its_sessions(fake):
    recordings = list(recordings_of_moabb(fake, "Fake", 0.0, lambda subject: subject != "3"))
    assert [(each.subject, each.session) for each in recordings] == [("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")]
    labels = {"left_hand": "left", "right_hand": "right"}
    cut = Cut(0.0, 0.5, electrodes=("C3", "Cz", "C4"))
    windows = windows_from_recordings((LabelledRecording(each.read(), labels, None, each.subject, each.session, each.run) for each in recordings), cut)
    assert windows.classes == ("left", "right")
    assert windows.metadata.groupby(["subject", "session"]).size().tolist() == [24] * 4


@pytest.mark.parametrize("evaluation", ["WithinSessionEvaluation", "CrossSessionEvaluation", "CrossSubjectEvaluation"])
def test_our_classifier_is_a_pipeline_of_its_evaluations(moabb, fake, evaluation):
    paradigm = moabb.paradigms.LeftRightImagery(channels=["C3", "Cz", "C4"])
    evaluate = getattr(moabb.evaluations, evaluation)(paradigm=paradigm, datasets=[fake], overwrite=True, suffix="sigvit")
    results = evaluate.process({"ViT": make_pipeline(vit())})
    assert set(results["pipeline"]) == {"ViT"}
    assert results["score"].between(0, 1).all()
    assert len(results) == 4


def test_our_classifier_needs_no_pipeline_around_it(moabb, fake):
    paradigm = moabb.paradigms.LeftRightImagery(channels=["C3", "Cz", "C4"])
    evaluate = moabb.evaluations.CrossSubjectEvaluation(paradigm=paradigm, datasets=[fake], overwrite=True)
    assert len(evaluate.process({"ViT": vit()})) == 4


def test_our_results_feed_its_statistics_and_plots(moabb, tmp_path):
    windows = synthetic_windows(n_subjects=5, n_runs=2, n_trials=8, effect=2.0)
    found = folds.cross_subject(windows.metadata)
    from sigvit import baselines

    pipelines = {"ViT": vit(), "LDA": baselines.shrinkage_lda()}
    table = cross_validate(pipelines, windows, found, seeds=range(2), certificate=certify(windows, found)).table
    statistics = moabb.analysis.meta_analysis.compute_dataset_statistics(table)
    assert set(statistics["pipe1"]) == {"ViT", "LDA"}
    ours = table.groupby(["pipeline", "subject"])["score"].mean().unstack(0)
    assert statistics["nsub"].iloc[0] == len(ours) == 5
    p_values, effects = moabb.analysis.meta_analysis.find_significant_differences(statistics)
    assert p_values.shape == effects.shape == (2, 2)
    assert np.isfinite(p_values.to_numpy()).any()
    import matplotlib.pyplot as plt

    plotting = moabb.analysis.plotting
    for draw in (plotting.score_plot, plotting.distribution_plot):
        draw(table)
    plotting.paired_plot(table, "ViT", "LDA")
    plotting.summary_plot(p_values, effects)
    plotting.meta_analysis_plot(statistics, "ViT", "LDA")
    plt.close("all")

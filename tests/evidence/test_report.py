"""The report is one readable page, whatever the set: it parses, asks nothing of a server, names every pipeline and stamps what was tolerated."""

import os
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from sigvit.data.synthetic import synthetic_windows
from sigvit.estimators import SignalViTClassifier
from sigvit.evidence import baselines, folds
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.certificate import certify
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.pretraining import write_pretraining
from sigvit.evidence.report import _decided, _fit_rows, render_report, write_report
from sigvit.evidence.report_data import _sizes_words
from sigvit.evidence.statistics import confidence_interval

VOID = {"meta", "img", "br", "link", "input", "hr"}
SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags, attributes and texts of a page; fails where a tag is closed that isn't the last one open."""

    def __init__(self, html):
        super().__init__()
        self.open, self.found, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def attributes(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.texts).split())


def rendered(windows, divided, pipelines, seeds=(0,), certificate=None, configuration=None):
    return render_report(cross_validate(pipelines, windows, divided, seeds, certificate), windows, divided, "results-folder", configuration)


@pytest.fixture(scope="module")
def small():
    """One fold, one seed, a network with a history."""
    windows = synthetic_windows(n_subjects=2, n_trials=8)
    network = SignalViTClassifier(classical=None, epochs=2)
    return rendered(windows, folds.cross_subject(windows.metadata)[:1], {"ViT": network, "Majority": baselines.majority(), "LDA": baselines.shrinkage_lda()})


@pytest.fixture(scope="module")
def large():
    """Twelve subjects, three seeds, four classes, thirteen electrodes with positions, no history."""
    electrodes = ("Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "O2")
    windows = synthetic_windows(12, n_runs=1, classes=("left", "right", "feet", "tongue"), electrodes=electrodes, effect=2.0)
    pipelines = {"ViT": baselines.majority(), "Shrinkage LDA": baselines.shrinkage_lda(4), "Band power": baselines.band_power(64.0)}
    return rendered(windows, folds.cross_subject(windows.metadata), pipelines, seeds=(0, 1, 2), configuration={"asked": {"dataset": "synthetic"}})


@pytest.fixture(params=["small", "large"])
def page(request):
    return request.getfixturevalue(request.param)


def test_what_folds_started_from_stands_in_the_report(tmp_path):
    windows = replace(synthetic_windows(n_subjects=2, n_trials=7), page={"citation": "A"})
    divided = folds.cross_subject(windows.metadata)
    assert "What the folds started from" not in Page(rendered(windows, divided, {"LDA": baselines.shrinkage_lda()})).words
    elsewhere = replace(synthetic_windows(n_subjects=3, n_trials=5, seed=1), name="elsewhere", page={"citation": "B"})
    own, image = tmp_path / "own", tmp_path / "image"
    write_pretraining(own, [windows[divided[0].train], elsewhere], "masked_patches")
    write_pretraining(image, [], "masked_autoencoder")
    certificate = certify(windows, divided, pretrained={0: [own, image], 1: image})
    words = Page(rendered(windows, divided, {"LDA": baselines.shrinkage_lda()}, certificate=certificate)).words
    count = len(divided[0].train)
    assert f"{own} masked_patches 0 {count} of synthetic and {len(elsewhere)} of elsewhere {count}" in words
    assert f"{image} masked_autoencoder 0 and 1 no recordings 0" in words


def test_page_parses_and_every_tag_is_closed(page):
    assert Page(page).attributes("h1") == [{}]


def test_page_asks_nothing_of_any_server(page):
    addresses = [value for _, attributes in Page(page).found for name, value in attributes.items() if name in ("src", "href", "srcset", "data")]
    assert addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)
    assert not re.search(r"@import|url\(|<script|<link", page)


def test_images_have_words_and_tables_have_headers(page):
    parsed = Page(page)
    assert all(len(image["alt"]) > 20 for image in parsed.attributes("img"))
    assert all(header["scope"] in ("col", "row") for header in parsed.attributes("th"))
    assert {"lang": "en"} in parsed.attributes("html")


def test_headings_are_named_once(page):
    names = [attributes["id"] for _, attributes in Page(page).found if "id" in attributes]
    assert len(names) == len(set(names)) >= 9


def test_one_fold_and_one_seed_name_every_pipeline_and_show_the_learning(small):
    words = Page(small).words
    assert all(name in words for name in ("ViT", "Majority", "LDA"))
    assert "mean loss of 1 fit by step" in words
    assert "DeLong" in words
    assert "sigvit verify results-folder" in words


def test_twelve_subjects_say_over_what_was_averaged_and_that_nothing_kept_a_history(large):
    words = Page(large).words
    assert "Means are over 12 subjects" in words
    assert "No pipeline here keeps a history" in words
    assert "Scalp maps" in large
    assert "asked.dataset synthetic" in words


def test_losing_is_said_in_the_first_sentences(large):
    assert "It is worse than Shrinkage LDA and Band power." in Page(large).words


def test_too_few_subjects_for_a_test_are_said_to_be_too_few():
    windows = synthetic_windows(n_subjects=3, n_runs=1, effect=0.5)
    page = rendered(windows, folds.cross_subject(windows.metadata), {"ViT": baselines.shrinkage_lda(4), "Majority": baselines.majority()})
    words = Page(page).words
    assert "A paired test of 3 differences can't reach .05 here" in words
    assert "signs of paired differences are flipped, subject by subject" in words


def test_folds_are_compared_by_a_test_that_knows_of_their_overlap():
    windows = synthetic_windows(n_subjects=1, n_runs=5, effect=0.5)
    page = rendered(windows, folds.within_session(windows.metadata), {"ViT": baselines.shrinkage_lda(4), "Majority": baselines.majority()})
    words = Page(page).words
    assert "p is that of Nadeau and Bengio's corrected t test, two-sided, since training parts overlap" in words
    assert "It is better than Majority. (Corrected t tests with Holm's correction at .05.)" in words


def test_folds_that_all_differ_alike_are_compared_by_their_signs_and_the_page_says_so():
    windows = synthetic_windows(n_subjects=1, n_runs=5, n_trials=12, effect=6.0)
    page = rendered(windows, folds.within_session(windows.metadata), {"ViT": baselines.shrinkage_lda(), "Majority": baselines.majority()})
    words = Page(page).words
    assert "Against Majority all folds differ alike, which leaves no spread for a t: p is that of their signs." in words
    assert "With 5 of them no p lies below 0.0625, so Holm's can't reach .05 here" in words
    assert "A paired test of 5 differences can't reach .05 here; by the intervals of the differences: No difference from Majority is shown." in words
    assert "Corrected t tests with" not in words


def test_one_pipeline_from_which_folds_differ_alike_leaves_the_others_their_test():
    rows = {"pipeline": ["LDA", "Majority"], "difference": [0.2, 0.5], "low": [0.1, 0.5], "high": [0.3, 0.5], "p_holm": [0.01, 0.0625]}
    words = " ".join(_decided(pd.DataFrame({**rows, "smallest_p": [0.0, 0.0625], "unit": "fold", "n": 5})))
    assert "can't reach .05 against Majority; by the intervals of the differences: It is better than LDA. No difference from Majority is shown." in words
    assert "(Corrected t tests" in words


def test_an_interval_whose_width_is_rounding_decides_nothing():
    own, other = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.7, 0.6, 0.5, 0.4])
    low, high = confidence_interval(own - other, 0.95)
    assert low < high
    row = {"pipeline": ["LDA"], "difference": 0.2, "low": low, "high": high, "p_holm": 0.125, "smallest_p": 0.125, "unit": "fold", "n": 4}
    words = " ".join(_decided(pd.DataFrame(row)))
    assert words.endswith("No difference from LDA is shown.")


def test_sizes_are_told_of_folds_of_which_some_choose():
    scores = pd.DataFrame({"pipeline": "ViT", "fold": [0, 1], "samples": [12, 24], "samples_validation": [12, 0], "samples_test": 12})
    told = "In 1 of 2 folds, 12 windows train, 12 choose the stopping point and 12 test for ViT; else 24 train and none choose."
    assert _sizes_words(scores) == told


def test_intervals_of_one_test_part_are_called_what_they_are(small):
    assert "intervals are DeLong's in the logit over its" in Page(small).words
    windows = synthetic_windows(n_subjects=2, n_runs=1, n_trials=18, classes=("a", "b", "c"))
    page = rendered(windows, folds.cross_subject(windows.metadata)[:1], {"Majority": baselines.majority()})
    assert "intervals are normal in the logit, by the spread of hits inside each class, over its 18 windows" in Page(page).words
    assert "ten bins, of the one test part)" in Page(page).words


def test_a_class_of_one_test_window_leaves_no_interval_and_the_page_says_why():
    windows = synthetic_windows(n_subjects=2, n_runs=1, n_trials=12)
    train, test = (np.flatnonzero(windows.metadata["subject"] == subject) for subject in ("01", "02"))
    test = np.union1d(test[windows.labels[test] == "left"], test[windows.labels[test] == "right"][:1])
    one = [folds.Fold(train, [], test, 0, "cross_subject", "subject 02")]
    words = Page(rendered(windows, one, {"ViT": baselines.shrinkage_lda(4), "Majority": baselines.majority()})).words
    assert "one test part, of 7 windows, and a class has one of them: nothing tells how far that one varies, so there are no intervals." in words
    assert "(95 % interval –)" in words


def test_test_parts_of_one_class_are_counted_where_other_means_are_over_more():
    windows = synthetic_windows(n_subjects=1, n_runs=3, n_trials=12, classes=("a", "b", "c"))
    windows = windows[(windows.metadata["run"] != "3") | (windows.labels == "a")]
    page = rendered(windows, folds.within_session(windows.metadata), {"Majority": baselines.majority()})
    words = Page(page).words
    assert (
        "1 of 3 test parts has one class, and so neither score nor balanced accuracy; accuracy, log-loss and calibration error are means over all 3." in words
    )
    assert re.search(r"Majority 0\.333 \[0\.333, 0\.333\] – no 0\.\d+ 0\.333 ", words), "the score is the balanced accuracy"


def test_sizes_of_parts_are_those_that_each_pipeline_used():
    windows = synthetic_windows(n_subjects=3, n_runs=1, n_trials=12)
    pipelines = {"network": SignalViTClassifier(classical=None, ensemble=False, epochs=1, early_stopping=True), "LDA": baselines.shrinkage_lda()}
    divided = folds.cross_subject(windows.metadata)
    words = Page(rendered(windows, divided, pipelines)).words
    assert "In each, 12 windows train, 12 choose the stopping point and 12 test for network; the others choose nothing and train on 24." in words
    words = Page(rendered(windows, divided, {"LDA": pipelines["LDA"]})).words
    assert "In each, 24 windows train and 12 test; no pipeline here sets windows apart to choose by." in words


def test_a_fit_that_stands_for_all_seeds_counts_once_and_parts_are_no_fits():
    rows = [("ViT", 0, 0, 3.0, 0.5), ("ViT", 0, 1, 3.0, 0.4), ("ViT: network", 0, 0, 3.0, 0.7), ("ViT: network", 0, 1, 3.0, 0.6)]
    rows += [(name, 0, seed, 2.0, 0.9) for name in ("LDA", "LDA: shrunk") for seed in (0, 1)]
    scores = pd.DataFrame(rows, columns=["pipeline", "fold", "seed", "time", "log_loss"]).assign(parameters=17)
    scores.loc[scores["pipeline"] == "LDA: shrunk", "time"] = 5.0
    assert _fit_rows(scores) == [
        ["ViT", 2, 2, 3.0, 6.0, 17],
        ["ViT: network", 2, None, None, None, None],
        ["LDA", 2, 1, 2.0, 2.0, 17],
        ["LDA: shrunk", 2, 1, 5.0, 5.0, 17],
    ]


def test_what_verifies_the_folder_can_be_pasted():
    windows = synthetic_windows(n_subjects=2)
    divided = folds.cross_subject(windows.metadata)
    results = cross_validate({"Majority": baselines.majority()}, windows, divided)
    assert "sigvit verify 't1 & x'" in Page(render_report(results, windows, divided, "t1 & x")).words


def test_without_a_vit_the_page_compares_nothing():
    windows = synthetic_windows(n_subjects=2)
    page = rendered(windows, folds.cross_subject(windows.metadata), {"Majority": baselines.majority()})
    assert "The highest area under the ROC curve is 0.500, of Majority" in Page(page).words
    assert "minus it" not in page


def test_names_from_outside_can_not_become_markup():
    windows = synthetic_windows(n_subjects=2, classes=(SCRIPT, "right"))
    windows = replace(windows, name=SCRIPT, page={name: SCRIPT for name in ("title", "task", "licence", "citation")} | {"notes": [SCRIPT]})
    page = rendered(windows, folds.cross_subject(windows.metadata), {"ViT": baselines.majority(), SCRIPT: baselines.majority()}, configuration={SCRIPT: SCRIPT})
    assert "<script" not in page.lower()
    assert SCRIPT in Page(page).words


def test_tolerated_overlap_is_stamped_on_the_heading_and_the_score_table():
    windows = synthetic_windows(n_subjects=1, n_runs=1, n_trials=20)
    windows.metadata["trial"] //= 2
    shuffled = np.random.default_rng(0).permutation(20)
    pairs = [folds.Fold(np.sort(shuffled[:12]), [], np.sort(shuffled[12:]), 0, "shuffled", "eight windows")]
    certificate = certify(windows, pairs, tolerate=("trial",))
    page = rendered(windows, pairs, {"ViT": baselines.shrinkage_lda(4), "Majority": baselines.majority()}, certificate=certificate)
    assert re.search(r'<h1>[^<]*<span class="stamp tolerated">tolerated: the parts overlap</span></h1>', page)
    assert re.search(r"<caption>Area under the ROC curve \(TOLERATED: the parts overlap\)</caption>", page)


def test_a_pipeline_aligned_by_its_test_windows_is_stamped_and_named():
    windows = synthetic_windows(n_subjects=2, n_trials=8)
    aligned = make_pipeline(Alignment(mode="transductive"), baselines.tangent_space())
    page = rendered(windows, folds.cross_subject(windows.metadata), {"ViT": baselines.majority(), "aligned": aligned})
    assert "tolerated: test windows were read, unlabelled, before they were judged</span></h1>" in page
    words = Page(page).words
    assert "without the test part, but for 'aligned', aligned by the test windows without their labels; each fit is judged on it once." in words
    assert "'aligned' was aligned by the test windows themselves (transductive)" in words
    assert "Alignment Accuracy" in words, "the score table has a column on it"
    assert "the parts overlap" not in words


def test_warnings_and_checks_of_the_certificate_are_on_the_page(small):
    windows = synthetic_windows(n_subjects=2, n_trials=8)
    certificate = certify(windows, folds.cross_subject(windows.metadata)[:1])
    words = Page(small).words
    assert certificate.warnings
    assert all(" ".join(warning.split()) in words for warning in certificate.warnings)
    assert all(check.meaning in words for check in certificate.checks)


def test_a_test_part_of_one_class_leaves_a_dash_not_a_number():
    windows = synthetic_windows(n_subjects=3, n_runs=1, n_trials=12)
    test = np.flatnonzero((windows.metadata["subject"] == "01") & (windows.labels == "left"))
    train = np.flatnonzero(windows.metadata["subject"] != "01")
    one = [folds.Fold(train, [], test, 0, "cross_subject", "subject 01")]
    page = rendered(windows, one, {"ViT": baselines.shrinkage_lda(4), "Majority": baselines.majority()})
    assert not re.search(r"\bnan\b", page)
    assert "No test part holds two classes, so there is no score." in Page(page).words


def test_same_results_give_the_same_page(tmp_path):
    windows = synthetic_windows(n_subjects=2)
    divided = folds.cross_subject(windows.metadata)
    results = cross_validate({"ViT": baselines.shrinkage_lda(4), "Majority": baselines.majority()}, windows, divided)
    for name in ("one", "two"):
        (tmp_path / name / "same").mkdir(parents=True)
        write_report(results, windows, divided, tmp_path / name / "same" / "report.html")
    first, second = ((tmp_path / name / "same" / "report.html").read_bytes() for name in ("one", "two"))
    assert first == second
    assert str(tmp_path).encode() not in first


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every name is text")
def test_a_folder_whose_name_is_no_text_gets_its_page(tmp_path):
    windows = synthetic_windows(n_subjects=2)
    divided = folds.cross_subject(windows.metadata)
    results = cross_validate({"Majority": baselines.majority()}, windows, divided)
    folder = tmp_path / os.fsdecode(b"r\xe9sultats")
    folder.mkdir()
    write_report(results, windows, divided, folder / "report.html")
    assert "r\ufffdsultats" in (folder / "report.html").read_text(encoding="utf-8")


def test_nothing_to_report_gets_a_sentence():
    windows = synthetic_windows(n_subjects=2)
    divided = folds.cross_subject(windows.metadata)
    results = cross_validate({"Majority": baselines.majority()}, windows, divided)
    with pytest.raises(ValueError, match="0 folds"):
        render_report(results, windows, [], "folder")


def test_score_of_the_signal_before_the_cue_stands_beside_the_verdict():
    windows = synthetic_windows(n_subjects=2)
    windows = replace(windows, control_values=windows.values[:, :, :16])
    divided = folds.cross_subject(windows.metadata)
    certificate = certify(windows, divided)
    page = rendered(windows, divided, {"Majority": baselines.majority()}, certificate=certificate)
    assert f"gives area under the ROC curve {certificate.control['score']:.3f} over 2 folds" in Page(page).words

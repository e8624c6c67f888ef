"""The report is one readable page, whatever the set: it parses, asks nothing of a server, names every pipeline and stamps what was tolerated."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from sigvit.data.synthetic import synthetic_windows
from sigvit.estimators import SignalViTClassifier
from sigvit.evidence import baselines, folds
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.certificate import certify
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.report import render_report, write_report

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
    certificate = certificate or certify(windows, divided)
    results = cross_validate(pipelines, windows, divided, seeds, certificate)
    return render_report(results, windows, divided, certificate, "results-folder", configuration)


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
        write_report(results, windows, divided, results.certificate, tmp_path / name / "same" / "report.html")
    first, second = ((tmp_path / name / "same" / "report.html").read_bytes() for name in ("one", "two"))
    assert first == second
    assert str(tmp_path).encode() not in first


def test_nothing_to_report_gets_a_sentence():
    windows = synthetic_windows(n_subjects=2)
    divided = folds.cross_subject(windows.metadata)
    results = cross_validate({"Majority": baselines.majority()}, windows, divided)
    with pytest.raises(ValueError, match="0 folds"):
        render_report(results, windows, [], results.certificate, "folder")


def test_score_of_the_signal_before_the_cue_stands_beside_the_verdict():
    windows = synthetic_windows(n_subjects=2)
    windows = replace(windows, control_values=windows.values[:, :, :16])
    divided = folds.cross_subject(windows.metadata)
    certificate = certify(windows, divided)
    page = rendered(windows, divided, {"Majority": baselines.majority()}, certificate=certificate)
    assert f"gives area under the ROC curve {certificate.control['score']:.3f} over 2 folds" in Page(page).words

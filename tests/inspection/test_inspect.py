"""`sigvit inspect` writes one whole page for models of images and of recordings, and says what it can't do in a sentence."""

import base64
import re
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

import sigvit
from sigvit.__main__ import main
from sigvit.data import pages
from sigvit.data.synthetic import synthetic_windows
from sigvit.inspection.inputs import choose, electrode_order, look_at_recordings, normalisation
from sigvit.inspection.sections import distance_columns, reaching_output
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import Composite, ConvStem, CovarianceTokens, ElectrodeTimePatches, ScalpMapPatches, SpectrogramPatches, TimeStepTokens

ELECTRODES = ("F3", "Fz", "F4", "C3", "Cz", "C4", "Pz")
BIDS = """title = "A"
task = "Tell."
licence = "none"
citation = "nobody"
needs = "files"
[source]
kind = "bids"
task = "hands"
[[events]]
labels = { left = "left", right = "right" }
[window]
start_s = 0.5
stop_s = 1.5
"""


@pytest.fixture
def planted_page(monkeypatch):
    """A dataset page of synthetic windows."""
    windows = synthetic_windows(n_subjects=2, n_runs=1, n_trials=8, electrodes=ELECTRODES, effect=3.0)
    monkeypatch.setattr(pages, "open_dataset", lambda name, folder=None: windows)
    return windows


def saved(model, folder):
    torch.manual_seed(0)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    model.save_pretrained(folder / "model")
    return folder / "model"


def inspected(folder, *more):
    assert main(["inspect", str(folder), "--data", "planted", "--inputs", "7", "--references", "2", "--permutations", "19", *more]) == 0
    return (folder / "inspection.html").read_text()


def figures_of(page):
    """Every picture of the page, parsed."""
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    return [ElementTree.fromstring(base64.b64decode(each)) for each in found]


def tokenizers():
    info = {"names": ELECTRODES, "sampling_rate": 64.0}
    return {
        "one electrode": ElectrodeTimePatches(7, 1, 16, 16, 12, **info),
        "all electrodes": ElectrodeTimePatches(7, "all", 16, 16, 12, **info),
        "time steps": TimeStepTokens(7, 8, 12, sampling_rate=64.0),
        "convolutions": ConvStem(7, n_filters=3, kernel=9, pool=12, stride=6, width=12, sampling_rate=64.0),
        "spectrogram": SpectrogramPatches(7, 64.0, window=16, stride=4, width=12, names=ELECTRODES),
        "covariances": CovarianceTokens(7, 33, 17, 12, sampling_rate=64.0),
        "scalp map": ScalpMapPatches(7, width=12, names=ELECTRODES, sampling_rate=64.0),
        "two kinds": Composite([TimeStepTokens(7, 8, 12, sampling_rate=64.0), ElectrodeTimePatches(7, 1, 16, 16, 12, **info)]),
    }


@pytest.mark.parametrize(("kind", "pool", "positions", "n_figures"), [
    ("one electrode", "class", "learned", 11),
    pytest.param("all electrodes", "mean", "factorised", 10, marks=pytest.mark.slow),
    pytest.param("time steps", "map", "sincos", 9, marks=pytest.mark.slow),
    pytest.param("convolutions", "class", "none", 8, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_recording_s_page_stands_alone_and_has_every_figure(kind, pool, positions, n_figures, planted_page, tmp_path):
    model = sigvit.signal_vit(7, 67, num_classes=2, tokenizer=tokenizers()[kind], positions=positions, pool=pool, heads=2)
    page = inspected(saved(model, tmp_path))
    assert len(figures_of(page)) == n_figures
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    for words in (
        "What the patch projection looks for",
        "What the positions tell apart",
        "How far attention reaches",
        "carries to the output",
        "speaks for a class",
    ):
        assert words in page
    assert "p ≤ .05" in page


@pytest.mark.slow
def test_a_band_of_two_symmetric_pairs_has_a_page_without_scalps(shared_data, tmp_path):
    windows = sigvit.open_dataset("muse_p300")
    tokenizer = ElectrodeTimePatches.from_info(windows.info, 0.1, 0.1, electrodes=1, width=12)
    folder = saved(sigvit.signal_vit(windows.info, windows.values.shape[2], num_classes=2, tokenizer=tokenizer, heads=2), tmp_path)
    assert main(["inspect", str(folder), "--data", "muse_p300", "--inputs", "7", "--references", "2", "--permutations", "19"]) == 0
    assert "over the scalp" not in (folder / "inspection.html").read_text()


@pytest.mark.slow
def test_the_same_model_and_data_give_the_same_page(planted_page, tmp_path):
    folder = saved(sigvit.signal_vit(7, 67, num_classes=2, tokenizer=tokenizers()["all electrodes"], heads=2), tmp_path)
    assert inspected(folder) == inspected(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["spectrogram", "covariances", "scalp map", "two kinds"])
def test_other_tokens_have_a_page_without_the_figures_that_make_no_sense_for_them(kind, planted_page, tmp_path):
    page = inspected(saved(sigvit.signal_vit(7, 67, num_classes=2, tokenizer=tokenizers()[kind], heads=2, pool="mean", positions="learned"), tmp_path))
    assert "no linear projection of samples" in page
    assert "What speaks for a class" in page
    assert len(figures_of(page)) >= 6


def test_an_image_model_s_page_shows_pictures(tmp_path):
    folder = saved(sigvit.vit("Ti/2", 8, 10, 1, width=12, depth=2, heads=2), tmp_path)
    (tmp_path / "config.toml").write_text("[augmentation]\nmean = [0.25]\nstd = [0.5]\npad = 1\n")
    assert main(["inspect", str(folder), "--data", "digits", "--inputs", "11", "--references", "2"]) == 0
    page = (folder / "inspection.html").read_text()
    assert len(figures_of(page)) == 5
    assert "mean (0.25,), standard deviation (0.5,)" in page


def test_a_damaged_config_of_the_training_is_named(tmp_path, capsys):
    folder = saved(sigvit.vit("Ti/2", 8, 10, 1, width=12, depth=1, heads=2), tmp_path)
    (tmp_path / "config.toml").write_text("a = [")
    assert main(["inspect", str(folder), "--data", "digits"]) == 2
    assert f"sigvit inspect: {tmp_path / 'config.toml'}, which says how the model was shown images, is damaged: " in capsys.readouterr().err


def test_a_package_that_is_not_installed_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mne_bids", None)
    (tmp_path / "mine.toml").write_text(BIDS)
    folder = saved(sigvit.signal_vit(7, 67, num_classes=2), tmp_path)
    assert main(["inspect", str(folder), "--data", str(tmp_path / "mine.toml"), "--folder", str(tmp_path)]) == 2
    assert "sigvit inspect: A BIDS root is read through mne-bids: pip install 'sigvit[bids]'." in capsys.readouterr().err


@pytest.mark.usefixtures("ascii_locale")
def test_what_the_training_says_is_read_whatever_the_locale(tmp_path):
    (tmp_path / "config.toml").write_text('data = "Blüten"\n[augmentation]\nmean = [0.25]\n', encoding="utf-8")
    assert normalisation(tmp_path / "model")[0].mean == (0.25,)


def test_a_folder_of_recordings_is_refused_for_images(tmp_path, capsys):
    folder = saved(sigvit.vit("Ti/2", 8, 10, 1, width=12, depth=1, heads=2), tmp_path)
    assert main(["inspect", str(folder), "--data", "digits", "--folder", "here"]) == 2
    assert "folder is here, but nothing reads it: the model reads images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n_times", "classes", "names", "rate", "sentence"),
    [
        (61, 2, ELECTRODES, 64.0, "built for 61 samples"),
        (67, 3, ELECTRODES, 64.0, "tells 3 classes apart"),
        (67, 2, (*ELECTRODES[:6], "Oz"), 64.0, "reads the electrodes ['Oz']"),
        (67, 2, ELECTRODES, 128.0, "built for 128 Hz"),
    ],
)
def test_data_of_another_kind_get_a_sentence(n_times, classes, names, rate, sentence, planted_page, tmp_path, capsys):
    tokenizer = ElectrodeTimePatches(7, "all", 16, 16, 12, names=names, sampling_rate=rate)
    folder = saved(sigvit.signal_vit(7, n_times, num_classes=classes, tokenizer=tokenizer, heads=2), tmp_path)
    assert main(["inspect", str(folder), "--data", "planted"]) == 2
    assert sentence in capsys.readouterr().err
    assert not (folder / "inspection.html").exists()


def test_a_folder_without_a_model_and_a_page_that_is_not_there_get_a_sentence(tmp_path, capsys):
    assert main(["inspect", str(tmp_path), "--data", "scp1"]) == 2
    assert "a saved model is a folder with config.json" in capsys.readouterr().err
    folder = saved(sigvit.signal_vit(3, 48), tmp_path)
    assert main(["inspect", str(folder), "--data", "scp1", "--output", str(tmp_path)]) == 2
    assert "is a folder; --output names the HTML file" in capsys.readouterr().err
    assert main(["inspect", str(folder), "--data", "scp9"]) == 2
    assert "the nearest is 'scp" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [(["--inputs", "1"], "--inputs is 1, but of recordings 2 and more"), (["--output", "new/x.html"], "There is no folder new that x.html")],
)
def test_what_can_not_end_well_is_refused_before_anything_is_opened(options, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pages, "open_dataset", lambda name, folder=None: pytest.fail("the recordings were opened"))
    folder = saved(sigvit.signal_vit(7, 67, num_classes=2), tmp_path)
    assert main(["inspect", str(folder), "--data", "planted", *options]) == 2
    assert sentence in capsys.readouterr().err


def test_inputs_are_balanced_and_references_are_others():
    labels = np.repeat([0, 1, 2], [40, 20, 5])
    own, others = choose(labels, 15, 4, seed=0)
    assert np.bincount(labels[own]).tolist() == [5, 5, 5]
    assert np.bincount(labels[others]).tolist() == [6, 5, 5]
    assert set(labels[np.intersect1d(own, others)]) == {2}  # the class that has no others left
    assert len(choose(labels[:7], 15, 4, seed=0)[1]) == 7  # too few for others: each is compared with all


@pytest.mark.parametrize("counts", [(40, 30), (200, 25), (45, 32), (300, 2)])
def test_a_small_class_is_compared_with_as_many_others_as_a_large_one(counts):
    labels = np.repeat([0, 1], counts)
    _, others = choose(labels, 60, 8, seed=0)
    assert np.bincount(labels[others]).tolist() == [32 - min(counts[1], 16), min(counts[1], 16)]


def test_electrodes_are_taken_in_the_model_s_order(planted_page):
    model = sigvit.signal_vit(7, 67, tokenizer=ElectrodeTimePatches(7, 1, 16, 16, 12, names=ELECTRODES[::-1]))
    assert electrode_order(model, ELECTRODES, "planted") == [6, 5, 4, 3, 2, 1, 0]


def test_windows_are_standardised_as_the_model_s_were_where_its_folder_says_how(planted_page, tmp_path):
    model = sigvit.signal_vit(7, 67, num_classes=2, tokenizer=ElectrodeTimePatches(7, 1, 16, 16, 12, names=ELECTRODES[::-1]))
    looked = look_at_recordings(model, "planted", None, 7, 2, seed=0)
    assert "doesn't say how" in looked.told[1]
    model.scaling = Scaling(np.arange(7.0), np.arange(2.0, 9.0))  # in the model's order, which is the page's backwards
    model.save_pretrained(tmp_path)
    scaled = look_at_recordings(sigvit.VisionTransformer.from_pretrained(tmp_path), "planted", None, 7, 2, seed=0)
    own = Scaling.of(planted_page.values[:, ::-1])
    for found, before in ((scaled.x, looked.x), (scaled.references, looked.references)):
        raw = before.numpy() * own.deviation[:, None] + own.mean[:, None]
        np.testing.assert_allclose(found, (raw - np.arange(7.0)[:, None]) / np.arange(2.0, 9.0)[:, None], atol=1e-5)  # float32
    assert "that the model was trained on" in scaled.told[1]


def test_distances_are_measured_along_each_kind_of_axis():
    image = sigvit.vit("Ti/2", 8, 2, width=12, depth=1, heads=2)
    assert [(name, columns) for name, columns, _ in distance_columns(image.grid, image.embed(torch.zeros(1, 3, 8, 8)).coordinates)] == [("pixels", slice(0, 2))]
    for kind, expected in (("one electrode", ["centimetres on the head", "seconds"]), ("all electrodes", ["seconds"])):
        model = sigvit.signal_vit(7, 67, tokenizer=tokenizers()[kind], pool="class")
        assert [name for name, _, _ in distance_columns(model.grid, model.embed(torch.zeros(1, 7, 67)).coordinates)] == expected
    scalp = sigvit.signal_vit(7, 67, tokenizer=ScalpMapPatches(7, width=12, names=ELECTRODES, sampling_rate=64.0), pool="class", heads=2)
    found = list(distance_columns(scalp.grid, scalp.embed(torch.zeros(1, 7, 67)).coordinates))
    assert found == [("centimetres on the head", slice(0, 2), 100.0), ("seconds", slice(2, 3), 1.0)]
    unnamed = sigvit.signal_vit(7, 67, tokenizer=ElectrodeTimePatches(7, 1, 16, 16, 12, sampling_rate=64.0))
    assert [name for name, _, _ in distance_columns(unnamed.grid, unnamed.embed(torch.zeros(1, 7, 67)).coordinates)] == ["seconds"]


def test_what_reaches_the_output_is_the_class_token_s_row_or_the_mean_of_the_patches():
    rollout = np.array([[[0.2, 0.2, 0.6], [0.0, 1.0, 0.0], [0.5, 0.2, 0.3]]])
    np.testing.assert_allclose(reaching_output(rollout, ("class",), "class"), [[0.5, 1.5]])
    np.testing.assert_allclose(reaching_output(rollout, ("class",), "mean"), [[1.6, 0.4]])

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
from sigvit.data.electrode_info import make_info
from sigvit.data.synthetic import synthetic_windows
from sigvit.evaluation import figures, scalp_figures
from sigvit.inspection.attention_sections import distance_columns, reaching_output, read_by_head, rollout_figures, rollout_table
from sigvit.inspection.filter_section import filter_figures, filters_section
from sigvit.inspection.inputs import Looked, choose, electrode_order, look_at_recordings, normalisation
from sigvit.model.pooling import MeanPool
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
@pytest.mark.parametrize(("kind", "words"), [
    ("spectrogram", "one filter of the logarithm of power"),
    ("covariances", "CovarianceTokens are no linear projection of samples"),
    ("scalp map", "one filter: 8 × 8 pixels of the scalp"),
    ("two kinds", "Filters over the scalp"),
])  # fmt: skip
def test_other_tokens_have_a_page_without_the_figures_that_make_no_sense_for_them(kind, words, planted_page, tmp_path):
    page = inspected(saved(sigvit.signal_vit(7, 67, num_classes=2, tokenizer=tokenizers()[kind], heads=2, pool="mean", positions="learned"), tmp_path))
    assert words in page
    assert "What speaks for a class" in page
    assert len(figures_of(page)) >= 6


def filters_drawn(tokenizer, monkeypatch):
    """Caption of the tokenizer's only figure, and the filters that are drawn in it."""
    drawn, draw = [], figures.draw_filter_pictures
    monkeypatch.setattr(figures, "draw_filter_pictures", lambda filters, *others, **more: drawn.append(filters) or draw(filters, *others, **more))
    with torch.no_grad():
        (page,) = filter_figures(tokenizer, looked_at(torch.zeros(2, 7, 67), np.arange(2), None))
    return page, drawn[0]


def test_filters_of_spectrograms_stand_upright(monkeypatch):
    tokenizer = SpectrogramPatches(7, 64.0, window=22, stride=5, patch=(11, 3), width=13, names=ELECTRODES)
    torch.nn.init.zeros_(tokenizer.weight).detach().view(13, 11, 3)[0, 1, 2] = 1.0  # the second frequency in the third frame
    page, filters = filters_drawn(tokenizer, monkeypatch)
    assert filters.shape[1:] == (1, 11, 3)
    assert np.unravel_index(filters[0].argmax(), (1, 11, 3)) == (0, 9, 2)  # the second row from below
    assert "11 neighbouring frequencies, the first below, × 3 frames 78.1 ms apart" in page
    power = torch.zeros(1, 7, 3, 11)
    power[..., 2, 1] = 1.0
    assert torch.equal(tokenizer._projected(power)[..., 0], torch.ones(1, 7, 1))  # what the tokenizer multiplies it with


def test_filters_of_scalp_pictures_show_frame_after_frame(monkeypatch):
    tokenizer = ScalpMapPatches(7, size=(10, 14), patch_size=(5, 7), frame=2, frames=3, width=13, names=ELECTRODES, sampling_rate=64.0)
    torch.nn.init.zeros_(tokenizer.weight).detach()[0, 1, 4, 6] = 1.0
    page, filters = filters_drawn(tokenizer, monkeypatch)
    assert filters.shape[1:] == (1, 5, 3 * 7 + 2)
    assert np.unravel_index(np.nanargmax(filters[0]), filters.shape[1:]) == (0, 4, 8 + 6)
    assert np.isnan(filters[0, 0, :, [7, 15]]).all()
    assert "3 frames of 31.2 ms" in page


@pytest.mark.parametrize(
    ("kind", "n_figures", "words"),
    [
        ("time steps", 0, "Each filter is a weight an electrode"),
        ("spectrogram", 1, "one filter of the logarithm of power"),
        ("covariances", 0, "CovarianceTokens are no linear projection"),
    ],
)
def test_what_the_filters_are_is_told_where_some_are_drawn(kind, n_figures, words):
    model = sigvit.signal_vit(7, 67, tokenizer=tokenizers()[kind], heads=2, pool="mean")
    page = filters_section(model, looked_at(torch.zeros(2, 7, 67), np.arange(2), make_info(ELECTRODES, 64.0)))
    assert words in page
    assert page.count("<img") == n_figures
    assert ("The principal components" in page) == (n_figures > 0)


def test_filters_of_a_subclass_are_drawn():
    class Mine(ElectrodeTimePatches):
        pass

    (page,) = filter_figures(Mine(7, 1, 16, 16, 12), looked_at(torch.zeros(2, 7, 67), np.arange(2), make_info(ELECTRODES, 64.0)))
    assert "Time courses" in page


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ((3, 2), "power: 3 bands, the first below, × 2 frames 125 ms apart, the first on the left. All electrodes are read by"),
        ((1, 2), "All electrodes and all bands are read by the same filters"),
    ],
)
def test_filters_of_bands_are_no_neighbouring_frequencies(patch, words, monkeypatch):
    bands = ((4, 8), (8, 13), (13, 30))
    tokenizer = SpectrogramPatches(7, 64.0, kind="filter_bank", window=33, stride=8, bands=bands, patch=patch, width=12, names=ELECTRODES)
    assert words in filters_drawn(tokenizer, monkeypatch)[0]


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


def test_what_reaches_the_output_is_made_of_what_the_head_reads():
    rollout = np.array([[[0.2, 0.2, 0.6], [0.0, 1.0, 0.0], [0.5, 0.2, 0.3]]])
    np.testing.assert_allclose(reaching_output(rollout, np.array([[1.0, 0.0, 0.0]]), 1), [[0.5, 1.5]])
    np.testing.assert_allclose(reaching_output(rollout, np.array([[0.0, 0.5, 0.5]]), 1), [[1.6, 0.4]])


@pytest.mark.parametrize("pool", ["class", "mean", "mean_then_norm", "class_and_mean", "class_and_register"])
def test_what_the_head_reads_of_each_token_is_what_its_pooling_reads(pool):
    """Held against the pooling itself, of tokens that are unit vectors: its answer's number t is the share of token t."""
    torch.manual_seed(0)
    model = sigvit.signal_vit(7, 67, tokenizer=tokenizers()["one electrode"], pool=pool, heads=2, registers=2).eval()
    x = torch.randn(3, 7, 67)
    special, found = model.encode(x).special, read_by_head(model, x)
    pooling = MeanPool() if pool == "mean_then_norm" else model.pool  # the LayerNorm behind the mean mixes no tokens
    tokens, outputs = torch.eye(found.shape[1])[None], pooling.outputs(special)
    pooled = pooling(tokens if outputs is None else tokens[:, outputs]).unflatten(1, (-1, found.shape[1])).mean(1)
    np.testing.assert_allclose(found, pooled.expand(3, -1), rtol=1e-6)  # the pooling counts in float32


def test_of_attention_pooling_each_token_counts_as_the_probe_looks_at_it():
    """Held against the products of the probe's query with the tokens' keys."""
    torch.manual_seed(0)
    model = sigvit.signal_vit(7, 67, tokenizer=tokenizers()["one electrode"], pool="map", heads=2).eval()
    x = torch.randn(3, 7, 67)
    values, attention, found = model.encode(x).values, model.pool.attention, read_by_head(model, x)
    q = (model.pool.probe @ attention.qkv.weight[:12].T + attention.qkv.bias[:12]).view(2, 6)
    k = (values @ attention.qkv.weight[12:24].T + attention.qkv.bias[12:24]).unflatten(2, (2, 6))
    expected = ((k * q).sum(-1) / 6**0.5).softmax(1).mean(2)
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-5)  # both in float32, sums in other orders
    assert np.ptp(found) > 0.001  # not the mean of the patches


def looked_at(x, labels, info):
    return Looked(x, labels, ("left", "right"), x, labels, [], "planted", info=info)


def test_the_table_of_rollouts_names_the_patch_that_differs_and_says_what_permuted_labels_give():
    model = sigvit.signal_vit(7, 67, tokenizer=tokenizers()["one electrode"])
    labels = np.arange(22) % 2
    rolled = np.random.default_rng(0).uniform(0.9, 1.1, (22, 28))
    rolled[labels == 1, 13] += 1.0  # the fourth electrode's second patch
    page = rollout_table(rolled, model.grid, looked_at(torch.zeros(22, 7, 67), labels, None), 99)
    right = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)[-1]
    assert re.findall(r"<t[hd][^>]*>([^<]*)", right)[:2] == ["right", "electrode C3, time of the patch (s) 0.367"]
    assert re.findall(r"<t[hd][^>]*>([^<]*)", right)[-1].startswith("0.01")


def test_what_a_figure_of_rollouts_is_averaged_over_is_told(monkeypatch):
    titles, draw = [], scalp_figures.draw_topographies
    monkeypatch.setattr(scalp_figures, "draw_topographies", lambda maps, info, told, *others: titles.append(told) or draw(maps, info, told, *others))
    tokenizer = SpectrogramPatches(7, 64.0, window=16, stride=4, patch=(2, 2), width=12, names=ELECTRODES)
    grid = sigvit.signal_vit(7, 67, tokenizer=tokenizer, heads=2).grid
    looked = looked_at(torch.zeros(2, 7, 67), np.arange(2), make_info(ELECTRODES, 64.0))
    looked.has_scalp = True
    scalp, over_time = rollout_figures(np.random.default_rng(0).uniform(0.5, 1.5, grid.n_tokens), grid, "share", looked)
    assert "Mean over 2 inputs and frequency." in over_time
    assert titles == [["mean over frequency and time"]]
    assert "Over the scalp" in scalp

"""A classifier that starts from a pre-trained model: what is frozen stays, what isn't learns, and what can't fit is refused."""

import mne
import pytest
import torch

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.pretraining import write_pretraining
from sigvit.training.starting import start_from


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(effect=3.0)


@pytest.fixture
def folder(windows, tmp_path):
    torch.manual_seed(0)
    model = sigvit.signal_vit(windows.info, windows.values.shape[2], num_classes=2, width=8, heads=2, depth=1, positions="learned")
    model.save_pretrained(tmp_path)
    write_pretraining(tmp_path, [], "nothing")
    return str(tmp_path)


def fitted(windows, folder, **parameters):
    network = sigvit.SignalViTClassifier(pretrained=folder, classical=None, ensemble=False, training_steps=30, epochs=None, **parameters)
    return network.fit(windows, windows.labels)


@pytest.mark.parametrize(("trained", "changed"), [("all", {"tokenizer", "attention", "mlp", "head"}), ("head", {"head"}), ("lora", {"attention", "head"})])
def test_what_is_trained_changes_and_nothing_else(windows, folder, trained, changed):
    before = sigvit.VisionTransformer.from_pretrained(folder).state_dict()
    after = fitted(windows, folder, trained=trained).model_.state_dict()
    assert set(before) == set(after)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part in ("tokenizer", "attention.", "mlp", "head"):
        assert any(part in name for name in moved) == (part.rstrip(".") in changed), part
    if trained != "all":
        assert all(name.endswith("weight") or "head" in name for name in moved)


def test_cross_validation_starts_every_fold_from_it(windows, folder):
    network = sigvit.SignalViTClassifier(pretrained=folder, trained="lora", classical=None, training_steps=3)
    results = sigvit.cross_validate({"ViT": network}, windows, sigvit.folds.cross_subject(windows.metadata))
    assert len(results.table) == 3
    assert results.certificate.pretraining[0]["folds"] == [0, 1, 2]


def test_what_cannot_fit_is_refused(windows, folder):
    with pytest.raises(ValueError, match=r"can't start a training on 3 electrodes × 134 samples"):
        start_from(folder, windows.info, 134, 2)
    for electrodes in (list(windows.electrodes), ["C4", "Cz"]):  # the second cap is another one as well
        with pytest.raises(ValueError, match=r"made for 64 Hz, but these recordings have 50 Hz"):
            start_from(folder, mne.create_info(electrodes, 50.0, "eeg"), 67, 2)
    with pytest.raises(ValueError, match="give `pretrained`"):
        sigvit.SignalViTClassifier(trained="head").build(3, 67, 2)
    with pytest.raises(ValueError, match="own tokenizer"):
        sigvit.SignalViTClassifier(tokenizer=sigvit.signal_vit(3, 67).tokenizer, pretrained=folder).build(3, 67, 2)

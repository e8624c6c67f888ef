"""A file of weights is data: what could run code is refused and doesn't run, what is damaged is named."""

import argparse
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sigvit.weights.load import from_weights, load_weights
from sigvit.weights.read import read
from sigvit.weights.sources import layouts

SOURCES = ("google", "timm", "hugging_face", "torchvision", "mae", "dinov2", "deit", "deit3", "sigvit")


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, sprung) -> None:
        self.sprung = sprung

    def __reduce__(self):
        return (self.sprung.touch, ())


def torch_file(path, trap) -> None:
    torch.save({"model": {"cls_token": torch.zeros(1, 1, 3)}, "extra": trap}, path)


def old_torch_file(path, trap) -> None:
    torch.save({"cls_token": trap}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path, trap) -> None:
    path.write_bytes(pickle.dumps({"cls_token": trap}))


def array_of_objects(path, trap) -> None:
    with path.open("wb") as file:
        np.savez(file, cls=np.zeros((1, 1, 3)), trap=np.array([trap], dtype=object))


TRAPS = {
    "weights.pth": torch_file,
    "old.pth": old_torch_file,
    "bare.pth": bare_pickle,
    "pytorch_model.bin": torch_file,
    "objects.npz": array_of_objects,
    "bare.npz": bare_pickle,
    "torch.npz": torch_file,
    "bare.safetensors": bare_pickle,
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_refused_and_does_not_spring(name, source, tmp_path):
    sprung = tmp_path / "sprung"
    TRAPS[name](tmp_path / name, Trap(sprung))
    given = tmp_path if name == "pytorch_model.bin" else tmp_path / name
    with pytest.raises(ValueError, match=r"refused|isn't a whole safetensors file|can't be read|isn't numbers|lacks|holds"):
        load_weights(None, given, source)  # type: ignore[arg-type]
    assert not sprung.exists()


def test_the_trap_would_spring_where_files_are_programs(tmp_path):
    torch_file(tmp_path / "weights.pth", Trap(tmp_path / "sprung"))
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert (tmp_path / "sprung").exists()


def test_the_arguments_of_a_training_script_are_no_trap(tmp_path):
    torch.save({"model": {"cls_token": torch.ones(1, 1, 3)}, "args": argparse.Namespace(lr=0.1)}, tmp_path / "weights.pth")
    assert read(tmp_path / "weights.pth", layouts("mae")).tensors["cls_token"].sum() == 3


@pytest.mark.parametrize(
    ("beside", "name"),
    [
        (np.float64(0.5), r"numpy\.\w+\.multiarray\.scalar"),
        (argparse.Namespace(output=Path("here")), r"pathlib[\w.]*Path"),
        (nn.Linear(2, 3), r"torch.nn.modules.linear.Linear"),
    ],
)
def test_what_a_refused_file_holds_is_named_and_nobody_is_told_to_run_it(beside, name, tmp_path):
    torch.save({"model": {"cls_token": torch.ones(1, 1, 3)}, "beside": beside}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=rf"could run code: {name}\. Save the dictionary of the weights alone") as error:
        read(tmp_path / "weights.pth", layouts("mae"))
    assert "\x1b" not in str(error.value)
    assert "weights_only" not in str(error.value)


@pytest.mark.parametrize("name", ["weights.npz", "weights.safetensors", "weights.pth", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("version https://git-lfs.github.com/spec/v1\nsize 12\n", r"begins 'version https://git-lfs.github.com/spec/v1', a pointer of Git LFS; git lfs pull"),
        ("<html>\n", r"begins '<html>'\."),
    ],
)
def test_a_text_in_a_files_place_is_said_to_be_one(name, text, sentence, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name} can't be read as weights; it is text that {sentence}"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.npz", "weights.safetensors", "weights.pth"])
def test_a_truncated_file_is_named(name, tmp_path):
    path = tmp_path / name
    if name.endswith("npz"):
        np.savez(path, cls=np.random.default_rng(0).normal(size=(1, 1, 999)))
    elif name.endswith("safetensors"):
        save_file({"cls_token": torch.randn(1, 1, 999)}, path)
    else:
        torch.save({"cls_token": torch.randn(1, 1, 999)}, path)
    whole = path.read_bytes()
    for part in (0, 3, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:part])
        with pytest.raises(ValueError, match=name):
            from_weights(path, "timm")


def test_a_damaged_array_is_named(tmp_path):
    np.savez_compressed(tmp_path / "weights.npz", cls=np.random.default_rng(0).normal(size=(1, 1, 999)))
    content = bytearray((tmp_path / "weights.npz").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 9] = b"not these"
    (tmp_path / "weights.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"weights.npz can't be read as weights; it is damaged"):
        from_weights(tmp_path / "weights.npz", "google")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere.npz"):
        from_weights(tmp_path / "nowhere.npz", "google")
    with pytest.raises(FileNotFoundError, match=r"has none of model.safetensors, model.safetensors.index.json, pytorch_model.bin"):
        from_weights(tmp_path, "hugging_face")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([torch.zeros(2)], "holds a list, not a dictionary of tensors"),
        ({"norm.weight": torch.zeros(2), "epoch": 3}, "holds 'epoch', a int, among the tensors; give the dictionary of the weights alone"),
        ({"norm.weight": "zero"}, "holds 'norm.weight', a str"),
    ],
)
def test_a_file_of_other_things_is_refused(content, sentence, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=sentence):
        from_weights(tmp_path / "weights.pth", "timm")


def test_text_is_not_numbers(tmp_path):
    np.savez(tmp_path / "weights.npz", cls=np.array(["a"]))
    with pytest.raises(ValueError, match="holds 'cls' of dtype <U1, which isn't numbers"):
        from_weights(tmp_path / "weights.npz", "google")


def test_one_array_is_not_a_file_of_weights(tmp_path):
    with (tmp_path / "weights.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="holds one array without a name"):
        from_weights(tmp_path / "weights.npz", "google")


def test_shards_are_put_together_and_only_from_their_folder(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside.safetensors"
    folder.mkdir()
    save_file({"a": torch.zeros(2)}, folder / "one.safetensors")
    save_file({"b": torch.ones(3)}, folder / "two.safetensors")
    save_file({"c": torch.ones(4)}, outside)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    assert {name: len(tensor) for name, tensor in read(folder).tensors.items()} == {"a": 2, "b": 3}
    index.write_text(json.dumps({"weight_map": {"c": "../outside.safetensors"}}))
    with pytest.raises(FileNotFoundError):
        read(folder)


def test_shards_of_pytorch_are_read_as_data(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "one.bin")
    torch.save({"b": torch.ones(3)}, tmp_path / "two.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.bin", "b": "two.bin"}}))
    for given in (tmp_path, index):
        assert {name: len(tensor) for name, tensor in read(given).tensors.items()} == {"a": 2, "b": 3}
    torch.save([torch.zeros(2)], tmp_path / "two.bin")
    with pytest.raises(ValueError, match=r"two\.bin holds a list, not a dictionary of tensors"):
        read(index)
    torch_file(tmp_path / "two.bin", Trap(tmp_path / "sprung"))
    with pytest.raises(ValueError, match=r"two\.bin holds more than tensors and is refused"):
        read(index)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("weight_map", "sentence"),
    [
        (
            {"a": "one", "b": "two", "blocks.2.c": "two", "blocks.3.c": "two"},
            r"two\.safetensors .* lacks blocks\.{2, 3}\.c; not placed there: none",
        ),
        ({"a": "one"}, None),  # a file that the index doesn't name isn't read
        ({"a": "one", "c": "two"}, r"two\.safetensors .* lacks c; not placed there: b\."),
        ({"a": "two", "b": "two"}, r"two\.safetensors .* lacks a; "),
    ],
)
def test_shards_hold_what_the_index_says(weight_map, sentence, tmp_path):
    """A copy that lost a block would be a shallower model."""
    save_file({"a": torch.zeros(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(3)}, tmp_path / "two.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: f"{file}.safetensors" for name, file in weight_map.items()}}))
    if sentence is None:
        assert read(tmp_path).tensors.keys() == {"a"}
        return
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_damaged_or_missing_shard_is_named(ending, tmp_path):
    index, shard = tmp_path / "weights.index.json", tmp_path / f"one.{ending}"
    index.write_text(json.dumps({"weight_map": {"a": shard.name}}))
    with pytest.raises(FileNotFoundError, match=rf"There is no file .*one\.{ending}\."):
        read(index)
    shard.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=rf"one\.{ending} (isn't a whole safetensors file|holds more than tensors|can't be read)"):
        read(index)


@pytest.mark.parametrize("content", ["xx", "{}", "[]", '{"weight_map": [1]}', '{"weight_map": {"a": 3}}', "\xff"])
def test_an_index_that_is_none_is_named(content, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json isn't a readable index: it should be JSON whose weight_map"):
        read(tmp_path)


def test_an_index_names_files_of_weights(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": index.name}}))
    with pytest.raises(ValueError, match=r"index\.json names 'model\.safetensors\.index\.json'; the files of an index end in \.safetensors or \.bin"):
        read(tmp_path)


def test_a_config_that_is_no_object_is_named(tmp_path):
    save_file({"embeddings.cls_token": torch.zeros(1, 1, 3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json holds a list; a config is a JSON object"):
        read(tmp_path)


def test_a_config_that_is_no_json_is_named(tmp_path):
    save_file({"embeddings.cls_token": torch.zeros(1, 1, 3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json isn't readable JSON"):
        from_weights(tmp_path, "hugging_face")

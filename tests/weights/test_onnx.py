"""Exported models: one program for every batch and every grid, with the model's own logits."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

import sigvit
from sigvit.model.config import ModelConfig
from sigvit.tokenizers import ResNetPatches
from sigvit.weights.onnx import example_inputs, export_onnx, open_sizes

RUNTIME = 1e-4  # ONNX Runtime has its own kernels: float32 sums in another order, another polynomial for erf
EXPORTED = 1e-6  # the same kernels in the same order, but positions at the built size go through a matrix of ones
POSITIONS = ["learned", "factorised", "sincos", "coordinates", "rotary", "none"]

# What torch's own tracer warns of, at torch 2.13, wherever it is called.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def model_of(positions: str = "learned", pool: str = "class", **choices) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    built = {"image_size": (15, 21), "num_classes": 3, "in_channels": 2, "patch_size": (5, 7), "width": 16, "depth": 1, "heads": 2, "mlp_width": 19}
    model = sigvit.vit("Ti", pool=pool, positions=positions, **{**built, **choices})
    nn.init.normal_(model.head.weight)
    return model.eval()


def exported(model: sigvit.VisionTransformer) -> nn.Module:
    with torch.no_grad():
        return torch.export.export(model, example_inputs(model), dynamic_shapes=open_sizes(model)).module()


@pytest.mark.parametrize("positions", ["learned", *(pytest.param(kind, marks=pytest.mark.slow) for kind in POSITIONS[1:])])
def test_one_exported_program_serves_every_batch_and_grid(positions):
    model = model_of(positions, registers=1)
    program = exported(model)
    for batch, rows, columns in [(2, 15, 21), (3, 10, 35), (1, 40, 14)]:
        images = torch.randn(batch, 2, rows, columns)
        torch.testing.assert_close(program(images), model(images), rtol=0, atol=EXPORTED)


def test_a_program_at_one_size_holds_the_resized_positions():
    """As `torch.export` does by itself when only the batch is left open."""
    model, images = model_of(), torch.randn(2, 2, 10, 35)
    with torch.no_grad():
        program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    images = torch.randn(5, 2, 10, 35)
    torch.testing.assert_close(program(images), model(images), rtol=0, atol=EXPORTED)


@pytest.mark.parametrize("method", ["matmul", pytest.param("convolution", marks=pytest.mark.slow)])
def test_a_model_that_fills_or_has_one_row_of_patches_is_exported_for_multiples_of_the_patch(method):
    model = model_of("learned", "mean", image_size=(5, 21))
    model.tokenizer.method, model.tokenizer.pad = method, True
    images = torch.randn(3, 2, 15, 28)
    torch.testing.assert_close(exported(model)(images), model(images), rtol=0, atol=EXPORTED)


def test_recordings_and_hybrids_leave_the_batch_open():
    signal = sigvit.signal_vit(3, 40, depth=1).eval()
    config = ModelConfig((3, 16, 24), num_classes=3, width=16, depth=1, heads=2, mlp_width=19)
    hybrid = sigvit.VisionTransformer(config, ResNetPatches(layers=(1,), width=16)).eval()
    for model in (signal, hybrid):
        nn.init.normal_(model.head.weight)
        images = torch.randn(5, *model.config.input_shape)
        torch.testing.assert_close(exported(model)(images), model(images), rtol=0, atol=EXPORTED)


def agrees_with_onnx_runtime(model: sigvit.VisionTransformer, path: Path, shapes: list[tuple[int, ...]]) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra 'onnx')")
    export_onnx(model.train(), path)
    assert model.training
    model.eval()
    session = runtime.InferenceSession(path)
    for shape in shapes:
        images = torch.randn(shape)
        with torch.no_grad():
            expected = model(images)
        found = torch.from_numpy(session.run(["logits"], {"signal": images.numpy()})[0])
        assert expected.std() > 100 * RUNTIME  # a head at zero would prove nothing
        torch.testing.assert_close(found, expected, rtol=0, atol=RUNTIME)


@pytest.mark.slow
def test_one_onnx_file_serves_every_batch_and_grid(tmp_path):
    agrees_with_onnx_runtime(model_of(dropout=0.3, gelu="swiglu"), tmp_path / "model.onnx", [(2, 2, 15, 21), (3, 2, 10, 35), (1, 2, 40, 7), (1, 2, 5, 7)])


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["class", "mean", "map"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_onnx_of_every_kind(positions, pool, tmp_path):
    model = model_of(positions, pool, depth=2, registers=1, layer_scale=0.3, representation=11, gelu="tanh")
    agrees_with_onnx_runtime(model, tmp_path / "model.onnx", [(2, 2, 15, 21), (3, 2, 10, 35), (1, 2, 40, 7)])


@pytest.mark.slow
def test_onnx_of_recordings(tmp_path):
    model = sigvit.signal_vit(3, 40).eval()
    nn.init.normal_(model.head.weight)
    agrees_with_onnx_runtime(model, tmp_path / "model.onnx", [(2, 3, 40), (5, 3, 40)])


def test_an_export_leaves_every_part_in_its_mode(monkeypatch, tmp_path):
    class Program:
        """Stands for what takes the exporter seconds."""

        def save(self, path: Path) -> None:
            path.touch()

    def export(model: nn.Module, *arguments: object, **choices: object) -> Program:
        assert not any(part.training for part in model.modules())
        return Program()

    monkeypatch.setattr("sigvit.weights.onnx.find_spec", lambda package: True)
    monkeypatch.setattr(torch.onnx, "export", export)
    model = model_of().train()
    model.tokenizer.eval()
    export_onnx(model, tmp_path / "model.onnx")
    assert [name for name, part in model.named_modules() if not part.training] == ["tokenizer"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_takes_the_old_ones_place_when_it_is_whole(fails, monkeypatch, tmp_path):
    class Program:
        """Stands for what takes the exporter seconds; a large model's weights are written beside it."""

        def save(self, path: Path) -> None:
            Path(f"{path}.data").write_text("new")
            path.write_text("half" if fails else "new")
            if fails:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr("sigvit.weights.onnx.find_spec", lambda package: True)
    monkeypatch.setattr(torch.onnx, "export", lambda *arguments, **choices: Program())
    old = {"model.onnx": "old", "model.onnx.data": "old"}
    for name, content in old.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(OSError, match="No space left") if fails else nullcontext():
        export_onnx(model_of(), tmp_path / "model.onnx")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == (old if fails else dict.fromkeys(old, "new"))
    link = tmp_path / "latest.onnx"
    link.symlink_to("model.onnx")
    with pytest.raises(OSError, match="No space left") if fails else nullcontext():
        export_onnx(model_of(), link)
    assert link.is_symlink()


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sigvit.weights.onnx.find_spec", lambda package: None)
    with pytest.raises(ImportError, match="needs onnx and onnxscript; install them with the extra 'onnx'"):
        export_onnx(model_of(), tmp_path / "model.onnx")

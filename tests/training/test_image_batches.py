"""Batches of images: pure functions of (seed, step, share), whatever reads them; evaluation counts every image once."""

import threading
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from sigvit.data.images import open_images
from sigvit.data.images_arrays import array_images
from sigvit.training.augment_images import ImageAugmentation, preprocess
from sigvit.training.batches import Share
from sigvit.training.distributed import Processes
from sigvit.training.evaluate import ImageEvaluation, evaluate_images
from sigvit.training.image_batches import ImageBatches
from sigvit.training.image_reader import ImageReader
from sigvit.training.mixing import draw_mixing
from sigvit.training.recipe import Recipe

N, R, C, CLASSES = 53, 7, 5, 3
CROP = ImageAugmentation(crop_area=(0.2, 1.0), flip=True, colour_jitter=0.2)
MIXED = {"mixup": 0.4, "cutmix": 1.0, "mixing_probability": 0.8}


@pytest.fixture(scope="module")
def images():
    values = np.random.default_rng(0).integers(0, 256, (N, R, C, 3), dtype=np.uint8)
    return array_images(values, np.arange(N) % CLASSES)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """The same in files, every second one larger."""
    root = tmp_path_factory.mktemp("images")
    for number, (pixels, label) in enumerate(zip(images.values, images.labels, strict=True)):
        place = root / str(label)
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize((C + 6 * (number % 2), R)).save(place / f"{number:02d}.png")
    return open_images(root)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def together(batches, step, of):
    return [torch.cat(parts) for parts in zip(*[batches.batch(step, Share(number, of)) for number in range(of)], strict=True)]


@pytest.mark.parametrize("mixing", [{}, MIXED])
@pytest.mark.parametrize("of", [2, 3, 4, 12])  # shares of 6, 4, 3 and 1: also those that cut a pair of neighbours
def test_shares_are_the_whole_batch_bit_for_bit(images, folder, mixing, of):
    recipe = Recipe(batch_size=12, **mixing)
    for source, options in ((images, {}), (folder, {"image_size": (R, C), "workers": 2})):
        batches = ImageBatches(source, CROP, recipe, 0, **options)
        for step in (0, 3, 4):  # 4 is of the second epoch
            assert same(together(batches, step, of), batches.batch(step))


def test_an_odd_batch_leaves_its_last_image_unmixed(images):
    batches = ImageBatches(images, ImageAugmentation(), Recipe(batch_size=11, mixup=0.4), 0)
    plain = ImageBatches(images, ImageAugmentation(), Recipe(batch_size=11), 0)
    (mixed, targets), (whole, _) = batches.batch(2), plain.batch(2)
    assert torch.equal(mixed[10], whole[10])
    assert targets[10].max() == 1
    assert not torch.equal(mixed[9], whole[9])
    assert same(together(batches, 2, 11), (mixed, targets))


def test_neighbours_are_mixed_with_the_drawn_weights(images):
    recipe = Recipe(batch_size=6, mixup=0.4)
    mixed, targets = ImageBatches(images, ImageAugmentation(), recipe, 7).batch(1)
    whole, labels = ImageBatches(images, ImageAugmentation(), Recipe(batch_size=6), 7).batch(1)
    own = draw_mixing(6, recipe, 7, 1).own
    for row in range(6):
        expected = own[row] * whole[row].double() + (1 - own[row]) * whole[row ^ 1].double()
        assert torch.allclose(mixed[row].double(), expected, atol=1e-6)  # float32
        shares = own[row] * labels[row].double() + (1 - own[row]) * labels[row ^ 1].double()
        assert torch.allclose(targets[row].double(), shares, atol=1e-6)


def test_order_and_number_of_workers_change_nothing(folder):
    recipe = Recipe(steps=9, batch_size=6, mixup=0.3)
    expected = [ImageBatches(folder, CROP, recipe, 0, workers=0, image_size=(11, 13)).batch(step) for step in range(9)]
    for workers in (1, 3, 7):
        batches = ImageBatches(folder, CROP, recipe, 0, workers=workers, image_size=(11, 13))
        for step in (0, 1, 2, 7, 8, 3, 2, 2):  # a resume is a jump; a batch may be asked for twice
            assert same(batches.batch(step), expected[step])


def test_coming_batches_are_read_while_the_present_one_is_computed(folder):
    recipe, read = Recipe(steps=4, batch_size=6), []

    class Watched:
        labels, classes, values, channels, source, size = folder.labels, folder.classes, None, 3, "watched", None
        order = staticmethod(folder.order)

        def __len__(self):
            return len(folder)

        def read(self, rows, framing=None):
            read.append((threading.current_thread().name, tuple(rows)))
            return folder.read(rows, framing)

    batches = ImageBatches(Watched(), CROP, recipe, 0, workers=2, image_size=(R, C))
    batches.batch(0)
    batches.reader._pool.submit(int).result()
    batches.batch(1)
    batches.batch(2)
    batches.batch(3)
    batches.reader._pool.shutdown()
    assert len(read) == 4 * 2  # each batch once, in two parts, and none beyond the last step
    assert threading.current_thread().name not in {name for name, _ in read}


def test_an_epoch_sees_every_image_once_and_the_next_in_another_order(images):
    batches = ImageBatches(images, ImageAugmentation(mean=(0.0,), std=(1.0,)), Recipe(batch_size=7), 0)
    epochs = [np.concatenate([batches._rows(step, slice(0, 7)) for step in range(first, first + 7)]) for first in (0, 7)]
    assert [len(set(epoch)) for epoch in epochs] == [49, 49]
    assert not np.array_equal(*epochs)
    rows = batches._rows(3, slice(0, 7))
    inputs, targets = batches.batch(3)
    assert torch.equal(inputs, torch.from_numpy(images.values[rows]).permute(0, 3, 1, 2) / 255)
    assert torch.equal(targets.argmax(1), torch.from_numpy(images.labels[rows]))


def test_a_stream_s_batches_are_functions_of_the_step(images, tmp_path):
    pytest.importorskip("datasets.arrow_dataset", reason="datasets is not installed (extra parquet)")  # "datasets" alone is a folder of ours
    import datasets

    table = {"image": [Image.fromarray(pixels) for pixels in images.values], "label": images.labels.tolist()}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["0", "1", "2"])})
    datasets.Dataset.from_dict(table, features=features).to_parquet(tmp_path / "train.parquet", batch_size=5)
    source = f"parquet:{tmp_path}"
    recipe = Recipe(steps=20, batch_size=6, mixup=0.3)
    walked = ImageBatches(open_images(source), CROP, recipe, 0, workers=2, image_size=(R, C))
    reached = [walked.batch(step) for step in range(12)]
    for step in (11, 4):
        assert same(ImageBatches(open_images(source), CROP, recipe, 0, workers=0, image_size=(R, C)).batch(step), reached[step])


def test_where_the_set_lies_changes_nothing(images):
    recipe = Recipe(batch_size=6)
    one, other = (ImageBatches(images, CROP, recipe, 0, keep_on_device=keep) for keep in (True, False))
    assert same(one.batch(5), other.batch(5))
    assert one.batch(5)[0].shape == (6, 3, R, C)
    assert ImageBatches(images, CROP, Recipe(batch_size=6, dtype="float64"), 0, image_size=(11, 13)).batch(0)[0].shape == (6, 3, 11, 13)


def test_bad_choices_are_sentences(images, folder):
    with pytest.raises(ValueError, match="batch_size is 54, but the arrays has 53 images"):
        ImageBatches(images, CROP, Recipe(batch_size=54), 0)
    with pytest.raises(ValueError, match="say with image_size which the model sees"):
        ImageBatches(folder, CROP, Recipe(batch_size=5), 0)
    with pytest.raises(ValueError, match=r"std has 3 numbers, but .* has 1 channels"):
        ImageBatches(array_images(images.values[..., 0], images.labels), ImageAugmentation(std=(1.0, 1.0, 1.0)), Recipe(batch_size=5), 0)
    with pytest.raises(ValueError, match="only images in memory can be kept on the device"):
        ImageReader(folder, keep_on_device=True)
    with pytest.raises(ValueError, match="workers is -1"):
        ImageReader(folder, workers=-1)
    with pytest.raises(ValueError, match=r"time_shift is 0\.2, but nothing reads it: it varies recordings"):
        ImageBatches(images, CROP, Recipe(batch_size=5, time_shift=0.2), 0)


def test_a_damaged_file_stops_the_step_that_needs_it_with_its_name(images, tmp_path):
    for number in range(6):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        Image.fromarray(images.values[number]).resize((64, 64)).save(tmp_path / str(number % 2) / f"{number}.jpg")
    (tmp_path / "1" / "3.jpg").write_bytes((tmp_path / "1" / "3.jpg").read_bytes()[:-200])
    batches = ImageBatches(open_images(tmp_path), CROP, Recipe(steps=3, batch_size=2), 0, workers=2, image_size=(R, C))
    with pytest.raises(ValueError, match=r"3.jpg can't be decoded"):
        _ = [batches.batch(step) for step in range(3)]


# Evaluation


class Linear(nn.Module):
    def __init__(self, classes=CLASSES):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3 * R * C, classes)
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs):
        return self.head(self.drop(inputs.flatten(1)))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_evaluation_counts_every_image_once(images, loss):
    model, augmentation = Linear(), ImageAugmentation()
    model.train()
    found = evaluate_images(model, images, augmentation, batch_size=11, loss=loss)
    assert model.training
    inputs = preprocess(torch.from_numpy(images.values).permute(0, 3, 1, 2), augmentation, (R, C))
    logits, labels = model.eval()(inputs).double(), torch.from_numpy(images.labels)
    targets = functional.one_hot(labels).double()
    losses = functional.cross_entropy(logits, labels) if loss == "softmax" else functional.binary_cross_entropy_with_logits(logits, targets) * CLASSES
    assert found.accuracy == (logits.argmax(1) == labels).double().mean()
    assert abs(found.loss - losses.detach()) < 1e-6  # float32 logits of other batch sizes


def test_evaluation_gives_every_part_its_mode_back_also_where_it_ends_in_an_error(images):
    for model in (Linear(), Linear(7)):  # the second has another number of classes
        model.train().drop.eval()  # kept in evaluation mode while the rest trains
        with suppress(ValueError):
            evaluate_images(model, images, ImageAugmentation())
        assert [part.training for part in model.modules()] == [True, True, False]


def test_evaluation_is_shared_out_without_loss_or_repetition(images):
    """The parts of 1, 2, 5 and 61 processes (some of which have no image) add up to what one counts, in equally many forward passes."""
    model = Linear().eval()
    alone = evaluate_images(model, images, ImageAugmentation())
    for world in (1, 2, 5, 61):
        parts = [ImageEvaluation(images, ImageAugmentation(), batch_size=4, processes=Processes(rank, world)) for rank in range(world)]
        with torch.no_grad():
            totals = sum(part._counted(model, number) for part in parts for number in range(len(part._batches)))
        assert len({len(part._batches) for part in parts}) == 1
        assert int(totals[2]) == N
        assert totals[0] / totals[2] == alone.accuracy
        assert abs(totals[1] / totals[2] - alone.loss) < 1e-6  # float32 logits of other batch sizes


def test_evaluation_reads_files_as_it_reads_arrays(folder):
    augmentation, model = ImageAugmentation(evaluation_resize=1.0), Linear()
    framed = [evaluate_images(model, folder, augmentation, (R, C), batch_size=7, workers=workers) for workers in (0, 3)]
    assert framed[0] == framed[1]


def test_files_of_the_model_s_size_are_seen_as_the_same_arrays(images, tmp_path):
    for number, (pixels, label) in enumerate(zip(images.values, images.labels, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / str(label) / f"{number:02d}.png")
    files, recipe = open_images(tmp_path), Recipe(batch_size=12)
    order = [int(file.stem) for file in sorted(tmp_path.rglob("*.png"))]
    arrays = array_images(images.values[order], images.labels[order])
    assert files.size is None
    assert evaluate_images(Linear(), files, ImageAugmentation(), (R, C)) == evaluate_images(Linear(), arrays, ImageAugmentation())
    assert same(*(ImageBatches(source, ImageAugmentation(pad=1), recipe, 0, image_size=(R, C)).batch(1) for source in (files, arrays)))


@pytest.mark.parametrize("size", [[R, C], np.array([R, C])])
def test_a_size_is_the_same_however_it_is_written(images, size):
    augmentation, recipe = ImageAugmentation(), Recipe(batch_size=12)
    assert same(*(ImageBatches(images, augmentation, recipe, 0, image_size=each).batch(0) for each in (size, (R, C))))
    assert evaluate_images(Linear(), images, augmentation, size) == evaluate_images(Linear(), images, augmentation, (R, C))
    assert ImageEvaluation(images, augmentation, 11).size == (11, 11)


def test_bfloat16_evaluation_is_close(images):
    model = Linear()
    full, half = (evaluate_images(model, images, ImageAugmentation(), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert full.loss != half.loss
    assert abs(full.loss - half.loss) < 0.02  # bfloat16 has 8 bits: logits near 1 are off by .004


def test_what_cannot_be_evaluated_is_a_sentence(images):
    with pytest.raises(ValueError, match=r"The model has 7 classes, but the arrays has 3; reset_head\(3\)"):
        evaluate_images(Linear(7), images, ImageAugmentation())
    with pytest.raises(ValueError, match="batch_size is 0"):
        evaluate_images(Linear(), images, ImageAugmentation(), batch_size=0)
    with pytest.raises(ValueError, match="loss is 'bce'; there are 'softmax', 'sigmoid', 'binary'"):
        ImageEvaluation(images, ImageAugmentation(), loss="bce")


def test_repeats_see_fewer_images_each_varied_anew(images):
    varied = ImageAugmentation(crop_area=(0.2, 1.0), repeats=3)
    inputs, targets = ImageBatches(images, varied, Recipe(batch_size=12), 0).batch(1)
    once = [torch.equal(targets[k], targets[k + 4]) and torch.equal(targets[k], targets[k + 8]) for k in range(4)]
    assert all(once)
    assert not torch.equal(inputs[0], inputs[4])
    still = ImageBatches(images, ImageAugmentation(repeats=3), Recipe(batch_size=11), 0)  # 11 = 4 + 4 + 3
    inputs, _ = still.batch(1)
    assert torch.equal(inputs[:3], inputs[4:7])
    assert torch.equal(inputs[:3], inputs[8:])
    assert not torch.equal(inputs[0], inputs[1])

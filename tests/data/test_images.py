"""Image sets: one door for arrays, folders, .npz and parquet; every kind of file becomes the wanted pixels, or a sentence."""

import io
import os
import re
import struct
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from sigvit.data.images import Images, hold_out, open_images, require_same_classes
from sigvit.data.images_arrays import PackedFiles, array_images
from sigvit.data.images_decoding import decode

N, R, C = 11, 5, 7
CLASSES = ("cat", "dog", "eel")


class Middle:
    """A framing: the box from (1, 1) of 3 × 3 pixels at 2 × 2."""

    size, interpolation = (2, 2), "bilinear"

    def box(self, position, rows, columns):
        return (1.0, 1.0, 4.0, 4.0)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture
def values(generator):
    return generator.integers(0, 256, (N, R, C, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def fill(folder, values, labels, kind="png"):
    """Class folders with one file per image."""
    for number, (pixels, label) in enumerate(zip(values, labels, strict=True)):
        place = folder / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02d}.{kind}")
    return folder


def pack(values):
    files = [encoded(Image.fromarray(pixels)) for pixels in values]
    return np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *map(len, files)])


# Sets


def test_digits_are_held_out_by_class_and_always_alike():
    train, test = open_images("digits"), open_images("digits", "test")
    assert (len(train), len(test), train.size, train.values.max()) == (1347, 450, (8, 8), 255)
    shares = np.bincount(test.labels) / (np.bincount(train.labels) + np.bincount(test.labels))
    assert abs(shares - 0.25).max() < 0.003  # a quarter of 174 images or more, rounded: at most .5 / 174 = .00287 off
    assert np.array_equal(open_images("digits", "test").values, test.values)
    parts = [{(image.tobytes(), label) for image, label in zip(part.values, part.labels, strict=True)} for part in (train, test)]
    assert not parts[0] & parts[1]


def test_the_shared_sets_are_what_they_are(shared_data, monkeypatch):
    monkeypatch.setenv("SIGVIT_DATA", str(shared_data))
    mnist, cifar = open_images("mnist"), open_images("cifar10", "test")
    assert (len(mnist), mnist.size, mnist.channels, mnist.labels[:6].tolist()) == (60000, (28, 28), 1, [5, 0, 4, 1, 9, 2])
    assert (len(cifar), cifar.size, cifar.channels, cifar.classes[0], set(np.bincount(cifar.labels))) == (2000, (32, 32), 3, "airplane", {200})
    file = np.load(shared_data / "images" / "cifar10_jpeg_subset.npz")
    first = file["test_bytes"][: file["test_offsets"][1]].tobytes()
    assert np.array_equal(cifar.values[0], np.asarray(Image.open(io.BytesIO(first))))


def test_a_missing_shared_folder_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("SIGVIT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="set the environment variable SIGVIT_DATA"):
        open_images("mnist")


def test_folder_packed_and_array_read_the_same(values, tmp_path):
    labels = np.sort(np.arange(N) % 3)
    data, offsets = pack(values)
    np.savez(tmp_path / "set.npz", x_train=values, y_train=labels)
    np.savez(tmp_path / "packed.npz", train_bytes=data, train_offsets=offsets, train_labels=labels.astype(np.uint8), classes=CLASSES)
    for source in (fill(tmp_path / "folder", values, labels), tmp_path / "set.npz", tmp_path / "packed.npz"):
        images = open_images(source)
        assert np.array_equal(images.read([4, 1, 4]), values[[4, 1, 4]]), source
        assert np.array_equal(images.labels, labels)
        assert np.array_equal(images.in_memory().values, values)
        # Pillow frames both; 3 × 3 → 2 × 2 of the same pixels.
        assert np.array_equal(images.read([3], Middle())[0], array_images(values, labels).read([3], Middle())[0])
    assert open_images(tmp_path / "folder").classes == CLASSES
    assert open_images(tmp_path / "folder").size is None


def test_folders_of_train_and_val_are_the_two_parts(values, tmp_path):
    labels = np.arange(N) % 3
    fill(tmp_path / "train", values, labels, "JPEG")
    fill(tmp_path / "val", values[:5], labels[:5])
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"litter")
    (tmp_path / "train" / "dog" / "more").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / "train" / "dog" / "more" / "deep.png")
    train, test = open_images(tmp_path), open_images(tmp_path, "test")
    assert (len(train), len(test)) == (N + 1, 5)
    assert open_images(tmp_path / "val").classes == test.classes == CLASSES


def test_hidden_folders_below_a_class_are_passed_over(values, tmp_path):
    fill(tmp_path, values, np.arange(N) % 3)
    (tmp_path / "cat" / ".ipynb_checkpoints" / "deep").mkdir(parents=True)
    Image.new("L", (3, 3)).save(tmp_path / "cat" / ".ipynb_checkpoints" / "00-checkpoint.png")
    Image.new("L", (3, 3)).save(tmp_path / "cat" / ".ipynb_checkpoints" / "deep" / "01-checkpoint.png")
    assert len(open_images(tmp_path)) == N


def test_linked_folders_are_read_once_and_end(values, tmp_path):
    folder, elsewhere = fill(tmp_path / "set", values, np.arange(N) % 3), tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    Image.new("L", (3, 3)).save(elsewhere / "deep" / "far.png")
    (folder / "dog" / "more").mkdir()
    Image.new("L", (3, 3)).save(folder / "dog" / "more" / "near.png")
    for link, target in {"dog/again": folder / "dog" / "more", "dog/linked": elsewhere, "dog/more/up": folder / "dog", "fox": elsewhere}.items():
        (folder / link).symlink_to(target, target_is_directory=True)
    images = open_images(folder)
    deep = sorted(str(path) for path in images.files.paths if path.count("/") > 1)
    assert deep == ["dog/linked/deep/far.png", "dog/more/near.png", "fox/deep/far.png"]
    assert len(images) == N + len(deep)


@pytest.mark.parametrize("backwards", [False, True])
def test_of_two_links_to_a_folder_the_first_by_name_is_read_on_every_file_system(values, tmp_path, monkeypatch, backwards):
    folder, walk = fill(tmp_path / "set", values, np.arange(N) % 3), os.walk
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / "elsewhere" / "far.png")
    for link in ("more", "again", "still"):
        (folder / "dog" / link).symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    def walk_in_order(top):
        for place, folders, files in walk(top):
            folders.sort(reverse=backwards)
            yield place, folders, files

    monkeypatch.setattr(os, "walk", walk_in_order)
    assert [path for path in open_images(folder).files.paths if path.count("/") > 1] == ["dog/again/far.png"]


def test_packed_images_of_several_sizes_stay_packed(values, tmp_path):
    images = [Image.fromarray(values[0]), Image.fromarray(values[1]).resize((4, 6))]
    files = [encoded(image) for image in images]
    np.savez(tmp_path / "p.npz", train_bytes=np.frombuffer(b"".join(files), np.uint8), train_offsets=np.cumsum([0, *map(len, files)]), train_labels=[0, 1])
    opened = open_images(tmp_path / "p.npz")
    assert opened.values is None
    assert np.array_equal(opened.read([1])[0], np.asarray(images[1]))
    assert opened.read([0, 1], Middle()).shape == (2, 2, 2, 3)
    with pytest.raises(ValueError, match=re.escape("several sizes, such as (5, 7) and (6, 4)")):
        opened.read([0, 1])


def test_parts_of_encoded_sets_read_their_own_images(values, tmp_path):
    images = open_images(fill(tmp_path, values, np.sort(np.arange(N) % 3)))
    left, held = hold_out(images, 0.25, seed=3)
    rows = [np.flatnonzero((values == pixels).all((1, 2, 3)))[0] for part in (left, held) for pixels in part.read(np.arange(len(part)))]
    assert sorted(rows) == list(range(N))
    assert sorted(held.order(np.random.default_rng(0))) == list(range(len(held)))
    assert np.array_equal(held.labels, images.labels[rows[len(left) :]])


def test_a_fingerprint_tells_sets_apart_by_class_label_shape_and_bytes(values):
    labels = np.arange(N) % 2
    changed = values.copy()
    changed[N - 1, 0, 0, 0] ^= 1
    sets = [
        array_images(values, labels),
        array_images(values, 1 - labels),
        array_images(changed, labels),
        array_images(values.reshape(N, C, R, 3), labels),
        array_images(values, labels, CLASSES[:2]),
    ]
    hashes = [each.fingerprint() for each in sets]
    assert len(set(hashes)) == len(hashes)
    assert array_images(values.copy(), labels).fingerprint() == hashes[0]


def test_a_fingerprint_of_files_tells_names_labels_and_sizes_without_reading_them(values, tmp_path, monkeypatch):
    labels = np.sort(np.arange(N) % 3)
    fill(tmp_path, values, labels)

    def fingerprint():
        images = open_images(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(type(images.files), "encoded", None)
            return images.fingerprint()

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    (tmp_path / "cat" / "00.png").rename(tmp_path / "dog" / "00.png")  # other labels in the order of before
    seen.append(fingerprint())
    (tmp_path / "eel" / "10.png").write_bytes(encoded(Image.fromarray(values[10].repeat(2, 0))))
    seen.append(fingerprint())
    (tmp_path / "eel" / "10.png").rename(tmp_path / "eel" / "11.png")
    seen.append(fingerprint())
    seen.append(open_images(tmp_path).part(np.arange(3)).fingerprint())
    assert len(set(seen)) == 5


def test_a_fingerprint_of_what_is_packed_tells_every_pixel(values):
    labels, changed = np.arange(N) % 3, values.copy()
    changed[7, 0, 0, 0] ^= 1
    packed = [Images(labels, CLASSES, None, 3, files=PackedFiles(*pack(pixels), "packed")).fingerprint() for pixels in (values, values, changed)]
    assert packed[0] == packed[1] != packed[2]


def test_a_part_is_named_by_numbers_or_a_mask(values, tmp_path):
    files, arrays = open_images(fill(tmp_path, values, np.sort(np.arange(N) % 3))), Images(np.arange(N) % 3, CLASSES, values)
    for images in (files, arrays):
        chosen = images.labels == 1
        assert np.array_equal(images.read(chosen), images.read(np.flatnonzero(chosen)))
        assert images.part(chosen).labels.tolist() == [1] * chosen.sum()
        with pytest.raises(ValueError, match="has each of its images once and at least one, but 3 rows"):
            images.part([0, 0, 1])
        assert np.array_equal(images.read(np.array([-1, 0], np.int8)), images.read([N - 1, 0]))
        for absent in ([N], [-N - 1], np.ones(N - 1, bool), [0.0]):
            with pytest.raises(IndexError):
                images.read(absent)


def test_reading_costs_memory_for_the_images_that_are_read_not_for_the_set():
    several = 500_009
    images = Images(np.zeros(several, np.uint8), ("one",), np.zeros((several, 1, 1, 1), np.uint8), channels=1)
    tracemalloc.start()
    images.read([several - 1, -2])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < several / 8  # bytes; an integer a row of the set takes 8 of them


# Parquet


@pytest.fixture
def parquet(tmp_path, generator):
    """Two train files and one test file as Hugging Face's datasets writes them, in row groups of 4."""
    pytest.importorskip("datasets.arrow_dataset", reason="datasets is not installed (extra parquet)")  # "datasets" alone is a folder of ours
    import datasets

    pixels = generator.integers(0, 256, (31, R, C, 3), dtype=np.uint8)
    labels = np.arange(31) % 3
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    for name, rows in {"train-0": range(13), "train-1": range(13, 31), "test-0": range(5)}.items():
        table = {"image": [Image.fromarray(pixels[row]) for row in rows], "label": [int(labels[row]) for row in rows]}
        datasets.Dataset.from_dict(table, features=features).to_parquet(tmp_path / f"{name}.parquet", batch_size=4)
    return tmp_path, pixels, labels


def test_a_fingerprint_of_parquet_files_tells_their_row_groups(parquet):
    pytest.importorskip("datasets.arrow_dataset", reason="datasets is not installed (extra parquet)")  # "datasets" alone is a folder of ours
    import datasets

    folder, _, _ = parquet
    before = open_images(f"parquet:{folder}").fingerprint()
    assert open_images(f"parquet:{folder}/train-*.parquet").fingerprint() == before
    file = next(iter(sorted(folder.glob("train*.parquet"))))
    datasets.Dataset.from_parquet(str(file), cache_dir=str(folder / "cache")).to_parquet(file, batch_size=2)
    assert open_images(f"parquet:{folder}/train-*.parquet").fingerprint() != before


def test_parquet_files_are_one_set_with_their_classes(parquet):
    folder, pixels, labels = parquet
    images, test = open_images(f"parquet:{folder}"), open_images(f"parquet:{folder}/{{split}}-*.parquet", "test")
    assert images.classes == test.classes == CLASSES
    assert (len(images), len(test)) == (31, 5)
    assert np.array_equal(images.labels, labels)
    assert np.array_equal(images.read([29, 0, 14, 29]), pixels[[29, 0, 14, 29]])
    with pytest.raises(ValueError, match="no parquet files of the train part"):
        open_images(f"parquet:{folder}/nothing*.parquet")


@pytest.mark.parametrize("damage", ["cut short", "labels", "images"])
def test_a_damaged_parquet_file_is_named(parquet, damage):
    from pyarrow import parquet as format_of

    file = parquet[0] / "train-1.parquet"
    data = bytearray(file.read_bytes())
    columns = format_of.ParquetFile(file).metadata.row_group(0)
    at = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in map(columns.column, (0, columns.num_columns - 1))]
    place = {"cut short": slice(len(data) // 2, None), "labels": slice(at[1], at[1] + 16), "images": slice(at[0], at[0] + 16)}[damage]
    data[place] = b"" if damage == "cut short" else b"\xff" * 16
    file.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{re.escape(str(file))} can't be read: .*\. If it is cut short or damaged, fetch it again"):
        open_images(f"parquet:{parquet[0]}").read(range(31))


def test_no_parquet_file_is_both_trained_on_and_tested(parquet):
    folder, _, _ = parquet
    for pattern in (f"parquet:{folder}/*.parquet", f"parquet:{folder}"):
        assert (len(open_images(pattern)), len(open_images(pattern, "test"))) == (31, 5)
    (folder / "test-0.parquet").rename(folder / "validation-0.parquet")
    for pattern in (f"parquet:{folder}/*.parquet", f"parquet:{folder}/{{split}}-*.parquet"):
        assert len(open_images(pattern, "test")) == 5
    (folder / "validation-0.parquet").rename(folder / "latest.parquet")  # names no part
    assert len(open_images(f"parquet:{folder}/latest.parquet")) == 5
    with pytest.raises(ValueError, match=r"no parquet files of the test part at .*latest\.parquet: name them after it"):
        open_images(f"parquet:{folder}/latest.parquet", "test")


def test_a_stream_s_order_is_random_complete_and_stays_in_few_row_groups(parquet):
    from sigvit.data.images_parquet import parquet_images

    folder, _, _ = parquet
    images = parquet_images(str(folder), block=2)
    orders = [images.order(np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    assert sorted(orders[0]) == list(range(31))
    groups = np.searchsorted(images.files._starts, orders[0], side="right") - 1
    first_two = set(groups[:2])  # rows of one block: two row groups
    assert len({*groups[:5]} | first_two) == 2


def test_going_on_in_a_stream_reads_one_block_and_no_more(parquet):
    from sigvit.data.images_parquet import parquet_images

    folder, pixels, _ = parquet
    images = parquet_images(str(folder), block=2)
    order = images.order(np.random.default_rng(0))
    assert np.array_equal(images.read(order[20:24]), pixels[order[20:24]])
    assert len(images.files._kept) <= 4  # at most two blocks of two row groups, of the eight that there are


def test_threads_read_what_one_reads(parquet):
    folder, pixels, _ = parquet
    images, found = open_images(f"parquet:{folder}"), {}
    threads = [threading.Thread(target=lambda part=part: found.update({part: images.read(range(part, 31, 5))})) for part in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[part], pixels[part::5]) for part in range(5))


def test_text_labels_and_plain_bytes_are_read_from_any_file_system(values):
    fsspec = pytest.importorskip("fsspec", reason="fsspec comes with datasets")
    pytest.importorskip("datasets.arrow_dataset", reason="datasets is not installed (extra parquet)")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    table = pyarrow.table({"image": [encoded(Image.fromarray(pixels)) for pixels in values[:3]], "label": ["dog", "cat", "dog"]})
    with fsspec.filesystem("memory").open("/far/train.parquet", "wb") as file:
        files.write_table(table, file)
    images = open_images("parquet:memory://far/train.parquet")
    assert (images.classes, images.labels.tolist()) == (("cat", "dog"), [1, 0, 1])
    assert np.array_equal(images.read([1])[0], values[1])


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"picture": [b"x"], "label": [0]}, "has no column image; it has picture, label"),
        ({"image": [b"x", b"y"], "label": [0, None]}, "1 of 2 labels are missing"),
        ({"image": [b"x"], "label": [0.5]}, "labels are float"),
        ({"image": [b""], "label": [0]}, "row 0 of .*t.parquet holds no bytes"),
        ({"image": [b"no image"], "label": [0]}, "row 0 of .*t.parquet is no image"),
    ],
)
def test_bad_parquet_files_are_sentences(columns, sentence, tmp_path):
    pytest.importorskip("datasets.arrow_dataset", reason="datasets is not installed (extra parquet)")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=sentence):
        open_images(f"parquet:{tmp_path}/t.parquet").read([0])


# Decoding


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, generator):
    stored = generator.integers(0, 256, (R, C), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: stored.T[:, ::-1],
        7: stored.T[::-1, ::-1],
        8: stored.T[::-1],
    }[orientation]
    assert np.array_equal(decode(encoded(Image.fromarray(stored), exif=exif), "photo", 1)[:, :, 0], upright)


def test_every_kind_of_pixel_becomes_grey_or_colour():
    red, size = (200, 30, 40), (C, R)
    half = Image.new("RGBA", size, (*red, 0))
    half.paste((*red, 255), (0, 0, 3, R))
    palette = Image.new("RGB", size, red).quantize(4)
    deep = Image.fromarray(np.full((R, C), 40000, np.uint16))
    for image, kind, pixel in (
        (Image.new("RGB", size, red), "PNG", red),
        (Image.new("L", size, 90), "PNG", (90,) * 3),
        (palette, "PNG", red),
        (half, "PNG", red),
        (Image.new("LA", size, (90, 255)), "PNG", (90,) * 3),
        (Image.new("1", size, 1), "PNG", (255,) * 3),
        (Image.new("CMYK", size, (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (deep, "PNG", (round(40000 / 257),) * 3),
    ):
        colour, grey = (decode(encoded(image, kind), image.mode, channels) for channels in (3, 1))
        assert (colour.shape, grey.shape) == ((R, C, 3), (R, C, 1))
        assert tuple(colour[0, 0]) == pixel, image.mode
        # ITU-R 601 in whole levels: Pillow's fixed-point weights may round differently by one
        assert abs(float(grey[0, 0, 0]) - np.dot(pixel, (0.299, 0.587, 0.114))) <= 1, image.mode
    assert decode(encoded(half), "half transparent", 3)[0, -1].tolist() == [255, 255, 255]


def test_transparency_of_a_palette_is_laid_over_white():
    image = Image.new("P", (C, R), 0)
    image.putpalette([200, 30, 40])
    assert decode(encoded(image, transparency=0), "palette", 3)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("mode", "colour"), [("L", 90), ("RGB", (200, 30, 40)), ("I;16", 40000)])
def test_a_colour_that_is_transparent_is_laid_over_white(mode, colour, channels):
    image = Image.new(mode, (C, R), colour)
    image.putpixel((0, 0), 0 if isinstance(colour, int) else (0, 0, 0))
    pixels = decode(encoded(image, transparency=colour), mode, channels)
    assert (pixels[0, 0] == 0).all()
    assert (pixels.reshape(-1, channels)[1:] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "PPM", "TIFF"])
def test_16_bits_become_8_in_every_format(kind):
    levels = np.array([[0, 300, 40000], [255, 65535, 32639]], np.uint16)
    assert decode(encoded(Image.fromarray(levels), kind), "deep", 1)[:, :, 0].tolist() == [[0, 1, 156], [1, 255, 127]]


def test_16_bits_that_older_pillows_read_as_32_stay_16_also_when_turned(monkeypatch):
    image, opened = Image.fromarray(np.array([[40000, 257]], np.uint16)), Image.open
    turned = Image.Exif()
    turned[0x0112] = 3  # by half a circle

    def older(file):
        read = opened(file)
        read.load()
        read.im, read._mode = read.im.convert("I"), "I"
        return read

    data = encoded(image, exif=turned)
    monkeypatch.setattr(Image, "open", older)
    assert decode(data, "deep", 1).ravel().tolist() == [1, 156]


def test_a_level_beside_the_transparent_one_of_16_bits_stays():
    image = Image.fromarray(np.array([[40000, 40001]], np.uint16))
    assert decode(encoded(image, transparency=40000), "deep", 1).ravel().tolist() == [255, round(40001 / 257)]


# Bad input


def test_a_truncated_jpeg_is_named(values, tmp_path):
    fill(tmp_path, values.repeat(9, 1).repeat(9, 2), np.sort(np.arange(N) % 3), "jpg")
    file = tmp_path / "dog" / "05.jpg"
    file.write_bytes(file.read_bytes()[:-400])
    images = open_images(tmp_path)
    row = [images.files.name(row) for row in range(N)].index(str(file))
    with pytest.raises(ValueError, match=rf"{re.escape(str(file))} can't be decoded: .*cut short"):
        images.read([0, row])
    (tmp_path / "dog" / "06.jpg").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"06.jpg is no image that Pillow can read"):
        images.read([row + 1])


def chunk(kind, content):
    """One part of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\0\1\0"), b"P5\n2\x8c 2\n255\n1234", b"P6\n31T24\n255\n123456"],
    ids=["short header of a PNG", "no number in a PGM", "no number in a PPM"],
)
def test_whatever_pillow_raises_names_the_file(data):
    with pytest.raises(ValueError, match=r"holiday can't be decoded: .*\. It is cut short or damaged"):
        decode(data, "holiday", 3)


def test_a_machine_without_memory_makes_no_file_damaged(values, monkeypatch):
    def load(image):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(MemoryError):
        decode(encoded(Image.fromarray(values[0]), "BMP"), "holiday", 3)


def test_pixels_without_a_known_range_and_bombs_are_sentences(monkeypatch):
    with pytest.raises(ValueError, match="floats holds 32-bit floating-point pixels"):
        decode(encoded(Image.new("F", (3, 3)), "TIFF"), "floats", 1)
    for level in (-5, 200):
        with pytest.raises(ValueError, match="numbers holds signed or 32-bit whole-number pixels, whose range isn't known"):
            decode(encoded(Image.new("I", (3, 3), level), "TIFF"), "numbers", 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(ValueError, match=r"bomb can't be decoded: .*exceeds limit[^;]*\. Make it smaller or take it out of the set\.$"):
        decode(encoded(Image.new("L", (11, 7))), "bomb", 1)


def test_bad_folders_are_sentences(values, tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="bare has no classes: there should be a folder for each class"):
        open_images(tmp_path / "bare")
    folder = fill(tmp_path / "set", values, np.arange(N) % 3)
    with pytest.raises(ValueError, match=r"has no test part.*hold out"):
        open_images(folder, "test")
    (folder / "fox").mkdir()
    with pytest.raises(ValueError, match="has no images for 1 of its 4 classes: fox"):
        open_images(folder)
    (folder / "fox" / "notes.txt").write_text("not a fox")
    with pytest.raises(ValueError, match=r"notes.txt is no image by its ending"):
        open_images(folder)


@pytest.mark.parametrize("named", [{}, {"classes": ["cat", "dog", "eel"]}])
def test_a_class_without_images_is_named(values, tmp_path, named):
    labels = 2 * (np.arange(N) % 2)
    np.savez(tmp_path / "s.npz", x_train=values, y_train=labels, **named)
    with pytest.raises(ValueError, match=rf"s\.npz \(train\) has no images for 1 of its 3 classes: {'dog' if named else '1'}\."):
        open_images(tmp_path / "s.npz")
    assert array_images(values, labels).classes == ("0", "1", "2"), "a part may lack one"


def test_other_classes_in_test_than_in_train_are_named(values, tmp_path):
    fill(tmp_path / "train", values, np.arange(N) % 3)
    fill(tmp_path / "test", values[:2], [0, 1])
    with pytest.raises(ValueError, match=r"train has 3 classes and test 2, and they differ \(only in train: eel\)"):
        open_images(tmp_path, "test")
    with pytest.raises(ValueError, match="in their order"):
        require_same_classes(["a", "b"], ["b", "a"], "here")
    np.savez(tmp_path / "s.npz", x_train=values, y_train=np.arange(N) % 3, x_test=values, y_test=np.arange(N) % 4)
    with pytest.raises(ValueError, match="train has 3 classes and test 4"):
        open_images(tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": np.array([0, 1, 3])}, "label 3 of image 2 is out of range; there are 3 classes, so labels are 0 … 2"),
        ({"labels": np.array([0, -1, 2])}, "label -1 of image 1 is out of range"),
        ({"labels": np.array([0.0, 1.0, 2.0])}, "dtype float64; give a whole number for each image"),
        ({"labels": np.array([], dtype=int)}, "and some images"),
        ({"values": np.zeros((3, R, C, 3))}, "values are float64; images are uint8"),
        ({"values": np.zeros((2, R, C, 3), np.uint8)}, r"shape \(2, 5, 7, 3\); there should be .* = \(3, …, …, 3\)"),
        ({"values": None}, "give either values or files"),
        ({"channels": 2}, "channels is 2"),
    ],
)
def test_bad_arrays_are_sentences(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Images(**{"labels": np.arange(3), "classes": CLASSES, "values": np.zeros((3, R, C, 3), np.uint8)} | change)


def test_bad_npz_files_are_sentences(values, tmp_path):
    np.savez(tmp_path / "s.npz", x_train=values, y_train=np.arange(N) % 3)
    with pytest.raises(ValueError, match=r"s.npz has no test part: it holds x_train, y_train; there should be x_test and y_test, or test_bytes"):
        open_images(tmp_path / "s.npz", "test")
    data, offsets = pack(values)
    for wrong in (offsets + 1, offsets[::-1], offsets[:-1]):
        np.savez(tmp_path / "p.npz", train_bytes=data, train_offsets=wrong, train_labels=np.arange(N) % 3)
        with pytest.raises(ValueError, match="offsets that rise from 0"):
            open_images(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", train_bytes=data, train_offsets=offsets, train_labels=np.arange(N - 1) % 3)
    with pytest.raises(ValueError, match="10 labels for 11 images"):
        open_images(tmp_path / "p.npz")
    np.savez(tmp_path / "o.npz", x_train=np.array([{}], dtype=object), y_train=np.zeros(1, int))
    with pytest.raises(ValueError, match=r"o\.npz: x_train can't be read \(.*allow_pickle.*\); it must be an array of numbers"):
        open_images(tmp_path / "o.npz")
    np.savez(tmp_path / "o.npz", x_train=values, y_train=np.arange(N) % 3, classes=np.array(CLASSES, dtype=object))
    with pytest.raises(ValueError, match=r"o\.npz: classes can't be read"):
        open_images(tmp_path / "o.npz")
    np.savez(tmp_path / "d.npz", x_train=values, y_train=np.arange(N) % 3)
    damaged = bytearray((tmp_path / "d.npz").read_bytes())
    damaged[200] ^= 255  # a pixel
    (tmp_path / "d.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"d\.npz can't be read \(Bad CRC-32"):
        open_images(tmp_path / "d.npz")


def test_unknown_sources_splits_and_shares_are_sentences(tmp_path):
    with pytest.raises(ValueError, match=r"There are no images at .*nowhere"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="split is 'val'"):
        open_images("digits", "val")
    images = array_images(np.zeros((3, 2, 2), np.uint8), np.arange(3))
    with pytest.raises(ValueError, match=r"fraction is 1.5"):
        hold_out(images, 1.5, seed=0)
    with pytest.raises(ValueError, match="both parts need some"):
        hold_out(images, 0.25, seed=0)

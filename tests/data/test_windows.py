"""Windows: what they check, how they are saved, loaded and joined."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from enum import Enum, IntEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sigvit.data.joining import GrowingArray
from sigvit.data.synthetic import synthetic_windows
from sigvit.data.windows import Windows, concatenate


@pytest.fixture
def windows():
    whole = synthetic_windows(n_trials=5, sampling_rate=61.3)
    return replace(whole, filter_support_s=0.37, name="seven", page={"title": "a", "steps": [1]}, control_values=whole.values[:, :, :13].copy())


def assert_same(one, other):
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.labels, other.labels)
    pd.testing.assert_frame_equal(one.metadata, other.metadata)
    assert (one.electrodes, one.sampling_rate, one.filter_support_s, one.name, one.page) == (
        (other.electrodes, other.sampling_rate, other.filter_support_s, other.name, other.page)
    )
    # .fif files hold places in single precision.
    np.testing.assert_allclose([ch["loc"][:3] for ch in one.info["chs"]], [ch["loc"][:3] for ch in other.info["chs"]], atol=1e-8)


def test_what_is_saved_is_loaded_equal_and_mapped(windows, tmp_path):
    extra = windows.metadata.assign(age=[1.5, np.nan] * 15, note=["x, y", "ä\n"] * 15, ok=[True, False] * 15)
    windows = replace(windows, metadata=extra)
    windows.save(tmp_path / "deep" / "set")
    loaded = Windows.load(tmp_path / "deep" / "set")
    assert_same(loaded, windows)
    np.testing.assert_array_equal(loaded.control_values, windows.control_values)
    assert isinstance(loaded.values, np.memmap)
    assert not loaded.values.flags.writeable  # what is done to the windows isn't done to the files
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]
    assert loaded.row_hashes() == windows.row_hashes()


def test_labels_of_python_objects_are_saved_as_text(windows, tmp_path):
    replace(windows, labels=windows.labels.astype(object)).save(tmp_path / "set")
    assert Windows.load(tmp_path / "set").classes == ("left", "right")


def test_mixed_labels_are_not_saved(windows, tmp_path):
    with pytest.raises(ValueError, match="all text or all numbers"):
        replace(windows, labels=np.array([1, "a"] * 15, dtype=object)).save(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"span": pd.interval_range(0, 30)}, r"column 'span' is interval\[int64, right\], which can't be saved"),
        ({0: range(30)}, "a column 0, which would be text after loading"),
        ({"label": "again"}, "several columns 'label'; names of columns must differ"),
        ({"day": [None, *[date(2024, 2, 29)] * 29]}, r"holds datetime.date\(2024, 2, 29\) in row 1, which would be '2024-02-29' after loading; make text"),
        ({"pair": [(3, 5)] * 30}, r"column 'pair' holds \(3, 5\) in row 0, which would be \[3, 5\] after loading"),
        ({"both": [{3}] * 30}, r"holds \{3\} in row 0"),
        ({"raw": [b"a"] * 30}, "holds b'a' in row 0"),
        ({"sex": [Enum("Sex", "F M").F] * 30}, r"holds <Sex.F: 1> in row 0, which would be 'Sex.F'"),
        ({"sex": pd.Series([Enum("Sex", {"F": "f"}, type=str).F] * 30, dtype=object)}, r"holds <Sex.F: 'f'> in row 0, which would be 'f'"),
        ({"sex": pd.Series([IntEnum("Sex", "F M").F] * 30, dtype=object)}, r"holds <Sex.F: 1> in row 0, which would be 1 after"),
        ({"when": np.array([pd.NaT, "x"] * 15, dtype=object)}, "holds NaT in row 0, which would be 'NaT'"),
        ({"said": [{7: 1}] * 30}, r"holds \{7: 1\} in row 0, which would be \{'7': 1\}"),
        ({"when": pd.Categorical(pd.date_range("2024", periods=30))}, r"column 'when' holds Timestamp\('2024-01-01 00:00:00'\) in row 0"),
    ],
)
def test_metadata_that_could_not_be_loaded_are_not_saved(windows, tmp_path, columns, sentence):
    table = pd.concat([windows.metadata, pd.DataFrame(columns, index=range(30))], axis=1)
    with pytest.raises(ValueError, match=sentence):
        replace(windows, metadata=table).save(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_text_of_a_packages_own_kind_is_saved_as_text(windows, tmp_path):
    words = pd.Series([type("Word", (str,), {"__repr__": lambda self: "a word"})("a")] * 30, dtype=object)
    replace(windows, metadata=windows.metadata.assign(said=words)).save(tmp_path / "set")
    assert Windows.load(tmp_path / "set").metadata["said"].tolist() == ["a"] * 30


@pytest.mark.parametrize(
    "column",
    [
        [[1, float("nan")], {"a": "b"}, None] * 10,
        np.array([np.float64(0.5), "x", np.int16(3)] * 10, dtype=object),
        pd.Categorical(np.array(["a", "b", "c"] * 10, dtype=object)),
        pd.Categorical(np.arange(30, dtype=np.int8)),
        pd.array(["a", None, "c"] * 10, dtype="string"),
        pd.date_range("2024", periods=30, tz="Europe/Berlin"),
    ],
)
def test_columns_that_are_the_same_after_loading_are_saved(windows, tmp_path, column):
    windows = replace(windows, metadata=windows.metadata.assign(extra=pd.Series(column)))
    windows.save(tmp_path / "set")
    assert list(map(repr, Windows.load(tmp_path / "set").metadata["extra"])) == [
        repr(value.item() if isinstance(value, np.generic) else value) for value in windows.metadata["extra"]
    ]


def test_labels_of_numpys_text_of_any_length_are_saved(windows, tmp_path):
    replace(windows, labels=windows.labels.astype(np.dtypes.StringDType())).save(tmp_path / "set")
    assert Windows.load(tmp_path / "set").labels.tolist() == windows.labels.tolist()


def test_a_kill_while_saving_leaves_no_half_folder(windows, tmp_path, monkeypatch):
    monkeypatch.setattr("mne.io.write_info", lambda *args, **more: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        windows.save(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_sentence_and_the_old_windows_survive(windows, tmp_path, full_disk):
    windows[:3].save(tmp_path / "set")
    with full_disk(9_973), pytest.raises(OSError, match=r"set could not be written \(.*what was there before is untouched"):
        windows.save(tmp_path / "set", overwrite=True)
    assert len(Windows.load(tmp_path / "set")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_links_stay_and_lead_to_the_windows(windows, tmp_path):
    for name in ("there", "nowhere"):
        (tmp_path / f"to_{name}").symlink_to(tmp_path / name)
    windows.save(tmp_path / "there")
    windows[:4].save(tmp_path / "to_there", overwrite=True)
    windows[:5].save(tmp_path / "to_nowhere")
    assert [len(Windows.load(tmp_path / name)) for name in ("there", "nowhere")] == [4, 5]
    assert {path.name for path in tmp_path.iterdir() if not path.is_symlink()} == {"there", "nowhere"}


def test_what_a_kill_left_goes_after_a_day(windows, tmp_path):
    names = ("set-" + "0" * 32, "set-" + "1" * 32, "sets-" + "0" * 32, "set-" + "0" * 32 + "-mine")
    old, filling, another, own = (tmp_path / f".{name}" for name in names)
    for folder in (old, filling, another, own):
        folder.mkdir()
        (folder / "values.npy").write_text("half")
        for path in (folder, folder / "values.npy"):
            os.utime(path, (time.time() - 90_000,) * 2)
    (filling / "values.npy").write_text("more")
    windows.save(tmp_path / "set")
    assert {path.name for path in tmp_path.iterdir()} == {"set", filling.name, another.name, own.name}


def test_a_folder_is_only_overwritten_when_asked_and_when_it_holds_windows(windows, tmp_path):
    windows.save(tmp_path / "set")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        windows.save(tmp_path / "set")
    windows[:4].save(tmp_path / "set", overwrite=True)
    assert len(Windows.load(tmp_path / "set")) == 4
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="something else"):
        windows.save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize("file", ["values.npy", "control_values.npy", "labels.npy", "metadata.json", "electrodes-info.fif"])
def test_a_file_cut_short_or_missing_is_named(windows, tmp_path, file):
    windows.save(tmp_path / "set")
    path = tmp_path / "set" / file
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=f"{file} has .* bytes instead of"):
        Windows.load(tmp_path / "set")
    path.unlink()
    with pytest.raises(ValueError, match=f"{file} is missing"):
        Windows.load(tmp_path / "set")


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"format": "windows of somebody else"})])
def test_a_foreign_folder_is_refused(windows, tmp_path, text):
    with pytest.raises(ValueError, match=r"holds no windows\.json"):
        Windows.load(tmp_path / "nothing")
    windows.save(tmp_path / "set")
    (tmp_path / "set" / "windows.json").write_text(text)
    with pytest.raises(ValueError, match=r"windows\.json (is damaged|isn't of the format)"):
        Windows.load(tmp_path / "set")


def test_what_a_folder_of_an_earlier_version_lacks_is_named(windows, tmp_path):
    windows.save(tmp_path / "set")
    told = json.loads((tmp_path / "set" / "windows.json").read_text())
    (tmp_path / "set" / "windows.json").write_text(json.dumps({name: value for name, value in told.items() if name != "electrodes"}))
    with pytest.raises(ValueError, match=r"windows\.json lacks electrodes: it was edited, or an earlier sigvit wrote it"):
        Windows.load(tmp_path / "set")


def test_no_windows_are_saved_and_loaded_too(windows, tmp_path):
    windows[:0].save(tmp_path / "none")
    assert Windows.load(tmp_path / "none").values.shape == (0, 3, 67)


def test_contradictions_are_refused(windows):
    with pytest.raises(ValueError, match="float32"):
        replace(windows, values=windows.values.astype(float))
    with pytest.raises(ValueError, match="29 labels"):
        replace(windows, labels=windows.labels[1:])
    with pytest.raises(ValueError, match="29 rows of metadata"):
        replace(windows, metadata=windows.metadata[1:])
    with pytest.raises(ValueError, match="names 3 electrodes"):
        replace(windows, values=windows.values[:, :2])
    with pytest.raises(ValueError, match=r"lack the columns \['trial'\]"):
        replace(windows, metadata=windows.metadata.drop(columns="trial"))
    with pytest.raises(ValueError, match="control values have shape"):
        replace(windows, control_values=windows.control_values[1:])
    with pytest.raises(ValueError, match="control values have shape"):
        replace(windows, control_values=windows.control_values[:, 1:])


@pytest.mark.parametrize("rows", [slice(3, 11), np.array([7, 0, 5]), np.arange(30) % 3 == 1])
def test_rows_are_taken_from_everything_at_once(windows, rows):
    part = windows[rows]
    np.testing.assert_array_equal(part.values, windows.values[rows])
    np.testing.assert_array_equal(part.control_values, windows.control_values[rows])
    assert part.metadata["label"].tolist() == part.labels.tolist() == windows.labels[rows].tolist()
    assert part.metadata.index.tolist() == list(range(len(part)))


def test_hashes_are_of_all_of_a_window(windows):
    values = windows.values.copy()
    values[:, -1, -1] += 1
    assert len({*windows.row_hashes(), *replace(windows, values=values).row_hashes()}) == 60


def test_a_boolean_column_of_the_metadata_is_read_by_its_index_whatever_its_order(windows):
    table = windows.metadata.assign(ok=windows.labels == "left").sort_values(["label", "start_s"], kind="stable")
    assert_same(windows[table["subject"] == "01"], windows[(windows.metadata["subject"] == "01").to_numpy()])
    assert_same(windows[(table["subject"] == "01").astype("boolean")], windows[windows.metadata["subject"] == "01"])
    for column, sentence in (
        (table["ok"][:7], "7 rows has another index than the table of 30"),
        (table["ok"].where(table["ok"]).astype("boolean"), "has gaps"),
    ):
        with pytest.raises(ValueError, match=sentence):
            windows[column]
    with pytest.raises(ValueError, match="30 rows has another index than the table of 7"):  # of the whole set, for a part of it
        windows[:7][table["ok"]]


def test_every_kind_of_boolean_rows_is_read_alike(windows):
    torch = pytest.importorskip("torch")
    chosen = np.arange(30) % 7 == 3
    for rows in (chosen.tolist(), torch.tensor(chosen), pd.array(chosen, dtype="boolean"), torch.tensor(np.flatnonzero(chosen))):
        assert_same(windows[rows], windows[np.flatnonzero(chosen)])
    assert len(windows[[]]) == len(windows[torch.zeros(30, dtype=torch.bool)]) == 0


def test_labels_and_metadata_are_in_the_order_of_the_windows(windows):
    table = windows.metadata.sample(frac=1, random_state=0)  # the index stays, as pandas has it
    order = table.index.to_numpy()
    turned = Windows(windows.values[order], table["label"], table, windows.info)
    assert turned[[3, 5]].labels.tolist() == windows.labels[order[[3, 5]]].tolist()
    assert turned.metadata["trial"].tolist() == table["trial"].tolist()
    assert Windows(windows.values, windows.labels.tolist(), windows.metadata, windows.info)[[0, 1]].labels.tolist() == windows.labels[:2].tolist()


def test_rows_are_taken_as_scikit_learn_takes_them(windows):
    assert windows.shape == windows.values.shape
    assert_same(windows[np.array([2, 7]), ...], windows[[2, 7]])
    for wrong in (0, (1, 2), np.int64(3), [[1, 2]]):
        with pytest.raises(ValueError, match=r"windows\[\[3\]\] is the set of one window"):
            windows[wrong]


def test_parts_join_into_the_whole(windows):
    joined = concatenate(part for part in (windows[:11], windows[11:12], windows[12:]))
    assert_same(joined, windows)
    np.testing.assert_array_equal(joined.control_values, windows.control_values)
    assert [concatenate([part, part], page={"title": "b"}).page for part in (windows, joined)] == [{"title": "b"}] * 2


def test_joining_brings_electrodes_into_one_order_and_keeps_the_longest_support():
    one, other = synthetic_windows(electrodes=("C3", "Cz", "C4")), synthetic_windows(electrodes=("C4", "C3", "Cz"), seed=1)
    supports = zip((one, other, one), (0.2, 0.9, 0.3), strict=True)
    joined = concatenate((replace(part, filter_support_s=support, control_values=part.values[:, :, :7]) for part, support in supports), name="both")
    assert (joined.electrodes, joined.filter_support_s, joined.name) == (("C3", "Cz", "C4"), 0.9, "both")
    np.testing.assert_array_equal(joined.values[60:120], other.values[:, [1, 2, 0]])
    np.testing.assert_array_equal(joined.control_values, joined.values[:, :, :7])


def marked(windows, *bads, **change):
    info = windows.info.copy()
    info["bads"] = list(bads)
    return replace(windows, info=info, **change)


def test_joining_keeps_the_bad_marks_that_all_parts_have_and_tells_of_the_others(windows, tmp_path):
    one, other = marked(windows[windows.metadata.subject == "01"], "C3", "Cz"), marked(windows[windows.metadata.subject == "02"], "Cz", "C4")
    for parts in ([one, other], [other, one]):
        with pytest.warns(UserWarning, match=r": C3 \(in sub-01_ses-1.*\), C4 \(in sub-02_ses-1.*\). In the joined set these count as good"):
            assert concatenate(parts).info["bads"] == ["Cz"]
    assert concatenate([one, one]).info["bads"] == ["C3", "Cz"]
    assert concatenate([windows[[]], one]).info["bads"] == concatenate([one[[]], one[[]]]).info["bads"] == ["C3", "Cz"]
    assert one.info["bads"] == ["C3", "Cz"]
    one.save(tmp_path / "set")
    assert Windows.load(tmp_path / "set").info["bads"] == ["C3", "Cz"]


def test_labels_that_joining_would_make_one_are_refused(windows):
    numbers = np.arange(30) % 2
    one = replace(windows, labels=numbers, metadata=windows.metadata.assign(label=numbers))
    with pytest.raises(ValueError, match="Of the windows of seven some have the label 0, others '0'"):
        concatenate([one, replace(one, labels=numbers.astype(str))])
    joined = concatenate([one, windows])
    assert joined.classes == ("0", "1", "left", "right")
    assert joined.metadata["label"].tolist() == joined.labels.tolist()
    assert concatenate([one, replace(one, labels=numbers.astype(bool))]).labels.dtype == int


def cut_page(recording: str, *swings_v: float, **cut: float | str) -> dict:
    windows = [{"recording": recording, "reason": "swings", "peak_to_peak_v": swing} for swing in swings_v]
    dropped = {"planned": 20, "kept": 20 - len(windows), "reasons": {"swings": len(windows)} if windows else {}, "windows": windows}
    return {"title": recording, "cut": {"start_s": 0.5, **cut}, "recordings": {recording: {"padding_s": 0.0}}, "dropped": dropped}


def test_joining_keeps_what_every_part_says_of_its_recordings(windows):
    pages = [cut_page("one"), cut_page("two", 3e-4, 5e-4, reject_v="autoreject"), cut_page("three", 7e-4, reject_v=6e-4), {"notes": ["of arrays"]}]
    before = json.dumps(pages)
    parts = [replace(windows, page=page) for page in pages]
    page = concatenate([parts[0][:7], parts[0][7:], *parts[1:]]).page
    assert (page["title"], page["cut"]) == ("one", {"start_s": 0.5, "reject_v": "autoreject"})
    assert list(page["recordings"]) == ["one", "two", "three"]
    assert (page["dropped"]["planned"], page["dropped"]["kept"], page["dropped"]["reasons"]) == (60, 57, {"swings": 3})
    assert [each["peak_to_peak_v"] for each in page["dropped"]["windows"]] == [3e-4, 5e-4, 7e-4]
    assert concatenate([parts[3], parts[2]]).page["cut"]["reject_v"] == 6e-4
    assert concatenate([parts[2], parts[1]]).page["cut"]["reject_v"] == "autoreject"
    assert json.dumps(pages) == before


@pytest.mark.parametrize(("second", "joint"), [("A 2001", "A 2001"), ("B 2002", None), (None, None)])
def test_a_joined_set_has_a_citation_where_all_parts_state_the_same(windows, second, joint):
    pages = [{"title": "first", "citation": "A 2001"}, {"title": "second"} | ({"citation": second} if second else {})]
    page = concatenate([replace(windows, page=page) for page in pages]).page
    assert (page.get("citation"), page["title"], pages[0]["citation"]) == (joint, "first", "A 2001")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"sampling_rate": 65.0}, "sampling rates of synthetic .* differ: 65 and 64 Hz"),
        ({"n_times": 71}, "differ in length: 71 and 67"),
        ({"electrodes": ("C3", "Cz", "Pz")}, r"\['C4', 'Pz'\] are only in one"),
    ],
)
def test_parts_that_do_not_fit_are_named(other, sentence):
    with pytest.raises(ValueError, match=sentence) as raised:
        concatenate([synthetic_windows(), synthetic_windows(**other)])
    assert "sub-01_ses-1_run-1" in str(raised.value)


def test_control_values_have_to_be_everywhere_or_nowhere(windows):
    with pytest.raises(ValueError, match="control values"):
        concatenate([windows, replace(windows, control_values=None)])
    with pytest.raises(ValueError, match=r"The control values of .* differ: 1 and \d+ samples"):
        concatenate([windows, replace(windows, control_values=windows.control_values[:, :, :1])])
    with pytest.raises(ValueError, match="no windows to concatenate"):
        concatenate([])


JOINING = """
import re
from dataclasses import replace
from pathlib import Path
import numpy as np
from sigvit.data.synthetic import synthetic_windows
from sigvit.data.windows import concatenate

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

part = synthetic_windows(n_subjects=1, n_runs=1, n_trials=20, n_times=5003)
concatenate(replace(part, values=part.values + np.float32(number)) for number in range(2))  # imports done
before = peak()
joined = concatenate(replace(part, values=part.values + np.float32(number)) for number in range(160))
print((peak() - before) / joined.values.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read where Linux says it")
def test_joining_a_generator_needs_little_beyond_the_result():
    """The process's peak, since what is traced of a block that grows in place is for some versions of numpy both its sizes at once."""
    run = subprocess.run([sys.executable, "-c", JOINING], capture_output=True, text=True, check=True)
    # Two of the 160 parts (1 %) and the table lie beside the result; a second copy would make it 2.
    assert 0.5 < float(run.stdout) < 1.1


def test_a_growing_array_shortens_too():
    rows = GrowingArray((2,))
    rows.extend(5)[:] = np.arange(10).reshape(5, 2)
    rows.shorten(3)
    rows.extend(1)[:] = 7
    assert rows.take().tolist() == [[0, 1], [2, 3], [7, 7]]


@pytest.mark.parametrize(
    ("column", "kept"),
    [
        (pd.array([31, None, 40, 27, 5] * 6, dtype="Int64"), [31, pd.NA, 40, 27, 5]),
        (pd.array([True, None, False, True, True] * 6, dtype="boolean"), [True, pd.NA, False, True, True]),
        (pd.array(["x", None, "y", "z", "x"] * 6, dtype="string"), ["x", pd.NA, "y", "z", "x"]),
        (pd.Categorical(["hard", "easy", "hard", "easy", "easy"] * 6, ["easy", "mid", "hard"], ordered=True), ["hard", "easy", "hard", "easy", "easy"]),
    ],
)
def test_gaps_in_columns_stay_gaps(windows, tmp_path, column, kept):
    windows = replace(windows, metadata=windows.metadata.assign(extra=column))
    windows.save(tmp_path / "set")
    loaded = Windows.load(tmp_path / "set").metadata["extra"]
    assert all(one is other or one == other for one, other in zip(loaded[:5], kept, strict=True))
    pd.testing.assert_series_equal(loaded, windows.metadata["extra"])


def test_electrodes_may_have_any_names(tmp_path):
    windows = synthetic_windows(electrodes=("C3", "Öhr links", "C4"))
    windows.save(tmp_path / "set")
    assert_same(Windows.load(tmp_path / "set"), windows)

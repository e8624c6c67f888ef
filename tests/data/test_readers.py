"""Files that were cut short, damaged or lie about themselves are named instead of opened."""

import os
import time
from pathlib import Path

import mne
import numpy as np
import pytest

from sigvit.data import edf_header
from sigvit.data.headers import check_header
from sigvit.data.readers import read_recording
from sigvit.data.recordings import windows_from_raw
from sigvit.data.synthetic import synthetic_raw

DAMAGE = "can't|cut short|doesn't|has b'|promises|so a header|isn't a readable"


def edf(n_records=3, n_signals=2, n_samples=50, header=None, missing=0):
    """The bytes of an EDF file: ramps of two signals."""

    def fields(width, *values):
        return b"".join(str(value).encode().ljust(width) for value in values)

    length = 256 * (n_signals + 1) if header is None else header
    head = fields(8, "0") + fields(80, "X X X X", "Startdate X X X X") + fields(8, "01.01.20", "00.00.00", length) + fields(44, "") + fields(8, n_records, 1)
    head += fields(4, n_signals)
    signals = fields(16, *(f"EEG C{3 + k}" for k in range(2))) + fields(80, "", "") + fields(8, "uV", "uV", -200, -200, 200, 200, -2000, -2000, 2000, 2000)
    signals += fields(80, "", "") + fields(8, n_samples, n_samples) + fields(32, "", "")
    data = np.arange(3 * 2 * 50, dtype="<i2").tobytes()
    return head + signals + data[: len(data) - missing]


def written(path, content):
    path.write_bytes(content)
    return path


def test_a_sound_file_is_opened(tmp_path):
    raw = read_recording(written(tmp_path / "a.edf", edf()))
    assert (raw.n_times, raw.ch_names) == (150, ["EEG C3", "EEG C4"])
    assert check_header(tmp_path / "a.edf") is None


@pytest.mark.parametrize("missing", [1, 100, 250, 599])
def test_an_edf_cut_short_is_named_though_mne_opens_it(tmp_path, missing):
    path = written(tmp_path / "S001R04.edf", edf(missing=missing))
    with pytest.raises(ValueError, match=r"S001R04\.edf is cut short: its header promises 1368 bytes"):
        read_recording(path)


@pytest.mark.filterwarnings("ignore:.*does not match the file size")
def test_what_is_there_is_used_if_asked_and_never_silently(tmp_path):
    path = written(tmp_path / "a.edf", edf(missing=250))
    with pytest.warns(UserWarning, match=r"is cut short: .*; what is there is used"):
        raw = read_recording(path, truncated="keep")
    assert raw.n_times == 50


def test_a_file_longer_than_its_header_says_is_named(tmp_path):
    with pytest.raises(ValueError, match="longer than its header says: 1371 bytes instead of 1368"):
        read_recording(written(tmp_path / "a.edf", edf() + b"\r\n\r"))


@pytest.mark.parametrize(
    "lie",
    [
        {"n_records": -1},
        {"n_records": 0},
        {"n_records": 10**8 - 1},
        {"n_records": "3x"},
        {"n_signals": 0},
        {"n_signals": 9999},
        {"n_signals": "two"},
        {"n_samples": 10**7},
        {"n_samples": -5},
        {"n_samples": 0},
        {"header": 512},
        {"header": 2**23},
    ],
)
@pytest.mark.parametrize("ending", ["edf", "bdf"])
def test_headers_that_lie_are_refused_at_once(tmp_path, lie, ending):
    head = {"n_signals": 2, **lie}
    content = edf(**{**head, "n_signals": 2})
    content = content[:252] + str(head["n_signals"]).encode().ljust(4) + content[256:]
    started = time.perf_counter()
    with pytest.raises(ValueError, match=DAMAGE):
        read_recording(written(tmp_path / f"a.{ending}", content))
    assert time.perf_counter() - started < 2  # a second and more is what a machine under load needs; a trusted lie takes minutes or all memory


@pytest.mark.parametrize("content", [b"", b"0", b"not an EDF file at all" * 40, bytes(5000)])
@pytest.mark.parametrize("ending", ["edf", "bdf", "gdf", "vhdr", "set", "fif", "cnt", "xyz", "raw"])
def test_files_of_something_else_get_a_sentence(tmp_path, content, ending):
    with pytest.raises(ValueError, match=rf"a\.{ending}"):
        read_recording(written(tmp_path / f"a.{ending}", content))


def test_missing_files_and_unknown_readers_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no recording at .*gone\.edf"):
        read_recording(tmp_path / "gone.edf")
    with pytest.raises(ValueError, match=r"mne has no reader 'eff'; it has .*edf"):
        read_recording(written(tmp_path / "a.edf", edf()), reader="eff")
    with pytest.raises(ValueError, match="must be"):
        read_recording(tmp_path / "a.edf", truncated="perhaps")


def brainvision(folder, **changes):
    """A BrainVision recording of 2 channels and 100 samples."""
    common = {"DataFile": "a.eeg", "MarkerFile": "a.vmrk", "DataFormat": "BINARY", "DataOrientation": "MULTIPLEXED", "NumberOfChannels": 2}
    common |= {"SamplingInterval": 4000, **changes}
    lines = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", *(f"{key}={value}" for key, value in common.items())]
    lines += ["[Binary Infos]", "BinaryFormat=INT_16", "[Channel Infos]", "Ch1=C3,,0.5,µV", "Ch2=C4,,0.5,µV"]
    (folder / "a.vhdr").write_text("\n".join(lines) + "\n", "utf-8")
    marks = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", "DataFile=a.eeg", "[Marker Infos]"]
    (folder / "a.vmrk").write_text("\n".join([*marks, "Mk1=New Segment,,1,1,0,0", "Mk2=Stimulus,S  1,90,1,0"]) + "\n")
    np.arange(200, dtype="<i2").tofile(folder / "a.eeg")
    return folder / "a.vhdr"


@pytest.mark.filterwarnings("ignore:.*No info on DataPoints")
def test_a_brainvision_recording_cut_short_is_named(tmp_path):
    path = brainvision(tmp_path)
    assert read_recording(path).n_times == 100
    whole = (tmp_path / "a.eeg").read_bytes()
    (tmp_path / "a.eeg").write_bytes(whole[:-3])
    with pytest.raises(ValueError, match=r"a\.eeg is cut short"):
        read_recording(path)
    (tmp_path / "a.eeg").write_bytes(whole[:320])  # whole samples, but a marker lies behind them
    with pytest.raises(ValueError, match=r"a\.vhdr is cut short: .*outside data range"):
        read_recording(path)
    (tmp_path / "a.eeg").unlink()
    with pytest.raises(ValueError, match=r"names the data file a\.eeg, which isn't beside it"):
        read_recording(path)


def test_a_brainvision_header_that_says_how_many_samples_is_believed(tmp_path):
    with pytest.raises(ValueError, match=r"cut short: its header promises 484 bytes, 400 are there"):
        read_recording(brainvision(tmp_path, DataPoints=121))
    with pytest.raises(ValueError, match="promises 99999999 channels"):
        read_recording(brainvision(tmp_path, NumberOfChannels=99999999))


@pytest.mark.filterwarnings("ignore:.*No info on DataPoints")
def test_markers_that_somebody_took_out_of_a_brainvision_file_are_no_damage(tmp_path):
    path, marks = brainvision(tmp_path), tmp_path / "a.vmrk"
    more = marks.read_bytes() + b"Mk3=Stimulus,S  2,95,1,0\r\nMk5=Comment,a\\1 b,97,1,0,,1\n"
    marks.write_bytes(more)
    assert [str(name) for name in read_recording(path).annotations.description] == ["Stimulus/S  1", "Stimulus/S  2", "Comment/a, b"]
    for damaged in (more.replace(b"0\nMk3", b"0~Mk3"), more.replace(b"\nMk3", b"\nLk3"), more.replace(b"Mk3=", b"Mk3~"), more[:-9]):
        marks.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.vmrk has \d markers, of which 1 can't be read, such as b'.k[235]"):
            read_recording(path)


@pytest.mark.parametrize("name", ["gdf/test_1ch.gdf", "bdf/test_bdf_stim_channel.bdf", "fif/muse_raw.fif.gz", "egi/test_egi.raw", "eeglab/test_raw_2021.set"])
def test_real_files_cut_short_are_named(shared_data, tmp_path, name):
    source = shared_data / "formats" / name
    content = source.read_bytes()
    path = written(tmp_path / source.name, content[: len(content) * 3 // 5])
    with pytest.raises(ValueError, match=rf"{source.name}.*(cut short|can't be read)"):
        read_recording(path)


def test_warnings_of_mne_are_passed_on_with_the_name_of_the_file(tmp_path):
    raw = synthetic_raw(n_trials=2)
    raw.save(tmp_path / "badly_named.fif", verbose="ERROR")
    with pytest.warns(RuntimeWarning, match=r"badly_named\.fif: This filename .* does not conform"):
        read_recording(tmp_path / "badly_named.fif")


def test_options_reach_the_reader(tmp_path):
    raw = read_recording(written(tmp_path / "a.edf", edf()), options={"exclude": ["EEG C4"]}, preload=True)
    assert raw.preload
    assert len(raw.ch_names) == 1
    assert isinstance(raw, mne.io.BaseRaw)


def edf_plus(path, starts_s, events=(), kind="EDF+D", encoding="utf8"):
    """An EDF+ (or by its ending BDF+) file of one signal, 100 samples in each record of 1 s; the records begin at these times. Sample n holds n.

    Events are (seconds, text) or (seconds, text, how long).
    """
    n_bytes = 3 if path.suffix.lower() == ".bdf" else 2
    version, kind = (b"\xffBIOSEMI", kind.replace("EDF", "BDF")) if n_bytes == 3 else (b"0       ", kind)

    def fields(width, *values):
        return b"".join(str(value).encode().ljust(width) for value in values)

    head = version + fields(80, "X X X X", "Startdate 01-JAN-2020 X X X") + fields(8, "01.01.20", "00.00.00", 768) + fields(44, kind)
    head += fields(8, len(starts_s), 1) + fields(4, 2)
    head += fields(16, "C3", f"{kind[:3]} Annotations") + fields(80, "", "") + fields(8, "uV", "", -3276.8, -1, 3276.7, 1, -32768, -32768, 32767, 32767)
    head += fields(80, "", "") + fields(8, 100, 30) + fields(32, "", "")
    body = b""
    for number, (start, following) in enumerate(zip(starts_s, [*starts_s[1:], 0], strict=True)):
        now = [event for event in events if start <= event[0] < max(start + 1, following)]
        told = (f"+{at:g}{''.join(f'{chr(21)}{lasts:g}' for lasts in duration)}\x14{name}\x14\0" for at, name, *duration in now)
        texts = f"+{start:g}\x14\x14\0".encode() + "".join(told).encode(encoding)
        samples = np.arange(100 * number, 100 * number + 100, dtype="<i4").view(np.uint8).reshape(100, 4)[:, :n_bytes]
        body += samples.tobytes() + texts.ljust(30 * n_bytes, b"\0")
    return written(path, head + body)


def test_hidden_gaps_in_a_clock_are_named_and_events_stay_with_their_samples(tmp_path):
    path = edf_plus(tmp_path / "a.edf", [0, 1, 2, 7, 8, 9, 20, 21], [(1.5, "a"), (8.25, "b"), (20.75, "c")])
    with pytest.warns(UserWarning, match=r"The clock of a\.edf has 2 gaps \(the first after 3 s of signal, 4 s long\)"):
        raw = read_recording(path)
    told = dict(zip(raw.annotations.description, raw.annotations.onset, strict=True))
    assert told == {"a": 1.5, "EDGE gap of 4 s": 3.0, "b": 4.25, "EDGE gap of 10 s": 6.0, "c": 6.75}
    windows = windows_from_raw(raw, {"a": 0, "b": 1, "c": 0}, 0.0, 0.2)
    # Samples hold their number in tenths of a microvolt; float32.
    np.testing.assert_allclose(windows.values[:, 0, 0], np.array([150, 425, 675]) * 1e-7, rtol=1e-5)
    across = windows_from_raw(raw, label="all", window_s=1.5)
    assert across.metadata["start_s"].tolist() == [0.0, 1.5, 3.0, 4.5, 6.0]
    with pytest.warns(UserWarning, match=r"overlaps EDGE gap of 4 s: 1"):
        windows_from_raw(raw, {"a": 0, "b": 1, "c": 0}, 0.0, 1.6)


def test_events_that_meet_gaps_keep_what_there_is_of_them(tmp_path):
    events = [(1.5, "over", 7.25), (4.0, "within"), (5.0, "pause", 1.5), (6.0, "into", 2.5), (7.0, "at once"), (9.5, "over two", 11), (20.0, "last", 0.5)]
    with pytest.warns(UserWarning, match=r"runs across one\. 2 annotations lie within gaps, where there is no signal, and are left out"):
        raw = read_recording(edf_plus(tmp_path / "a.edf", [0, 1, 2, 7, 8, 9, 12.1, 13.1, 20, 21], events))
    told = {(row["description"], round(row["onset"], 6), round(row["duration"], 6)) for row in raw.annotations}  # sums of seconds
    assert told - {(name, at, 0) for name, at, _ in told if name.startswith("EDGE")} == {
        ("over", 1.5, 3.25),
        ("into", 3.0, 1.5),
        ("at once", 3.0, 0),
        ("over two", 5.5, 3.0),
        ("last", 8.0, 0.5),
    }


def test_clocks_that_go_back_and_records_without_a_stamp_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"The clock of .*a\.edf goes back at record 2: from 1 to 0.5 s"):
        read_recording(edf_plus(tmp_path / "a.edf", [0, 1, 0.5]))
    path = edf_plus(tmp_path / "b.edf", [0, 1, 2], kind="EDF+C")
    assert read_recording(path).n_times == 300
    content = bytearray(path.read_bytes())
    content[768 + 260 + 200] = 0
    with pytest.raises(ValueError, match=r"Record 1 of .*b\.edf has no time stamp"):
        read_recording(written(tmp_path / "b.edf", bytes(content)))


def test_the_time_stamps_of_a_file_are_read_once_while_it_is_opened_and_cut(tmp_path, monkeypatch):
    path, whole, read = edf_plus(tmp_path / "a.edf", [0, 1, 2], [(0.5, "a"), (1.5, "b")]), edf_header._bytes_of, []
    monkeypatch.setattr(edf_header, "_bytes_of", lambda header, columns: read.append(header.path) or whole(header, columns))
    assert len(windows_from_raw(read_recording(path), {"a": 0, "b": 1}, 0.0, 0.2)) == 2
    assert read == [path]
    with pytest.raises(ValueError, match="goes back at record 2"):  # another file of this name and size
        read_recording(edf_plus(path, [0, 1, 0], [(0.5, "a"), (1.5, "b")]))


def test_files_of_one_name_size_and_time_have_their_own_gaps(tmp_path, monkeypatch):
    found = []
    for folder, stamps in (("S1", [0, 1, 2]), ("S2", [0, 1, 0])):
        (tmp_path / folder).mkdir()
        path = edf_plus(tmp_path / folder / "a.edf", stamps, [(0.5, "a"), (1.5, "b")])
        os.utime(path, (1.6e9, 1.6e9))
        monkeypatch.chdir(path.parent)
        found.append(check_header(Path(path.name)))
    assert found[0] is None
    assert "goes back at record 2" in found[1]


@pytest.mark.parametrize(
    ("place", "new", "sentence"),
    [
        (0, b"1", "begins with b'1"),
        (256, b"\x00C", r"has b'\\x00C.* as the label of signal 1"),
        (256 + 2 * 104, b"200     200     ", "of signal 1 that its values go from 200 to"),
        (256 + 2 * 104, b"nan     ", "its values go from nan to"),
        (256 + 2 * 120, b"99999   ", "its numbers go from 99999 to 2000, of 16 bits"),
        (244, b"-1      ", "where the duration of its records should stand"),
        (192, b"EDF+C", "none of its signals holds annotations"),
    ],
)
def test_fields_that_cannot_be_right_are_named(tmp_path, place, new, sentence):
    content = bytearray(edf())
    content[place : place + len(new)] = new
    with pytest.raises(ValueError, match=sentence):
        read_recording(written(tmp_path / "a.edf", bytes(content)))


def test_an_unused_input_that_has_no_range_is_no_damage(tmp_path):
    content = bytearray(edf())
    for place, field in ((256 + 2 * 104 + 8, b"0       "), (256 + 2 * 112 + 8, b"0       "), (16, b"unused")):  # minimum and maximum of the second signal
        at = 256 + place if place == 16 else place
        content[at : at + len(field)] = field
    for record in range(3):
        content[768 + 200 * record + 100 : 768 + 200 * record + 200] = bytes(100)
    path = written(tmp_path / "a.edf", bytes(content))
    with pytest.warns(RuntimeWarning, match=r"a\.edf: Physical range is not defined in following channels: .*unused"):
        raw = read_recording(path)
    raw.set_annotations(mne.Annotations([0.2, 1.2], 0, ["a", "b"]))
    assert len(windows_from_raw(raw, {"a": 0, "b": 1}, 0.0, 0.5, electrodes=["EEG C3"])) == 2


@pytest.mark.parametrize(
    ("name", "options", "encoding"), [("A.EDF", {}, "utf8"), ("a.bdf", {}, "utf8"), *((name, {"encoding": "latin1"}, "latin1") for name in ("a.edf", "A.EDF"))]
)
def test_gaps_are_found_whatever_the_ending_and_the_encoding(tmp_path, name, options, encoding):
    path = edf_plus(tmp_path / name, [0, 1, 5, 6], [(1.5, "ä"), (5.5, "b")], encoding=encoding)
    with pytest.warns(UserWarning, match="has 1 gaps"):
        raw = read_recording(path, options=options)
    assert dict(zip(raw.annotations.description, raw.annotations.onset, strict=True)) == {"ä": 1.5, "EDGE gap of 3 s": 2.0, "b": 2.5}


def test_a_recording_whose_gaps_nobody_marked_is_not_cut(tmp_path):
    path = edf_plus(tmp_path / "a.edf", [0, 1, 2, 7, 8, 9], [(1.5, "a"), (8.25, "b"), (9.25, "a")])
    raw = mne.io.read_raw_edf(path, verbose="ERROR")
    with pytest.raises(ValueError, match=r"has 1 gaps \(the first after 3 s of signal, 4 s long\), which mne reads over: open the file with .*read_recording"):
        windows_from_raw(raw, {"a": 0, "b": 1}, 0.0, 0.2)
    assert len(windows_from_raw(raw.copy().crop(0, 2.9), {"a": 0}, 0.0, 0.2)) == 1  # before the gap all is well
    long = edf_plus(tmp_path / "b.edf", [0, 1, 2, *range(7, 17)], [(8.25, "a"), (9.25, "a")])
    raw = mne.io.read_raw_edf(long, verbose="ERROR")  # for mne 8.25 s is where sample 825 is, not 425
    for part in (raw.copy().crop(2.0, 4.0), raw.copy().crop(4.0)):
        with pytest.raises(ValueError, match="which mne reads over"):
            windows_from_raw(part, {"a": 0}, 0.0, 0.2)
    with pytest.warns(UserWarning, match="has 1 gaps"):
        moved = read_recording(long).crop(4.0)
    np.testing.assert_allclose(windows_from_raw(moved, {"a": 0}, 0.0, 0.2).values[:, 0, 0], [425e-7, 525e-7], rtol=1e-5)  # float32


def test_a_neuroscan_file_that_mne_can_not_read_by_itself_does_not_end_the_process(shared_data):
    with pytest.raises(ValueError, match="data_format"):
        read_recording(shared_data / "formats/cnt/test_CNT_events_mne_JWoess_clipped.cnt")

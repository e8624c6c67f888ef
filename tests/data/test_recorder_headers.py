"""What the headers of single makers' formats promise is held against their files, whichever of a recording's files is opened."""

import shutil

import pytest

from sigvit.data.headers import check_header
from sigvit.data.readers import read_recording

# The file of samples, and the files by which mne opens it.
DOORS = {
    "curry7/test_bdf_stim_channel Curry 7.dat": (".dat", ".dap", ".rs3", ".cef"),
    "curry8/test_bdf_stim_channel Curry 8.cdt": (".cdt", ".cdt.dpa", ".cdt.cef"),
    "egi/test_egi.raw": (".raw",),
    "nihon/MB0400FU.EEG": (".EEG",),
}


def doors(folder, name):
    """Every file of a copied recording that can be opened."""
    samples = folder / name
    return [samples.with_suffix(ending) for ending in DOORS[name]]


@pytest.fixture(params=DOORS)
def recording(request, shared_data, tmp_path):
    """The name and the folder of a copy of a real recording."""
    folder = request.param.partition("/")[0]
    shutil.copytree(shared_data / "formats" / folder, tmp_path / folder, copy_function=shutil.copyfile)
    (tmp_path / folder).chmod(0o755)
    return request.param, tmp_path


def test_sound_recordings_keep_their_promise_through_every_door(recording):
    name, folder = recording
    assert [check_header(door) for door in doors(folder, name)] == [None] * len(DOORS[name])


def test_converted_line_endings_are_named_through_every_door(recording):
    name, folder = recording
    samples = folder / name
    samples.write_bytes(samples.read_bytes().replace(b"\n", b"\r\n"))
    for door in doors(folder, name):
        with pytest.raises(ValueError, match=rf"{samples.name}.*its line endings were converted"):
            read_recording(door)


@pytest.mark.parametrize("kept", [7, 31, 6150])
def test_nihon_files_cut_short_within_their_header_are_named(shared_data, tmp_path, kept):
    path = tmp_path / "a.EEG"
    path.write_bytes((shared_data / "formats" / "nihon" / "MB0400FU.EEG").read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"a\.EEG is cut short or damaged within its header: it has no byte \d+"):
        check_header(path)


def test_samples_beside_a_brainvision_header_are_not_taken_for_nihon_kohdens(shared_data):
    assert check_header(shared_data / "formats" / "brainvision" / "test.eeg") is None


def test_an_egi_header_of_no_samples_is_refused(shared_data, tmp_path):
    content = (shared_data / "formats" / "egi" / "test_egi.raw").read_bytes()
    (tmp_path / "a.raw").write_bytes(content[:30] + bytes(4) + content[34:])
    with pytest.raises(ValueError, match=r"a\.raw promises 0 samples of 256 channels and 6 events, which can't be"):
        check_header(tmp_path / "a.raw")

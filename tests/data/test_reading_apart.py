"""Damaged recordings that only compiled code can judge are refused, whatever its reader makes of them."""

import shutil

import pytest

from sigvit.data.reading_apart import check_apart


# Where the samples begin: of these copies mne opens recordings of which 3 and 4 % of the samples are right.
@pytest.mark.parametrize(("place", "value"), [(1095, 0o156), (2096, 0o141)])
def test_an_ant_recording_whose_checksum_is_wrong_is_refused(shared_data, tmp_path, place, value):
    pytest.importorskip("antio")
    source = shared_data / "formats" / "ant_cnt" / "test-user-annotation.cnt"
    path = tmp_path / source.name
    shutil.copyfile(source, path)
    check_apart(path, "ant")
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"test-user-annotation\.cnt is damaged: the checksum of a block of its samples is wrong"):
        check_apart(path, "ant")

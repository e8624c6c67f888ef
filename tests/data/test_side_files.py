"""Events beside a recording are held against what was read, whichever of its files is opened."""

import shutil

import pytest

from sigvit.data.readers import read_recording


@pytest.mark.parametrize("ending", [".cdt", ".cdt.dpa", ".cdt.cef"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_events_lost_from_a_curry_recording_are_named_through_every_door(shared_data, tmp_path, ending):
    pytest.importorskip("curryreader")
    shutil.copytree(shared_data / "formats" / "curry8", tmp_path / "curry8", copy_function=shutil.copyfile)
    (tmp_path / "curry8").chmod(0o755)
    samples = tmp_path / "curry8" / "test_bdf_stim_channel Curry 8.cdt"
    events = samples.with_suffix(".cdt.cef")
    assert b"PointNrLocations     =  18" in events.read_bytes()
    events.write_bytes(events.read_bytes().replace(b"PointNrLocations     =  18", b"PointNrLocations     =  19"))
    with pytest.raises(ValueError, match=r"\.cdt\.cef promises 19 events, 18 could be read"):
        read_recording(samples.with_suffix(ending))

"""Files are whole or not there, whoever else writes them, and what a kill left doesn't stay."""

import os
import threading
import time
from pathlib import Path

import pytest

from sigvit.whole_file import link_first, whole_file, write_atomically


def test_two_threads_may_write_one_file(tmp_path):
    path, both = tmp_path / "fit.json", threading.Barrier(2, timeout=10)
    written: list[Path] = []

    def write(text: str) -> None:
        with whole_file(path) as beside:
            beside.write_text(text)
            written.append(beside)
            both.wait()

    threads = [threading.Thread(target=write, args=(text,)) for text in ("a" * 13, "b" * 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(written)) == 2
    assert path.read_text() in ("a" * 13, "b" * 13)
    assert list(tmp_path.iterdir()) == [path]


def test_parts_that_a_kill_left_go_after_a_day(tmp_path):
    left = [tmp_path / f".{name}.part" for name in ("0" * 32, "1" * 32, "mine")]
    for path in left:
        path.write_text("half")
    for path in left[1:]:
        os.utime(path, (time.time() - 90_000,) * 2)
    write_atomically(tmp_path / "fit.json", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {left[0].name, left[2].name, "fit.json"}  # the first may be in the making, the last is no part


@pytest.mark.parametrize("links", [True, False])
def test_of_several_who_write_first_one_is(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    path = tmp_path / "fit.json"
    with whole_file(path, link_first) as beside:
        beside.write_text("first")
    with pytest.raises(FileExistsError, match="what was there before is untouched"), whole_file(path, link_first) as beside:
        beside.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]

"""The structure of MATLAB files: sound ones of every kind pass, and whatever lies about a size is named."""

import contextlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from sigvit.data.matlab_structure import matlab_complaint

CONTENT = {
    "EEG": {"data": np.arange(35.0).reshape(5, 7), "chanlocs": [{"labels": "C3"}, {"labels": "Czµ"}], "event": {"type": ["a", 3], "latency": 2.5}},
    "z": np.array([1 + 2j, 3]),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "mixed": np.array(["text", 7, None], dtype=object),
    "small": np.int8([1, 2, 3]),
}


def saved(path, **options):
    content = {key: value for key, value in CONTENT.items() if key != "mixed"}
    savemat(path, {**content, "cells": np.array(["text", np.arange(3)], dtype=object)}, **options)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_sound_files_pass(tmp_path, compressed):
    assert matlab_complaint(saved(tmp_path / "a.mat", do_compression=compressed)) is None
    from scipy.sparse import csr_array

    savemat(tmp_path / "b.mat", {"sparse": csr_array(np.eye(3))}, do_compression=compressed)
    assert matlab_complaint(tmp_path / "b.mat") is None


def test_other_versions_are_left_to_their_readers(tmp_path):
    saved_4 = tmp_path / "a.mat"
    savemat(saved_4, {"x": np.arange(3.0)}, format="4")
    assert matlab_complaint(saved_4) is None
    saved_4.write_bytes(b"MATLAB 7.3 MAT-file" + bytes(200))
    assert matlab_complaint(saved_4) is None


@pytest.mark.parametrize("compressed", [False, True])
def test_files_cut_short_anywhere_are_named(tmp_path, compressed):
    path = saved(tmp_path / "a.mat", do_compression=compressed)
    content = path.read_bytes()
    for keep in range(137, len(content) - 8, 61):
        path.write_bytes(content[:keep])
        # Elements stand one after the other: a cut between two leaves a whole file with less in it.
        try:
            complete = set(loadmat(path)) < set(loadmat(saved(tmp_path / "whole.mat", do_compression=compressed)))
        except Exception:
            complete = False
        assert complete or "a.mat is damaged or cut short" in str(matlab_complaint(path)), keep


@pytest.mark.parametrize("lie", [0x7FFFFFFF, 0xFFFFFFFF, 0])
def test_sizes_that_lie_are_named_or_crash_nothing(tmp_path, lie):
    path = saved(tmp_path / "a.mat")
    content = path.read_bytes()
    named = 0
    for place in range(128, len(content) - 4, 4):
        path.write_bytes(content[:place] + int(lie).to_bytes(4, "little") + content[place + 4 :])
        complaint = matlab_complaint(path)
        named += complaint is not None
        if complaint is None:
            with contextlib.suppress(Exception):  # what Python says is said; a crash would end the test
                loadmat(path)
    assert named > 100

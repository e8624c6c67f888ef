"""Checkpoints of any state: it comes back as it was, and no change of any byte passes for it."""

import tempfile
import warnings
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigvit.training.checkpoint import Checkpoints

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool)
shapes = st.lists(st.integers(0, 5), max_size=3).map(torch.Size)
tensors = st.builds(lambda shape, dtype: torch.arange(shape.numel()).reshape(shape).to(dtype), shapes, st.sampled_from(DTYPES))
plain = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=7)
trees = st.recursive(
    plain | tensors,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3),
    max_leaves=7,
)
states = st.dictionaries(st.text(max_size=5), trees, max_size=5)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


# No deadline: the disk decides how long a flush takes.
@settings(max_examples=30, deadline=None)
@given(state=states)
def test_any_state_of_tensors_and_plain_data_comes_back_as_it_was(state):
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder)
        checkpoints.save(7, state)
        step, found = checkpoints.latest()
    assert step == 7
    assert same(found, state)


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255) | st.none())
def test_no_changed_or_cut_file_passes_for_another_state(place, change):
    """`change` is what a byte is changed by; None cuts the file off there."""
    states = {5: {"weight": torch.arange(11.0)}, 7: {"weight": torch.arange(13.0)}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        checkpoints = Checkpoints(folder)
        for step, state in states.items():
            checkpoints.save(step, state)
        path = checkpoints.path(7)
        data = path.read_bytes()
        at = int(place * len(data))
        path.write_bytes(data[:at] if change is None else data[:at] + bytes([(data[at] + change) % 256]) + data[at + 1 :])
        step, found = checkpoints.latest()
    assert same(found, states[step])
    assert step == 5, "a damaged state was taken"
    assert len(told) == 1, "damage passed in silence"

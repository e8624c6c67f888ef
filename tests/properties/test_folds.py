"""No metadata table can make a leaking fold: splitters, certificate and the stand-alone checker against a naive comparison of every pair of rows."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigvit.data.windows import Windows
from sigvit.evidence import folds as splitters
from sigvit.evidence import verify
from sigvit.evidence.certificate import Leak, certify
from sigvit.evidence.folds import Fold

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
PAIRS = (("train", "test"), ("validation", "test"), ("train", "validation"))
GROUPS = {"cross_subject": ["subject"], "cross_session": ["subject", "session"], "within_session": ["subject", "session", "run"]}
SPLITTERS = {
    "cross_subject": lambda table, **seconds: splitters.cross_subject(table, **seconds),
    "cross_subject, 2 groups": lambda table, **seconds: splitters.cross_subject(table, k=2, seed=3, **seconds),
    "cross_session": lambda table, **seconds: splitters.cross_session(table, **seconds),
    "within_session": lambda table, **seconds: splitters.within_session(table, **seconds),
    "within_session, 2 runs": lambda table, **seconds: splitters.within_session(table, k=2, by="run", **seconds),
    "within_session, 3 blocks": lambda table, **seconds: splitters.within_session(table, k=3, by="block", **seconds),
    "shipped": lambda table, **seconds: splitters.shipped(table, **seconds),
}


def attempt(call: Callable[[], T], error: type[E]) -> tuple[T | None, E | None]:
    """The result, or the error of this kind."""
    try:
        return call(), None
    except error as raised:
        return None, raised


@st.composite
def tables(draw: st.DrawFn, orderly: bool | None = None) -> pd.DataFrame:
    """Orderly tables look like an experiment (with overlapping windows and lost clocks); the others put every row anywhere."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = [draw(st.integers(1, most)) for most in (3, 2, 2)]
    if draw(st.booleans()) if orderly is None else orderly:
        unit = np.repeat(np.arange(np.prod(sizes)), draw(st.integers(5, 11)))
        n_rows = len(unit)
        names = np.stack(np.unravel_index(unit, sizes))
        recording, start_s = unit, np.arange(n_rows) * draw(st.sampled_from([0.5, 2.0, 2.5]))
        trial = np.arange(n_rows) // draw(st.integers(1, 2))
        kind = trial + (generator.random(n_rows) < 0.2)
    else:
        n_rows = draw(st.integers(2, 37))
        names = np.stack([generator.integers(0, size, n_rows) for size in sizes])
        recording = generator.integers(0, draw(st.integers(1, 5)), n_rows)
        kind = generator.integers(0, 6, n_rows)
        start_s, trial = generator.integers(0, 40, n_rows) / 2, generator.integers(0, n_rows, n_rows)
    stop_s = start_s + generator.choice([0.5, 1.0, 2.0], n_rows)
    lost = np.isin(recording, generator.integers(0, 5, draw(st.integers(0, 2)))) | (generator.random(n_rows) < draw(st.sampled_from([0.0, 0.0, 0.05])))
    start_s[lost], stop_s[lost] = np.nan, np.nan
    table = pd.DataFrame({"subject": names[0], "session": names[1], "run": names[2], "recording": recording, "start_s": start_s, "stop_s": stop_s})
    table["trial"], table["label"] = trial, np.array(["a", "b", "c"])[kind % draw(st.integers(2, 3))]
    table["shipped"] = generator.choice(["train", "test"], n_rows)
    return table.astype({"subject": draw(st.sampled_from([int, float, str]))})


def naive_leaks(fold: Fold, table: pd.DataFrame, gap_s: float, hashes: list[str] | None = None) -> dict[str, set[int]]:
    """The checks that find something, with the rows, by looking at every pair of rows of every pair of parts."""
    leaks: dict[str, set[int]] = defaultdict(set)
    rows = table.to_dict("records")
    for parts in PAIRS:
        first, second = (getattr(fold, part).tolist() for part in parts)
        for one, other in itertools.product(first, second):
            for check in naive_comparison(rows, one, other, gap_s, hashes, one not in second and other not in first):
                leaks[check] |= {one, other}
        group = GROUPS.get(fold.protocol)
        if group is not None and "block" not in fold.left_out:
            key = {row: tuple(rows[row][column] for column in group) for row in first + second}
            shared = {key[row] for row in first} & {key[row] for row in second}
            if shared and ("test" in parts or naive_can_spare(rows, first + second, group)):
                leaks[group[-1]] |= {row for row in key if key[row] in shared}
    return leaks


def naive_comparison(rows: list[dict], one: int, other: int, gap_s: float, hashes: list[str] | None, in_one_part_each: bool) -> set[str]:
    a, b = rows[one], rows[other]
    leaks = {"row"} if one == other else set()
    if a["recording"] == b["recording"]:
        if a["trial"] == b["trial"]:
            leaks.add("trial")
        known = not any(math.isnan(row["start_s"]) for row in (a, b))
        apart = a["start_s"] >= b["stop_s"] + gap_s or b["start_s"] >= a["stop_s"] + gap_s
        if known and not apart and in_one_part_each:
            leaks.add("interval")
    if hashes is not None and hashes[one] == hashes[other] and in_one_part_each:
        leaks.add("signal")
    return leaks


def naive_can_spare(rows: list[dict], rest: list[int], group: list[str]) -> bool:
    key = {row: tuple(rows[row][column] for column in group) for row in rest}
    classes = {rows[row]["label"] for row in rest}
    return any({rows[row]["label"] for row in rest if key[row] != spared} == classes for spared in set(key.values()))


@pytest.mark.parametrize("name", SPLITTERS)
@settings(max_examples=50, deadline=None)
@given(table=tables(), guard_s=st.sampled_from([0.0, 0.5]), support_s=st.sampled_from([0.0, 0.25]), validation=st.sampled_from([0.0, 0.2, 0.5]))
def test_no_table_makes_a_splitter_leak(name: str, table: pd.DataFrame, guard_s: float, support_s: float, validation: float) -> None:
    folds, refusal = attempt(lambda: SPLITTERS[name](table, guard_s=guard_s, filter_support_s=support_s, validation=validation), ValueError)
    if folds is None:
        assert str(refusal).endswith(".")
        assert len(str(refusal)) > 40
        return
    for fold in folds:
        assert naive_leaks(fold, table, guard_s + 2 * support_s) == {}
        for part in (fold.train, fold.validation, fold.test):
            assert part.dtype == np.int64
            assert (np.diff(part) > 0).all()
        assert (len(fold.validation) > 0) == (validation > 0)
        used = np.concatenate([fold.train, fold.validation, fold.test])
        assert set(table.label[fold.train]) == set(table.label[used])
        assert len(fold.test)
    certificate, leak = attempt(lambda: certify(table, folds, guard_s=guard_s, filter_support_s=support_s), Leak)
    # the source's own split is taken as it is, so only there one class a recording is left to the certificate
    assert certificate.verdict == "proved" if certificate else (name, leak.checks) == ("shipped", ["recording"])


@pytest.mark.parametrize("name", SPLITTERS)
def test_most_orderly_tables_give_folds(name: str) -> None:
    """The property above isn't empty: of tables that look like an experiment, a fair part can be divided."""
    outcomes = []

    @settings(max_examples=40, deadline=None, database=None, derandomize=True)
    @given(table=tables(orderly=True))
    def divide(table: pd.DataFrame) -> None:
        outcomes.append(attempt(lambda: SPLITTERS[name](table), ValueError)[0] is not None)

    divide()
    # random classes in small random tables leave many a fold without a class; a tenth is enough to mean something
    assert np.mean(outcomes) > 0.1


@st.composite
def divisions(draw: st.DrawFn) -> tuple[Windows, Fold, float, float]:
    """A set with a few repeated windows, and a fold that is often wrong: any row in any part, some in two."""
    table = draw(tables()).drop(columns="shipped").astype({"subject": str})
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    by = draw(st.sampled_from(["row", "recording", "subject", "session", "block"]))
    key = {"row": np.arange(len(table)), "block": np.arange(len(table)) * 3 // len(table)}.get(by)
    part = generator.integers(0, 3, len(table) + 5)[pd.factorize(table[by])[0] if key is None else key]
    part[:2] = 0, 2
    parts = [np.flatnonzero(part == number) for number in range(3)]
    if draw(st.booleans()):
        parts[2] = np.union1d(parts[2], generator.integers(0, len(table), 1))
    values = generator.standard_normal((len(table), 1, 5)).astype(np.float32)
    values[generator.integers(0, len(table), draw(st.integers(0, 2)))] = 1.0
    windows = Windows(values, table.label.to_numpy(), table, mne.create_info(1, 64.0, "eeg"))
    protocol = draw(st.sampled_from([*GROUPS, "calibrated_subject", "calibrated_session", "index_pairs"]))
    left_out = draw(st.sampled_from(["something", "something, block 2 of 3"])) if protocol == "within_session" else "something"
    return windows, Fold(*parts, 0, protocol, left_out), draw(st.sampled_from([0.0, 0.5])), draw(st.sampled_from([0.0, 0.25]))


@settings(max_examples=150, deadline=None)
@given(division=divisions())
def test_certificate_and_checker_find_what_a_naive_comparison_finds(division: tuple, tmp_path_factory: pytest.TempPathFactory) -> None:
    windows, fold, guard_s, support_s = division
    _, leak = attempt(lambda: certify(windows, [fold], guard_s=guard_s, filter_support_s=support_s, tolerate=["recording"]), Leak)
    found = set(leak.checks) if leak else set()
    assert leak is None or (leak.rows and leak.rows == sorted(set(leak.rows)))
    # "block" and "calibration" have no naive twins: they are compared between the two programs that know them
    naive = naive_leaks(fold, windows.metadata, guard_s + 2 * support_s, windows.row_hashes())
    assert found - {"block", "calibration"} == naive.keys()
    if leak and not found & {"block", "calibration"}:
        assert set(leak.rows) == set().union(*naive.values())
    path = tmp_path_factory.getbasetemp() / "folds.csv"
    splitters.write_csv(path, [fold], windows)
    folds, rows, findings = verify.read_folds(path)
    assert findings == []
    unclocked = {row.recording for row in rows.values() if math.isnan(row.start_s)}
    assert {name for name, _ in verify.leaks_of(folds[0], rows, guard_s + 2 * support_s, unclocked)} == found


@settings(max_examples=60, deadline=None)
@given(table=tables(), seed=st.integers(0, 99), protocol=st.sampled_from([None, *GROUPS]))
def test_index_pairs_are_judged_like_folds(table: pd.DataFrame, seed: int, protocol: str | None) -> None:
    order = np.random.default_rng(seed).permutation(len(table))
    cut = len(table) // 2
    leaks = naive_leaks(Fold(np.sort(order[cut:]), [], np.sort(order[:cut]), protocol=protocol or ""), table, 0.0)
    _, leak = attempt(lambda: certify(table, [(order[cut:], order[:cut])], protocol=protocol, tolerate=["recording"]), Leak)
    assert (set(leak.checks) if leak else set()) == leaks.keys()

"""Which parts of a dataset are opened and fetched: what names mean, who left out what, and that no name goes unused."""

from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import pytest

from sigvit.data.page_format import Exclusion, Page, Split
from sigvit.data.page_selection import Selection
from sigvit.data.page_sources import Recording
from sigvit.data.synthetic import synthetic_windows

PAGE = Page("A set", "Tell.", "none", "nobody", "files", (), (), name="example")
RECORDINGS = [
    Recording(f"S{subject}_{session}_{run}", subject, session, run, None) for subject in ("03", "5") for session in ("2", "11") for run in ("7", "13")
]


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("3", "S03_*"),
        ("sub-3", "S03_*"),
        ("subject 3/session 2", "S03_2_*"),
        ("sub-03/ses-11/run-07", "S03_11_7"),
        ("sub-5/run-7", "S5_*_7"),
        ("ses-11", "*_11_*"),
        ("run-13", "*_13"),
        ("S5_2_7", "S5_2_7"),
        ("S*_2_13", "*_2_13"),
    ],
)
def test_a_name_means_the_parts_that_it_says_whether_they_are_picked_or_left_out(text, pattern):
    meant = [each.name for each in RECORDINGS if fnmatchcase(each.name, pattern)]
    only, exclude = Selection(PAGE, only=(text,)), Selection(PAGE, exclude=(text,))
    assert [each.name for each in RECORDINGS if only.opens(each)] == meant
    assert only.excluded == []  # nobody asked for the others
    assert [each.name for each in RECORDINGS if not exclude.opens(each)] == [each["recording"] for each in exclude.excluded] == meant
    assert {each["by"] for each in exclude.excluded} == {"caller"}
    only.check_all_used()
    exclude.check_all_used()


@pytest.mark.parametrize("given", ["only", "exclude", "include"])
@pytest.mark.parametrize("text", ["sub-9", "sub-3/second", "S03", "ses-7"])
def test_a_name_of_nothing_is_an_error_beside_names_that_are_used(given, text):
    selection = Selection(PAGE, **{given: ("sub-5", text)})
    for each in RECORDINGS:
        selection.opens(each)
    with pytest.raises(ValueError, match=f"example has no part '{text}'; its recordings are S03_2_7"):
        selection.check_all_used()


@pytest.mark.parametrize(
    ("excluded", "given", "fetched", "told"),
    [
        ({}, {"exclude": ["3"]}, ["5"], ["03"]),
        ({}, {"exclude": ["sub-3"]}, ["5"], ["03"]),
        ({}, {"exclude": ["sub-3/ses-2", "sub-3/run-7"]}, ["03", "5"], []),
        ({}, {"only": ["3"]}, ["03"], []),
        ({}, {"only": ["sub-3/ses-2"]}, ["03"], []),
        ({}, {"only": ["S5_2_7"]}, ["03", "5"], []),  # a recording's name may be anyone's
        ({"subject": "5"}, {}, ["03"], ["5"]),
        ({"subject": "5"}, {"only": ["5"]}, [], ["5"]),
        ({"subject": "5"}, {"include": ["3"]}, ["03"], ["5"]),
        ({"subject": "5"}, {"include": ["5"]}, ["03", "5"], []),
        ({"subject": "5"}, {"include": ["sub-5/ses-2"]}, ["03", "5"], []),
        ({"subject": "5", "session": "2"}, {}, ["03", "5"], []),
        ({"subject": "5", "run": "7"}, {}, ["03", "5"], []),
    ],
)
def test_a_subject_is_fetched_unless_all_of_it_is_left_out(excluded, given, fetched, told):
    page = replace(PAGE, exclude=(Exclusion("noise", **excluded),) if excluded else ())
    selection = Selection(page, **given)
    assert [subject for subject in ("03", "5") if selection.fetches(subject)] == fetched
    assert [(each["subject"], each["session"], each["run"]) for each in selection.excluded] == [(subject, "*", "*") for subject in told]


def test_what_a_subject_that_is_not_fetched_was_named_by_is_used():
    selection = Selection(PAGE, exclude=["sub-3"])
    assert not selection.fetches("03")
    selection.check_all_used()


def test_the_page_leaves_out_what_it_says_also_of_what_is_picked_unless_that_very_part_is_included():
    page = replace(PAGE, exclude=(Exclusion("noise", subject="5", run="7"),))
    for include, left_out in ((), ["S5_2_7", "S5_11_7"]), (("S5_2_7",), ["S5_11_7"]), (("sub-3",), ["S5_2_7", "S5_11_7"]):
        selection = Selection(page, only=("sub-5",), include=include)
        assert [each.name for each in RECORDINGS if each.subject == "5" and not selection.opens(each)] == left_out
        assert [(each["recording"], each["reason"], each["by"]) for each in selection.excluded] == [(name, "noise", "page") for name in left_out]


@pytest.mark.parametrize(("excluded", "pattern"), [({"run": "7"}, "*_7"), ({"session": ("2", "3")}, "*_2_*"), ({"subject": "5", "run": "1?"}, "S5_*_13")])
def test_what_an_exclusion_does_not_say_it_means_of_all(excluded, pattern):
    selection = Selection(replace(PAGE, exclude=(Exclusion("noise", **excluded),)))
    assert [each.name for each in RECORDINGS if not selection.opens(each)] == [each.name for each in RECORDINGS if fnmatchcase(each.name, pattern)]


def test_who_is_tested_on_is_chosen_by_in_no_case():
    split = Split(test="11", validation="1?")
    assert [split.part(subject) for subject in ("11", "13", "21")] == ["test", "validation", "train"]


def test_a_file_of_several_runs_is_opened_for_one_of_them_but_not_where_its_subject_is_left_out():
    several = replace(RECORDINGS[0], run="1", split_at="new run")
    assert Selection(PAGE, only=("sub-3/run-2",)).opens(several)
    assert Selection(PAGE, exclude=("sub-3/run-1",)).opens(several)
    assert not Selection(PAGE, exclude=("sub-3",)).opens(several)
    assert not Selection(PAGE, only=("sub-5",)).opens(several)


def test_of_windows_of_several_runs_those_that_are_wanted_stay():
    windows = synthetic_windows(n_subjects=2, n_runs=2, n_trials=5)
    selection = Selection(PAGE, exclude=("sub-02/run-1",))
    first = ((windows.metadata["subject"] == "02") & (windows.metadata["run"] == "1")).to_numpy()
    np.testing.assert_array_equal(selection.rows(windows).values, windows.values[~first])


def test_what_failed_is_told_with_all_that_it_is():
    selection = Selection(PAGE)
    selection.failed(RECORDINGS[3], ValueError("cut short"))
    told = {"recording": "S03_11_13", "subject": "03", "session": "11", "run": "13", "reason": "cut short", "by": "failure"}
    assert (selection.excluded, selection.failures) == ([told], 1)

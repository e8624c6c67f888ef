"""The command lines that the scripts' docstrings print are taken: each is run until it claims its folder or trains, or stops at a file that isn't here."""

import ast
import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import sigvit
from sigvit.evaluation import few_shot
from sigvit.evidence import results_folder
from sigvit.training.state import TrainingState

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ELSEWHERE = ("B_16.npz", "/path/of/imagenet")  # that a reader has to put in place
SLOW = ("eegmat", "scp1", "cifar10", "results/mnist/model")


class ReachedError(Exception):
    """Nothing refused the command."""


def examples():
    """The script and arguments of every command in a docstring."""
    for path in sorted(EXPERIMENTS.glob("*.py")):
        for line in (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines():
            words = shlex.split(line, comments=True) if f"experiments/{path.name}" in line else []
            if words and words[0] in ("python", "torchrun"):
                arguments = words[words.index(f"experiments/{path.name}") + 1 :]
                marks = [pytest.mark.slow] if set(SLOW) & set(arguments) else []
                yield pytest.param(path, arguments, id=" ".join([path.stem, *arguments]), marks=marks)


@pytest.fixture
def stopped(monkeypatch, tmp_path):
    """Runs a script as the shell does, in a folder with a small model, until all that may refuse it is behind."""

    def reached(*given, **named):
        raise ReachedError

    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    imported = [importlib.import_module(name) for name in ("image_session", "pretraining")]  # by other scripts; they stay imported, with their own
    for module in (*imported, results_folder):
        monkeypatch.setattr(module, "claim_folder", reached)
    monkeypatch.setattr(few_shot, "judge_draws", reached)
    monkeypatch.setattr(TrainingState, "begin", reached)
    monkeypatch.chdir(tmp_path)
    sigvit.vit("Ti/14", 28, 10, 1, width=12, depth=1, heads=2, mlp_width=7, pool="mean").save_pretrained("results/mnist/model")

    def run(path, arguments):
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        runpy.run_path(str(path), run_name="__main__")

    return run


@pytest.mark.parametrize(("path", "arguments"), list(examples()))
def test_an_example_is_taken(path, arguments, stopped, shared_data):
    with pytest.raises((ReachedError, SystemExit)) as end:
        stopped(path, arguments)
    missing = [file for file in ELSEWHERE if file in arguments]
    assert end.type is ReachedError or any(file in str(end.value) for file in missing), end.value


@pytest.mark.parametrize("path", [path for path in sorted(EXPERIMENTS.glob("*.py")) if "tyro.cli(" in path.read_text()], ids=lambda path: path.stem)
def test_help_says_of_each_option_what_it_is(path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.setenv("COLUMNS", "80")  # options one below the other
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(path), run_name="__main__")
    told = re.sub(r"^[│|]? {1,2}(?=-)|[│| ]+$", "", capsys.readouterr().out, flags=re.MULTILINE)
    # What a value is like stands one space behind the name, the help two or more, or on lines of its own.
    options = re.findall(r"^(--\w[\w.-]*).*?((?:  .*|$)(?:\n[│|]? {3,}.*)*)", told, re.MULTILINE)
    assert len(options) > 3
    assert [name for name, text in options if not text.partition("(default:")[0].partition("(required")[0].strip("│| \n")] == []

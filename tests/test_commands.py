"""The command line: what `sigvit cost` says, and a reader that leaves early."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sigvit import cost_command
from sigvit.__main__ import as_a_command, main
from sigvit.evaluation.hardware import published


def test_a_reader_that_has_enough_is_no_crash():
    """`sigvit datasets | head`: the reading end is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run([sys.executable, "-m", "sigvit", "datasets"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (run.returncode, run.stderr) == (141, "")


def test_signs_that_the_terminal_lacks_are_replaced():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run([sys.executable, "-m", "sigvit", "datasets"], env=environment, capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (0, b"")
    assert b"scp1" in run.stdout


def test_a_pipe_that_is_not_the_readers_keeps_its_error():
    with pytest.raises(BrokenPipeError), as_a_command():
        raise BrokenPipeError("a worker's")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="elsewhere no device is always full")
@pytest.mark.parametrize("words", ["print('short')", "print('long' * 10_007)"])
def test_output_that_can_not_be_written_is_a_sentence(words):
    script = f"from sigvit.__main__ import as_a_command\nwith as_a_command():\n    {words}"
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=buffered())
    assert (run.returncode, run.stderr) == (1, "-c: standard output can't be written (No space left on device).\n")


def buffered() -> dict[str, str]:
    """The environment as most people have it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_an_error_of_another_file_keeps_its_words():
    with pytest.raises(FileNotFoundError, match="nowhere"), as_a_command():
        os.stat("nowhere")


def test_a_closed_output_is_no_fault(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)  # as Python has it after `>&-`
    with as_a_command():
        print("to nobody", file=sys.stdout)  # bars ask what kind it is
        assert sys.stdout.isatty() is False


def test_no_command_prints_the_usage(capsys):
    assert main([]) == 2
    assert "sigvit cost RECIPE" in capsys.readouterr().err


def test_cost_of_a_recipe_on_gpus_that_are_not_here(capsys):
    assert main(["cost", "vit_imagenet_21k:B/16", "--gpus", "64", "--gpu", "h100", "--sharded"]) == 0
    said = capsys.readouterr().out
    assert "103,186,515; 32.7" in said
    assert "64 × NVIDIA H100" in said
    assert "images/s" in said
    assert "(fits)" in said


def test_a_recipe_whose_variant_is_a_hybrid_is_no_model(capsys):
    assert main(["cost", "vit_imagenet:R26+S/32", "--gpus", "8", "--gpu", "h100"]) == 0
    assert "vit_imagenet:R26+S/32: 93,835 steps" in capsys.readouterr().out


def test_cost_of_a_recipe_on_a_gpu_in_numbers_is_that_of_the_table(capsys):
    main(["cost", "mnist", "--gpu", "h100"])
    table = capsys.readouterr().out.splitlines()[2:]
    main(["cost", "mnist", "--peak-tflops", "66.9", "--memory-gib", "79", "--bandwidth-gb-s", "3350"])
    assert capsys.readouterr().out.splitlines()[2:] == table


def test_a_slow_network_between_machines_costs_time_on_a_gpu_of_the_table(capsys):
    steps = {}
    for network in ((), ("--network-gb-s", "25"), ("--network-gb-s", "1")):
        assert main(["cost", "vit_imagenet_21k:B/16", "--gpus", "64", "--gpu", "a100", *network]) == 0
        said = capsys.readouterr().out
        steps[network[1:]] = float(re.search(r"of it ([\d.e+]+) waiting for other devices", said)[1])
    assert steps[()] == steps["25",]  # which the table says of an A100
    assert steps["1",] > 10 * max(1.0, steps[()])


@pytest.mark.parametrize(("words", "batch"), [((), 64), (("--batch", "96"), 96)])
def test_what_making_a_batch_takes_is_measured_for_the_batch_that_is_asked_for(monkeypatch, capsys, words, batch):
    asked = []
    monkeypatch.setattr(cost_command, "calibrate", lambda cases, device, rounds: published("h100", "float32"))
    monkeypatch.setattr(cost_command, "input_seconds", lambda run, device: asked.append(run.recipe.batch_size) or 0.5)
    assert main(["cost", "digits", *words]) == 0
    assert asked == [batch]
    assert "500 for the batch" in capsys.readouterr().out


def test_cost_of_a_fine_tuning_recipe_asks_for_its_model(capsys):
    assert main(["cost", "cifar10_finetuning", "--gpu", "l4"]) == 2
    assert "say which with --model" in capsys.readouterr().err
    assert main(["cost", "cifar10_finetuning", "--gpu", "l4", "--model", "Ti/16"]) == 0
    assert "parameters  5," in capsys.readouterr().out


def test_cost_of_a_model_is_measured_here(capsys):
    threads = torch.get_num_threads()
    assert main(["cost", "Ti/16", "--image-size", "32", "--batch", "3", "--threads", str(threads)]) == 0
    said = capsys.readouterr().out
    assert "training" in said
    assert "inference" in said
    assert "measured" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing"], "There is no recipe 'nothing'"),
        (["digits", "--gpu", "h1000"], "no numbers of a GPU 'h1000'"),
        (["digits", "--gpu", "h100", "--gpus", "3"], "64 can't be cut into 3 equal parts"),
        (["digits", "--peak-tflops", "3"], "needs --peak-tflops, --memory-gib and --bandwidth-gb-s"),
        (["digits", "--gpus", "2"], "Several GPUs need --gpu"),
        (["Ti/0"], "There is no model 'Ti/0'"),
        (["Ti/16", "--image-size", "33"], "can't be cut into patches of 16"),
        (["Ti/16", "--gpus", "8"], "gpus is 8, but nothing reads it: Ti/16 is a model, which is measured on this machine"),
        (["Ti/16", "--gpu", "h100"], "gpu is h100, but nothing reads it"),
        (["Ti/16", "--sharded"], "sharded is True, but nothing reads it"),
        (["Ti/16", "--model", "B/16"], "model is B/16, but nothing reads it"),
        (["digits", "--gpu", "h100", "--model", "B/16"], "model is B/16, but nothing reads it: the recipe digits trains a model of its own"),
        (["digits", "--gpu", "h100", "--image-size", "32"], "image_size is 32, but nothing reads it: the recipe digits says its own"),
        (["digits", "--gpu", "h100", "--dtype", "bfloat16"], "dtype is bfloat16, but nothing reads it"),
        (["digits", "--gpu", "h100", "--peak-tflops", "3"], "peak_tflops is 3.0, but nothing reads it: the table has those of h100"),
        (["digits", "--gpu", "h100", "--threads", "2"], "threads is 2, but nothing reads it: nothing is measured on this machine"),
        (["digits", "--gpu", "h100", "--gpus", "8", "--network-gb-s", "5"], "network_gb_s is 5.0, but nothing reads it: it is the way to GPUs of other"),
        (["digits", "--network-gb-s", "5"], "network_gb_s is 5.0, but nothing reads it"),
        (["digits", "--gpu", "h100", "--gpus", "0"], "gpus is 0; it must be at least 1"),
        (["digits", "--gpu", "h100", "--gpus", "-4"], "gpus is -4; it must be at least 1"),
        (["Ti/16", "--threads", "-1"], "threads is -1; it must be at least 0"),
        (["digits", "--gpu", "h100", "--gpus", "16", "--network-gb-s", "nan"], "network_gb_s is nan; it must be at least 0, and finite"),
        (["digits", "--peak-tflops", "nan", "--memory-gib", "3", "--bandwidth-gb-s", "3"], "each above 0 and finite"),
        (["digits", "--peak-tflops", "3", "--memory-gib", "3", "--bandwidth-gb-s", "inf"], "each above 0 and finite"),
        (["plain_s16:nan", "--gpu", "h100"], "epochs is nan; it must be a number, and finite"),
        (["plain_s16:inf", "--gpu", "h100"], "epochs is inf; it must be a number, and finite"),
        (["digits", "--batch", "1348"], "batch_size is 1348, but"),
        (["R50+B/16"], "R50+B/16 is a hybrid, but only plain Vision Transformers are measured here, such as B/16"),
        (["R51+B/16"], "There is no hybrid 'R51+B/16'"),
    ],
)
def test_bad_input_gets_a_sentence(words, sentence, capsys):
    assert main(["cost", *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
@pytest.mark.parametrize(
    ("version", "asked", "said"), [((3, 10), ["-c"], "name another one: make demo PYTHON=python3.11"), ((3, 11), ["-c", "-m venv --clear .venv"], "")]
)
def test_make_begins_its_environment_anew_and_with_a_python_that_is_new_enough(tmp_path, version, asked, said):
    """A Python that writes down what it is asked, and says that it is of this version."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(Path(__file__).parents[1] / name, tmp_path)
    python = tmp_path / "python"
    told = f"import sys; sys.version_info = {version}; words = sys.argv[1:]; exec(words[1]) if words[0] == '-c' else sys.exit('no environment')"
    python.write_text(f'#!/bin/sh\necho "$@" >> asked\nexec {sys.executable} -c "{told}" "$@"\n')
    python.chmod(0o755)
    run = subprocess.run(["make", "install", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = (tmp_path / "asked").read_text().splitlines()
    assert [line if line.startswith("-m") else line[:2] for line in lines] == asked
    assert said in run.stderr

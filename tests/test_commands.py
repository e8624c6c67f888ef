"""The command line: what `sigvit cost` says, and a reader that leaves early."""

import os
import subprocess
import sys

import pytest
import torch

from sigvit.__main__ import main


def test_a_reader_that_has_enough_is_no_crash():
    """`sigvit datasets | head`: the reading end is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run([sys.executable, "-m", "sigvit", "datasets"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (run.returncode, run.stderr) == (141, "")


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


def test_cost_of_a_recipe_on_a_gpu_in_numbers_is_that_of_the_table(capsys):
    main(["cost", "mnist", "--gpu", "h100"])
    table = capsys.readouterr().out.splitlines()[2:]
    main(["cost", "mnist", "--peak-tflops", "66.9", "--memory-gib", "79", "--bandwidth-gb-s", "3350"])
    assert capsys.readouterr().out.splitlines()[2:] == table


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
    ],
)
def test_bad_input_gets_a_sentence(words, sentence, capsys):
    assert main(["cost", *words]) == 2
    assert sentence in capsys.readouterr().err

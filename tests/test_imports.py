"""Imports point one way, cost nothing until they are needed, and every public name is there."""

import ast
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sigvit

ROOT = Path(__file__).parents[1]


def test_import_directions_hold():
    run = subprocess.run([Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_every_public_name_is_there():
    assert all(getattr(sigvit, name) is not None for name in sigvit.__all__)
    assert set(sigvit.__all__) <= set(dir(sigvit))
    with pytest.raises(AttributeError, match="sigvit has no 'viit'"):
        _ = sigvit.viit


def test_importing_sigvit_imports_nothing_heavy():
    heavy = ["torch", "mne", "sklearn", "pandas", "matplotlib", "numpy", "scipy"]
    code = f"import sys, sigvit; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_model_wing_runs_without_the_others_packages():
    use = "sigvit.signal_vit(3, n_times=64)(torch.zeros(2, 3, 64))"
    code = f"import sys, sigvit, torch; {use}; print([name for name in ('mne', 'pandas', 'sklearn') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_evidence_wing_runs_without_torch():
    # pyriemann takes torch along where it is installed, so that it has to be hidden.
    hidden = "class Hidden:\n def find_spec(self, name, *_):\n  if name.split('.')[0] == 'torch': raise ModuleNotFoundError(name)\n"
    code = f"import sys\n{hidden}sys.meta_path.insert(0, Hidden())\nimport sigvit\nsigvit.cross_validate, sigvit.certify, sigvit.baselines, sigvit.open_dataset"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == ""


def test_the_checker_can_be_copied_out_alone():
    tree = ast.parse((ROOT / "sigvit/evidence/verify.py").read_text())
    imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("leaf", [("encoder", "block", "attention", "dropout", "linear"), ("resize", "resize_matrices")])
def test_encoder_and_resize_import_nothing_of_ours_but_their_own_parts(leaf):
    for part in leaf:
        nodes = list(ast.walk(ast.parse((ROOT / f"sigvit/model/{part}.py").read_text())))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name for name in imported if name.startswith("sigvit")} <= {f"sigvit.model.{other}" for other in leaf} | {"sigvit.products"}


@pytest.mark.slow
def test_importing_sigvit_costs_no_more_than_torch_alone():
    """A ratio of medians, interleaved: at most 1.15 of `import torch`."""

    def seconds(module: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        return time.perf_counter() - start

    pairs = [(seconds("torch"), seconds("sigvit")) for _ in range(5)]
    assert statistics.median(own for _, own in pairs) <= 1.15 * statistics.median(torch for torch, _ in pairs)

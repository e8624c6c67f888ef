"""Peers are optional: what is compared with them skips, with a reason, where they are missing."""

import pytest
import torch

# What torchvision's Python code expects its compiled part to have declared; timm imports it but calls none of these.
OPERATORS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def declare_missing_torchvision_operators() -> torch.library.Library | None:
    """A torchvision wheel built for another torch fails to import because its operators are missing; with them declared it passes."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return None
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in OPERATORS:
            library.define(operator)
        return library
    return None


@pytest.fixture(scope="session")
def timm():
    library = declare_missing_torchvision_operators()  # held while the tests run: a library that is collected takes its operators with it
    yield pytest.importorskip("timm", reason="timm is not installed (extra 'benchmark')")
    del library


@pytest.fixture(scope="session")
def torchvision(timm):
    """Its Python code alone is used; timm's fixture has declared what its compiled part may lack."""
    return pytest.importorskip("torchvision", reason="torchvision is not installed")

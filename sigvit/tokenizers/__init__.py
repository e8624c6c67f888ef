"""Tokenizers: each an `nn.Module` that turns a signal into `Tokens`, has a `width`, and can be used alone."""

from sigvit.tokenizers.composite import Composite
from sigvit.tokenizers.conv_stem import ConvStem
from sigvit.tokenizers.covariance import CovarianceTokens
from sigvit.tokenizers.electrode_time import ElectrodeTimePatches
from sigvit.tokenizers.image import ImagePatches
from sigvit.tokenizers.image_batch import ImageBatch, collate_images
from sigvit.tokenizers.recording_batch import RecordingBatch, collate_windows
from sigvit.tokenizers.resnet import ResNetPatches
from sigvit.tokenizers.scalp_map import ScalpMapPatches
from sigvit.tokenizers.spectrogram import SpectrogramPatches
from sigvit.tokenizers.time_step import TimeStepTokens

__all__ = [
    "Composite",
    "ConvStem",
    "CovarianceTokens",
    "ElectrodeTimePatches",
    "ImageBatch",
    "ImagePatches",
    "RecordingBatch",
    "ResNetPatches",
    "ScalpMapPatches",
    "SpectrogramPatches",
    "TimeStepTokens",
    "collate_images",
    "collate_windows",
]

"""From the bytes of one image file to uint8 pixels of the wanted channels, part and size (Pillow)."""

from __future__ import annotations

import io
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_METHODS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_ORIENTATION = 0x0112  # the EXIF tag
_MODES = {1: "L", 3: "RGB"}
_RANGELESS = {"F": "32-bit floating-point", "I": "signed or 32-bit whole-number"}
_SIXTEEN_BITS = ("PNG", "PPM")  # formats without 32 bits, whose 16 some versions of Pillow read as mode "I"


class Framing(Protocol):
    """What part of each image is wanted, and at what size: the training room's crops."""

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def interpolation(self) -> str: ...

    def box(self, position: int, rows: int, columns: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels, of the image at this position of the rows that are read."""
        ...


def decode(data: bytes, name: str, channels: int, framing: Framing | None = None, position: int = 0) -> np.ndarray:
    """Pixels of one encoded image, uint8 (rows, columns, channels).

    EXIF orientation is applied. Palettes are resolved; 16 bits of grey become 8 (v / 257, rounded), those of colours and of grey with an alpha channel as
    Pillow reads them (the higher 8); transparent images are laid over white; CMYK, YCbCr, Lab and HSV become red, green, blue; grey and colour become each
    other as ITU-R 601 has it. Part and size are Pillow's `resize` with its antialiasing.

    Raises
    ------
    ValueError : the file is no image, is cut short, is damaged or too large (Pillow's limit against decompression bombs), or its pixels are
        of a kind without a known range (32-bit or signed numbers); the message names it.

    >>> file = io.BytesIO()
    >>> Image.new("CMYK", (7, 5), (0, 0, 0, 0)).save(file, "TIFF")
    >>> pixels = decode(file.getvalue(), "white.tif", channels=3)
    >>> pixels.shape, int(pixels.min())
    ((5, 7, 3), 255)
    """
    image = _converted(_upright(data, name), name, channels)
    return to_array(image if framing is None else _framed(image, framing, position))


def _upright(data: bytes, name: str) -> Image.Image:
    """What Pillow reads, turned as EXIF says."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            turned = ImageOps.exif_transpose(opened) if opened.getexif().get(_ORIENTATION, 1) != 1 else opened
            turned.format = opened.format
            return turned
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is no image that Pillow can read ({len(data)} bytes).") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} can't be decoded: {error}. Make it smaller or take it out of the set.") from error
    except MemoryError:  # of the machine; the file may be sound
        raise
    except Exception as error:  # readers of damaged files raise almost anything
        reason = str(error).rstrip(".") or type(error).__name__
        raise ValueError(f"{name} can't be decoded: {reason}. It is cut short or damaged; fetch it again or take it out of the set.") from error


def _converted(image: Image.Image, name: str, channels: int) -> Image.Image:
    mode = _MODES[channels]
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode in _RANGELESS and not (image.mode == "I" and image.format in _SIXTEEN_BITS):
        raise ValueError(f"{name} holds {_RANGELESS[image.mode]} pixels, whose range isn't known; save it with 8 or 16 bits a channel.")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        # Pillow turns none of these into grey directly but for 1-bit and palettes; by way of RGB they all go.
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits to 8; Pillow's own conversion clips at 255."""
    levels = np.asarray(image)
    grey = Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if "transparency" in image.info:  # a level of the 16 bits, which several of the 8 would be
        grey.putalpha(Image.fromarray(np.where(levels == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _framed(image: Image.Image, framing: Framing, position: int) -> Image.Image:
    rows, columns = framing.size
    return image.resize((columns, rows), _METHODS[framing.interpolation], box=framing.box(position, image.height, image.width))


def frame_array(values: np.ndarray, framing: Framing, position: int) -> np.ndarray:
    """`framing`'s part of pixels (rows, columns, channels), at its size."""
    return to_array(_framed(Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values), framing, position))


def to_array(image: Image.Image) -> np.ndarray:
    """Pixels (rows, columns, channels) of a grey or colour image."""
    values = np.asarray(image)
    return values[:, :, None] if values.ndim == 2 else values

"""Whether a MATLAB file is built as the format says: compiled readers trust its sizes, and crash where they lie.

MathWorks, "MAT-File Format", version 5: elements of a type and a length; a matrix holds its flags, dimensions, name, and elements again.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from pathlib import Path

_MATRIX, _COMPRESSED, _CELL, _STRUCT, _OBJECT, _SPARSE = 14, 15, 1, 2, 3, 5
# Bytes a value by element type.
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_NUMBERS = range(4, 16)  # matrix classes: characters, sparse, and numbers of all kinds
_DEEPEST = 40


Content = bytes | mmap.mmap


class _DamagedError(Exception):
    """Where and what; `matlab_complaint` makes a sentence of it."""


def matlab_complaint(path: Path) -> str | None:
    """What is wrong with the structure of a MATLAB 5 file, in words; None where it is sound, or is of another version."""
    if path.stat().st_size < 136:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        wrong = _complaint(content)
    return wrong and f"{path} is damaged or cut short: {wrong}"


def _complaint(content: Content) -> str | None:
    if content[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        return None  # version 4, 7.3 (HDF5) or no MATLAB file: their readers say what is wrong
    order = "<" if content[126:128] == b"IM" else ">"
    try:
        place = 128
        while place < len(content):
            kind, start, stop, place = _element(content, place, len(content), order)
            if kind == _COMPRESSED:
                _check_compressed(content[start:stop], order, start)
            elif kind == _MATRIX:
                _check_matrix(content, start, stop, order, 0)
    except (_DamagedError, struct.error, zlib.error, UnicodeDecodeError) as error:
        return str(error)
    return None


def _check_compressed(data: bytes, order: str, at: int) -> None:
    inflater = zlib.decompressobj()
    content = inflater.decompress(data)
    if not inflater.eof:
        raise _DamagedError(f"the compressed part at byte {at} has no end")
    kind, start, stop, _ = _element(content, 0, len(content), order)
    if kind == _MATRIX:
        _check_matrix(content, start, stop, order, 0)


def _element(content: Content, place: int, limit: int, order: str) -> tuple[int, int, int, int]:
    """(type, first byte, byte after the last, where the next element begins) of the element at a place."""
    if place + 8 > limit:
        raise _DamagedError(f"an element begins at byte {place}, beyond its end")
    kind, size = struct.unpack_from(f"{order}II", content, place)
    if kind >> 16:  # a small one: length and type in four bytes, values in the other four
        kind, size = kind & 0xFFFF, kind >> 16
        start, following = place + 4, place + 8
    else:
        start = place + 8
        following = start + size + (0 if kind == _COMPRESSED else -size % 8)
    if start + size > limit or (kind not in _BYTES and kind not in (_MATRIX, _COMPRESSED)):
        raise _DamagedError(f"the element of type {kind} at byte {place} has {size} bytes; {max(0, limit - start)} are there")
    return kind, start, start + size, min(following, limit) if following > limit else following


def _check_matrix(content: Content, place: int, limit: int, order: str, depth: int) -> None:
    if place == limit:
        return  # an empty one
    if depth > _DEEPEST:
        raise _DamagedError(f"the matrix at byte {place} lies {depth} levels deep")
    kind, start, stop, following = _element(content, place, limit, order)
    if kind != 6 or stop - start != 8:
        raise _DamagedError(f"the matrix at byte {place} doesn't begin with its flags")
    flags = struct.unpack_from(f"{order}I", content, start)[0]
    matrix_class, is_complex = flags & 0xFF, bool(flags & 0x800)
    if matrix_class in (16, 17):
        return  # functions and opaque objects have a form of their own
    kind, start, stop, following = _element(content, following, limit, order)
    sizes = struct.unpack_from(f"{order}{(stop - start) // 4}i", content, start)
    if kind != 5 or len(sizes) < 2 or min(sizes) < 0:
        raise _DamagedError(f"the matrix at byte {place} has the dimensions {sizes[:4]}")
    kind, _, _, following = _element(content, following, limit, order)
    if kind != 1:
        raise _DamagedError(f"the matrix at byte {place} has no name")
    _check_content(content, following, limit, order, depth, (matrix_class, is_complex, math.prod(sizes)))


def _check_content(content: Content, place: int, limit: int, order: str, depth: int, what: tuple[int, bool, int]) -> None:
    matrix_class, is_complex, count = what
    if matrix_class in (_CELL, _STRUCT, _OBJECT):
        if matrix_class != _CELL:
            n_fields, place = _fields(content, place, limit, order, matrix_class == _OBJECT)
            count *= n_fields
        if count > (limit - place) // 8:
            raise _DamagedError(f"{count} elements are promised at byte {place}, in {limit - place} bytes")
        for _ in range(count):
            kind, start, stop, place = _element(content, place, limit, order)
            if kind != _MATRIX:
                raise _DamagedError(f"an element of type {kind} at byte {start} stands in the place of a matrix")
            _check_matrix(content, start, stop, order, depth + 1)
    elif matrix_class in _NUMBERS:
        for _ in range((3 if matrix_class == _SPARSE else 1) + is_complex):
            kind, start, stop, place = _element(content, place, limit, order)
            # Characters may be written in fewer bytes than they are: UTF-8 in one to four.
            few = matrix_class in (4, _SPARSE)
            if kind not in _BYTES or (not few and stop - start != count * _BYTES[kind]) or (matrix_class == 4 and stop - start > 4 * count):
                raise _DamagedError(f"{count} values of type {kind} are promised at byte {start}, in {stop - start} bytes")
    else:
        raise _DamagedError(f"a matrix before byte {place} is of the unknown class {matrix_class}")


def _fields(content: Content, place: int, limit: int, order: str, has_class: bool) -> tuple[int, int]:
    """How many fields a struct has, and where their values begin."""
    if has_class:
        place = _element(content, place, limit, order)[3]
    kind, start, stop, place = _element(content, place, limit, order)
    length = struct.unpack_from(f"{order}i", content, start)[0] if (kind, stop - start) == (5, 4) else 0
    kind, start, stop, place = _element(content, place, limit, order)
    if length < 1 or kind != 1 or (stop - start) % length:
        raise _DamagedError(f"the names of the fields at byte {start} have {stop - start} bytes of {length} each")
    names = [content[at : at + length].partition(b"\0")[0] for at in range(start, stop, length)]
    if len(set(names)) < len(names) or any(not name.isascii() for name in names):
        raise _DamagedError(f"the names of the fields at byte {start} aren't names: {names[:3]}")
    return len(names), place

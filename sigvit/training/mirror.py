"""The mirror image of a recording: which electrode takes whose place, and which class it then belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sigvit.electrodes import canonical_name

OPPOSITE = {"left": "right", "right": "left"}
_SIDES = re.compile("left|right", re.IGNORECASE)


@dataclass(frozen=True)
class Mirror:
    """Left and right exchanged.

    Attributes
    ----------
    electrodes : for each electrode the number of the one on the other side; its own on the midline. classes : likewise for class numbers.

    Raises
    ------
    ValueError : mirroring twice wouldn't give back what was there.

    >>> Mirror.from_names(["C3", "Cz", "C4"], ["feet", "left hand", "right hand"])
    Mirror(electrodes=(2, 1, 0), classes=(0, 2, 1))
    """

    electrodes: tuple[int, ...]
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, images in (("electrodes", self.electrodes), ("classes", self.classes)):
            lost = [number for number, image in enumerate(images) if not (0 <= image < len(images) and images[image] == number)]
            if lost:
                raise ValueError(f"The {name} {lost} aren't the image of their own image in {list(images)}; a mirror exchanges pairs and leaves the rest.")

    @classmethod
    def from_names(cls, names: Sequence[str], classes: Sequence[Any], label_map: Mapping[Any, Any] | None = None) -> Mirror:
        """The mirror of a montage and its labels.

        Parameters
        ----------
        names : of the electrodes, in the 10-05 system.
        classes : the labels, sorted as the class numbers are. label_map : label → label of the mirrored window, where it is another; {} where none is; None
            exchanges "left" and "right" within labels that are words.

        Raises
        ------
        ValueError : an electrode that isn't of the 10-05 system or has no partner here; a label whose mirror image isn't a class; without a map, a label that
            isn't a word, or none that says "left" or "right"; a map of labels that aren't there, or that is no dictionary.
        """
        places = {name: number for number, name in enumerate(map(canonical_name, names)) if name is not None}
        unknown = [name for name in names if canonical_name(name) is None]
        partners = [_partner(str(canonical_name(name))) for name in names]
        alone = [name for name, partner in zip(names, partners, strict=True) if partner not in places]
        if unknown or alone:
            raise ValueError(
                f"A mirror needs electrodes of the 10-05 system in pairs; {unknown or alone} {'are none' if unknown else 'have no partner here'}. "
                "Leave them out, or give Mirror(electrodes=…, classes=…)."
            )
        _require_sides(classes, label_map)
        images = [_mirrored_label(label, label_map) for label in classes]
        lost = {label: image for label, image in zip(classes, images, strict=True) if image not in list(classes)}
        if lost:
            raise ValueError(f"The mirror images {lost} aren't among the classes {list(classes)}; give a label_map.")
        return cls(tuple(places[partner] for partner in partners), tuple(list(classes).index(image) for image in images))


def _partner(name: str) -> str:
    """Odd numbers lie on the left, the next even ones on the right."""
    return re.sub(r"\d+", lambda found: str(int(found[0]) + (1 if int(found[0]) % 2 else -1)), name)


def _require_sides(classes: Sequence[Any], label_map: Mapping[Any, Any] | None) -> None:
    """Labels such as T1 and T2 may mean sides without saying so, and would be taught wrong."""
    if not isinstance(label_map, Mapping | None):
        raise ValueError(f"label_map is a {type(label_map).__name__}; give a dictionary {{class: class in the mirror}}.")
    strangers = [label for label in label_map or {} if label not in list(classes)]
    if strangers:
        raise ValueError(f"The label_map names {strangers}, which aren't among the classes {list(classes)}.")
    if label_map is None and all(isinstance(label, str) and not _SIDES.search(label) for label in classes):
        raise ValueError(
            f'None of the classes {list(classes)} says "left" or "right", so which one a mirrored window belongs to isn\'t known; '
            "give a label_map {class: class in the mirror}, or an empty one, {}, where every class is its own image."
        )


def _mirrored_label(label: Any, label_map: Mapping[Any, Any] | None) -> Any:
    if label_map is not None:
        return label_map.get(label, label)
    if not isinstance(label, str):
        raise ValueError(f"The label {label!r} doesn't say what its mirror image is; give a label_map.")
    return _SIDES.sub(lambda found: _like(OPPOSITE[found[0].lower()], found[0]), label)


def _like(word: str, model: str) -> str:
    """The word in the letters, small or capital, of the model."""
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word

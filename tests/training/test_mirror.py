"""The mirror: pairs of electrodes and of labels."""

import re

import pytest

from sigvit.electrodes import electrode_position, electrode_table
from sigvit.training.mirror import Mirror


def test_every_electrode_of_the_10_05_system_lands_on_its_mirrored_place():
    names = list(electrode_table())
    images = Mirror.from_names(names, ["left", "right"]).electrodes
    for name, image in zip(names, images, strict=True):
        x, y, z = electrode_position(name)
        assert electrode_position(names[image]) == (-x, y, z)


def test_old_and_odd_spellings_find_their_partners():
    assert Mirror.from_names(["T3", "Fc5.", "EEG T8-REF", "FC6", "CZ"], ["rest"], {}).electrodes == (2, 3, 0, 1, 4)


@pytest.mark.parametrize(
    ("classes", "label_map", "images"),
    [
        (["feet", "left_hand", "right_hand"], None, (0, 2, 1)),
        (["Left", "Right", "rest"], None, (1, 0, 2)),
        (["LEFT", "RIGHT"], None, (1, 0)),
        (["house", "face"], {}, (0, 1)),
        (["T0", "T1", "T2"], {"T1": "T2", "T2": "T1"}, (0, 2, 1)),
        ([0, 1, 2], {0: 1, 1: 0}, (1, 0, 2)),
    ],
)
def test_labels_are_exchanged_by_their_words_or_by_the_map(classes, label_map, images):
    assert Mirror.from_names(["Cz"], classes, label_map).classes == images


@pytest.mark.parametrize(
    ("names", "classes", "label_map", "sentence"),
    [
        (["C3", "Cz"], ["rest"], {}, "['C3'] have no partner here"),
        (["C3", "C4", "EOG"], ["rest"], {}, "['EOG'] are none"),
        (["C3", "C4"], ["left", "rest"], None, "The mirror images {'left': 'right'} aren't among the classes ['left', 'rest']"),
        (["C3", "C4"], [0, 1], None, "The label 0 doesn't say what its mirror image is; give a label_map."),
        (["C3", "C4"], ["T1", "T2"], None, "None of the classes ['T1', 'T2'] says \"left\" or \"right\""),
        (["C3", "C4"], ["T1", "T2"], {"t1": "t2", "t2": "t1"}, "The label_map names ['t1', 't2'], which aren't among the classes ['T1', 'T2']."),
        (["C3", "C4"], ["T1", "T2"], [("T1", "T2")], "label_map is a list; give a dictionary"),
        (["C3", "C4"], ["T1", "T2"], {"T1": "T2"}, "The classes [0] aren't the image of their own image"),
    ],
)
def test_what_has_no_mirror_image_is_named(names, classes, label_map, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Mirror.from_names(names, classes, label_map)


@pytest.mark.parametrize("electrodes", [(1, 2, 0), (0, 5, 2), (0, -5, 2), (0, 0, 2)])
def test_what_is_no_exchange_of_pairs_is_refused(electrodes):
    with pytest.raises(ValueError, match=r"The electrodes .* aren't the image of their own image"):
        Mirror(electrodes, (0,))

"""Random streams have names, so that two parts of the package never draw the same numbers by accident."""

from collections import Counter

from ray_ue.random_streams import STREAMS

# Older streams that share a number: their keys differ in length or in what follows.
SHARED = {5, 23, 29, 41, 43, 53, 59, 61, 3}


def test_a_new_stream_has_a_number_of_its_own() -> None:
    shared = {number for number, count in Counter(STREAMS.values()).items() if count > 1}
    assert shared <= SHARED, f"choose another number for {[name for name, number in STREAMS.items() if number in shared - SHARED]}"


def test_numbers_are_whole_and_positive() -> None:
    assert all(isinstance(number, int) and number > 0 for number in STREAMS.values())

"""Staircase maps: what they are, how many there are, how users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peelverify.errors import InputError
from peelverify.peel import maps


def test_examples_of_depth_five() -> None:
    """The maps of some landmark sets are the ones written out by hand."""
    assert maps.staircase((), 5) == (5, 5, 5, 5, 5)
    assert maps.staircase({2}, 5) == (2, 2, 5, 5, 5)
    assert maps.staircase({1, 3}, 5) == (1, 3, 3, 5, 5)
    assert maps.direct(5) == (1, 2, 3, 4, 5)
    assert maps.first_and_last(4) == (1, 4, 4, 4)
    assert maps.prefix_then_last(2, 4) == (1, 2, 4, 4)
    assert maps.single_landmark(3, 4) == (3, 3, 3, 4)


@given(st.integers(1, 9))
def test_every_landmark_set_gives_one_staircase(depth: int) -> None:
    """There are 2^(L-1) different staircases, each is the staircase of its landmarks, and all-last comes first."""
    found = maps.staircases(depth)
    assert len(set(found)) == 2 ** (depth - 1)
    assert all(maps.is_staircase(m) and maps.check_map(m, depth) == m for m in found)
    assert found[0] == maps.all_last(depth)
    counts = [len(maps.landmarks(m)) for m in found]
    assert counts == sorted(counts)


@pytest.mark.parametrize(("depth", "fits"), [(4, 26), (5, 57), (8, 502)])
def test_shared_prefixes_cost_the_known_number_of_fits(depth: int, fits: int) -> None:
    """All staircases share prefixes: sum of 2^(l-1) (L - l + 1) fits."""
    assert len(maps.prefixes(maps.staircases(depth))) == fits


def test_defaults_by_depth() -> None:
    """All staircases up to depth 6, about 2 L named maps beyond, which contain the published ones."""
    assert maps.default_maps(6) == maps.staircases(6)
    deep = maps.default_maps(26)
    assert len(deep) == len(set(deep)) < 2 * 26
    for wanted in (maps.direct(26), maps.all_last(26), maps.first_and_last(26), maps.single_landmark(7, 26)):
        assert wanted in deep


@pytest.mark.parametrize(
    "bad",
    [[], [1, 2], [1, 2, 3, 4, 5], [0, 2, 3, 4], [1, 2, 3, 3], [2, 1, 3, 4], [1, 2, 3, 5], [1.0, 2, 3, 4], 4, "1234",
     [True, 2, 3, 4]],
)
def test_invalid_maps_are_refused(bad: object) -> None:
    """Wrong length, range, order, end or type of a map is an InputError."""
    with pytest.raises(InputError, match="map"):
        maps.check_map(bad, 4)  # type: ignore[arg-type]


def test_a_map_of_a_user_need_not_be_a_staircase() -> None:
    """Any non-decreasing map that ends at the last layer is a complete network, so it is allowed."""
    assert maps.check_map([2, 3, 3, 4], 4) == (2, 3, 3, 4)
    assert not maps.is_staircase((2, 3, 3, 4))


def test_spelling_of_the_command_line() -> None:
    """Names and lists mix; all-last is always there; nothing is listed twice."""
    assert maps.parse_maps("direct; 1,2,3,4 [1,3,3,4]", 4) == [(4, 4, 4, 4), (1, 2, 3, 4), (1, 3, 3, 4)]
    assert maps.parse_maps("all", 4) == maps.staircases(4)
    assert set(maps.parse_maps("landmarks prefixes first-and-last all-last", 5)) <= set(maps.named_maps(5))
    assert maps.parse_maps("named", 9) == maps.named_maps(9)
    assert maps.parse_maps("default", 3) == maps.default_maps(3)
    for bad in ("", ";", "best", "1,2,x,4", "1,2"):
        with pytest.raises(InputError):
            maps.parse_maps(bad, 4)


def test_landmarks_outside_the_hidden_layers_are_refused() -> None:
    """A landmark must be a hidden layer, and a depth at least 1."""
    for marks, depth in (({0}, 4), ({4}, 4), ({5}, 4)):
        with pytest.raises(InputError):
            maps.staircase(marks, depth)
    with pytest.raises(InputError):
        maps.direct(0)
    with pytest.raises(InputError, match="named_maps"):
        maps.staircases(40)


def test_names_of_maps() -> None:
    """Known maps are called by name, others by their entries."""
    assert maps.describe((4, 4, 4, 4)) == "all-last"
    assert maps.describe((1, 2, 3, 4)) == "direct"
    assert maps.describe((1, 3, 3, 4)) == "[1,3,3,4]"
    assert maps.describe((1,)) == "direct"

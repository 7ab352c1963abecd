"""Maps from layers to targets: which state of the trained network each layer of a chain is fitted to.

A map of depth L is a tuple of L layer numbers, counted from 1; entry ``l`` names the layer whose output is the
target of layer ``l``, and the last entry is L (the labels, or the last hidden state). A *staircase* is fixed
by a set S of landmarks among the hidden layers: each layer aims at the next landmark at or above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from peelverify.errors import InputError

__all__ = [
    "Map",
    "all_last",
    "check_map",
    "check_maps",
    "default_maps",
    "describe",
    "direct",
    "first_and_last",
    "is_staircase",
    "landmarks",
    "named_maps",
    "parse_maps",
    "prefix_then_last",
    "prefixes",
    "single_landmark",
    "staircase",
    "staircases",
]

Map = tuple[int, ...]

#: Deepest network for which every staircase is tried by default: 2^5 = 32 maps.
ALL_UP_TO = 6
#: Deepest network for which every staircase can be asked for: 2^15 maps.
ALL_LIMIT = 16


def _depth(depth: int, name: str) -> int:
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise InputError(f"{name} needs a depth of at least 1, got {depth!r}; count the layers of the network")
    return depth


def staircase(marks: Iterable[int], depth: int) -> Map:
    """The map whose layer ``l`` aims at the smallest landmark ``>= l``, or at the last layer if there is none.

    Args:
        marks: landmarks, a set of hidden layers 1 .. depth - 1.
        depth: number of layers L.

    Example:
        >>> staircase({1, 3}, 5)
        (1, 3, 3, 5, 5)
    """
    _depth(depth, "staircase")
    chosen = sorted(set(marks))
    if chosen and not (chosen[0] >= 1 and chosen[-1] < depth):
        raise InputError(f"staircase needs landmarks in 1 .. {depth - 1}, got {chosen}; name hidden layers")
    found: list[int] = []
    for stop in (*chosen, depth):
        found += [stop] * (stop - len(found))
    return tuple(found)


def landmarks(target: Map) -> tuple[int, ...]:
    """Hidden layers that a map aims at, in order."""
    return tuple(sorted(set(target) - {len(target)}))


def is_staircase(target: Map) -> bool:
    """Whether a map is the staircase of its own landmarks."""
    return target == staircase(landmarks(target), len(target))


def staircases(depth: int) -> list[Map]:
    """Every staircase, fewest landmarks first, all-last at the front: ``2**(depth - 1)`` maps.

    Raises:
        InputError: depth above 16; name some maps instead.
    """
    _depth(depth, "staircases")
    if depth > ALL_LIMIT:
        raise InputError(
            f"staircases needs a depth of at most {ALL_LIMIT}, got {depth} (2^{depth - 1} maps); "
            "use named_maps, which grows linearly"
        )
    return [staircase(marks, depth) for k in range(depth) for marks in combinations(range(1, depth), k)]


def direct(depth: int) -> Map:
    """Each layer aims at its own state: ``[1, 2, ..., L]``."""
    return staircase(range(1, depth), depth)


def all_last(depth: int) -> Map:
    """Every layer aims at the last one: ``[L, ..., L]``, the map of YES-0."""
    return staircase((), depth)


def single_landmark(layer: int, depth: int) -> Map:
    """Layers up to ``layer`` aim at it, the others at the last: ``[s, ..., s, L, ..., L]``."""
    return staircase((layer,), depth)


def prefix_then_last(count: int, depth: int) -> Map:
    """The first ``count`` layers aim at their own states, the others at the last: ``[1, ..., k, L, ..., L]``."""
    return staircase(range(1, count + 1), depth)


def first_and_last(depth: int) -> Map:
    """The first layer aims at its own state, all others at the last: ``[1, L, ..., L]``."""
    return prefix_then_last(1, depth) if depth > 1 else all_last(depth)


def named_maps(depth: int) -> list[Map]:
    """All-last, direct, every single landmark and every ``[1..k, L, ..., L]``: about ``2 L`` maps."""
    _depth(depth, "named_maps")
    found = [all_last(depth), direct(depth)]
    found += [single_landmark(s, depth) for s in range(1, depth)]
    found += [prefix_then_last(k, depth) for k in range(1, depth)]
    return list(dict.fromkeys(found))


def default_maps(depth: int) -> list[Map]:
    """Every staircase up to depth 6, `named_maps` for deeper networks."""
    return staircases(depth) if _depth(depth, "default_maps") <= ALL_UP_TO else named_maps(depth)


def check_map(target: Iterable[int], depth: int) -> Map:
    """Validate one map given by a user.

    A map need not be a staircase: any non-decreasing list of layers that ends at the last one gives a
    complete network, hence a witness.

    Raises:
        InputError: wrong length, layers out of range, decreasing, or not ending at the last layer.
    """
    _depth(depth, "check_map")
    try:
        entries = tuple(target)
    except TypeError:
        entries = (target,)
    if not all(isinstance(e, int) and not isinstance(e, bool) for e in entries):
        raise InputError(f"a map needs whole layer numbers, got {entries!r}; write for instance {direct(depth)}")
    if len(entries) != depth:
        raise InputError(
            f"a map needs one entry a layer, {depth} in all, got {len(entries)}: {list(entries)}; "
            f"write for instance {list(direct(depth))}"
        )
    if any(not 1 <= e <= depth for e in entries):
        raise InputError(f"a map needs entries in 1 .. {depth}, got {list(entries)}; layers count from 1")
    if any(b < a for a, b in zip(entries, entries[1:], strict=False)) or entries[-1] != depth:
        raise InputError(
            f"a map needs entries that never decrease and end at {depth}, got {list(entries)}; "
            f"its last layer must produce the output"
        )
    return entries


def check_maps(maps: Iterable[Iterable[int]] | None, depth: int) -> list[Map]:
    """Validate a suite of maps, drop repetitions, and put all-last (YES-0) in front.

    Args:
        maps: the suite, or None for `default_maps`.
        depth: number of layers.
    """
    if maps is None:
        return default_maps(depth)
    return list(dict.fromkeys([all_last(depth), *(check_map(m, depth) for m in maps)]))


def prefixes(maps: Iterable[Map]) -> list[Map]:
    """Distinct prefixes of the maps, parents before children: one layer fit each.

    Chains that share a prefix share its fitted layers, so a suite costs one fit a prefix instead of one a
    layer a map: 57 instead of 80 for all staircases of depth 5.
    """
    found = {target[:stop] for target in maps for stop in range(1, len(target) + 1)}
    return sorted(sorted(found), key=len)


def describe(target: Map) -> str:
    """Short text of a map: its name where it has one, else its entries."""
    depth = len(target)
    if depth > 1 and target == all_last(depth):
        return "all-last"
    if target == direct(depth):
        return "direct"
    return "[" + ",".join(str(e) for e in target) + "]"


def parse_maps(text: str, depth: int) -> list[Map]:
    """Read maps as the command line spells them.

    Args:
        text: items separated by ``;`` or spaces; each is a name (``all``, ``default``, ``named``, ``direct``,
            ``all-last``, ``first-and-last``, ``landmarks``, ``prefixes``) or a list such as ``1,3,3,4``.
        depth: number of layers.

    Raises:
        InputError: an unknown name or an invalid list.

    Example:
        >>> parse_maps("direct; 1,3,3,4", 4)
        [(4, 4, 4, 4), (1, 2, 3, 4), (1, 3, 3, 4)]
    """
    families = {
        "all": lambda: staircases(depth),
        "default": lambda: default_maps(depth),
        "named": lambda: named_maps(depth),
        "direct": lambda: [direct(depth)],
        "all-last": lambda: [all_last(depth)],
        "first-and-last": lambda: [first_and_last(depth)],
        "landmarks": lambda: [single_landmark(s, depth) for s in range(1, depth)],
        "prefixes": lambda: [prefix_then_last(k, depth) for k in range(1, depth)],
    }
    found: list[Map] = []
    for item in text.replace(";", " ").split():
        if item in families:
            found += families[item]()
            continue
        try:
            entries = [int(part) for part in item.strip("[]()").split(",") if part]
        except ValueError:
            raise InputError(
                f"maps need names ({', '.join(sorted(families))}) or lists such as 1,2,4,4, got {item!r}; "
                "separate several by semicolons"
            ) from None
        found.append(check_map(entries, depth))
    if not found:
        raise InputError(f"maps need at least one name or list, got {text!r}; leave the option out for the default")
    return check_maps(found, depth)


def children(maps: Iterable[Map]) -> Iterator[tuple[Map, list[int]]]:
    """Every inner prefix of a suite with the targets that follow it, parents before children."""
    follow: dict[Map, list[int]] = {}
    for prefix in prefixes(maps):
        follow.setdefault(prefix[:-1], []).append(prefix[-1])
    yield from follow.items()

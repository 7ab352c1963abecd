"""Wrong calls raise before any arithmetic, with the message that says what to do."""

from __future__ import annotations

import math
from fractions import Fraction as F

import pytest
from peelverify.bounds import (
    activations,
    certificate,
    compression,
    counting,
    matrix,
    peeling,
    propagation,
    rounding,
    vector,
)
from peelverify.errors import DomainError, InputError, NonFiniteError, ShapeError

from .cases import CASES

NAMES = {f"{function.__module__.rpartition('.')[2]}.{function.__name__}": function for function in CASES}
MAY_BE_EMPTY = {
    "propagation.chain_bound": {1},
    "propagation.chain_closed_form": {1},
    "propagation.chain_shares": {1},
    "propagation.gain_product": {0},
    "propagation.telescope": {1},
    "counting.count_at_least": {1},
    "matrix.spectral_check": {1},
    "matrix.spectral_residual": {1},
    "certificate.matrix_check": {1},
    "layers.convexity_check": {1},
    "layers.convexity_residual": {1},
}
"""Arguments that are allowed to be empty: chains without blocks, lists without entries, factors without rows."""

COLUMNS_MUST_FIT = {
    "matrix.spectral_check",
    "matrix.spectral_residual",
    "certificate.matrix_check",
    "layers.convexity_check",
    "layers.convexity_residual",
}
"""Functions of two matrices with equal numbers of columns."""

INNER_SIZES_MUST_FIT = {
    "matrix.mat_mul",
    "matrix.frob_sq_mul_upper",
    "matrix.mul_vec",
    "matrix.mul_vec_sq_upper",
    "rounding.mat_mul_error_upper",
    "activations.fold_scale",
    "peeling.pythagorean_gap",
}
"""Functions of a matrix whose columns must fit the second argument, and whose number of rows is free."""


def number_places(value, path=()):
    """Where the numbers of a call stand."""
    if isinstance(value, F):
        return [path]
    if isinstance(value, rounding.Format):
        return []
    if isinstance(value, list | tuple):
        return [place for i, item in enumerate(value) for place in number_places(item, (*path, i))]
    return []


def replaced(value, path, new):
    """The call with another value at one place."""
    if not path:
        return new
    head, *rest = path
    return type(value)(replaced(item, rest, new) if i == head else item for i, item in enumerate(value))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_every_number_must_be_finite(name, bad):
    """A NaN or an infinity at any place of any call is refused, and named."""
    function = NAMES[name]
    for path in number_places(CASES[function]):
        with pytest.raises((NonFiniteError, DomainError)) as caught:
            function(*replaced(CASES[function], path, bad))
        assert str(caught.value).startswith(function.__name__)
        if math.isnan(bad):
            assert isinstance(caught.value, NonFiniteError)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_must_be_a_number(name):
    """A text or None at the place of a number is refused as an input error."""
    function = NAMES[name]
    for path in number_places(CASES[function]):
        for bad in ("1", None):
            with pytest.raises(InputError):
                function(*replaced(CASES[function], path, bad))


@pytest.mark.parametrize("name", NAMES)
def test_no_sequence_may_be_empty(name):
    """An empty sequence in place of a vector, a matrix or a list of bounds is refused, but for chains."""
    function = NAMES[name]
    for i, argument in enumerate(CASES[function]):
        if type(argument) is list:
            call = replaced(CASES[function], (i,), [])
            if i in MAY_BE_EMPTY.get(name, set()):
                function(*call)
            else:
                with pytest.raises(ShapeError):
                    function(*call)


@pytest.mark.parametrize("name", NAMES)
def test_no_matrix_may_be_ragged(name):
    """A matrix with a row that is too long is refused."""
    function = NAMES[name]
    for i, argument in enumerate(CASES[function]):
        if type(argument) is list and type(argument[0]) is list and len(argument) > 1:
            ragged = [*argument[:-1], [*argument[-1], F(1)]]
            with pytest.raises(ShapeError) as caught:
                function(*replaced(CASES[function], (i,), ragged))
            assert "equal length" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_vectors_must_fit(name):
    """A vector beside another vector or a matrix must have the length that fits."""
    function = NAMES[name]
    lists = [i for i, argument in enumerate(CASES[function]) if type(argument) is list]
    free = {"propagation", "counting"}
    if len(lists) < 2 or name.split(".")[0] in free or name == "matrix.gram_iteration_check":
        return
    for i in lists:
        argument = CASES[function][i]
        by_columns = name in COLUMNS_MUST_FIT or (name in INNER_SIZES_MUST_FIT and i == 0)
        longer = [[*row, F(1)] for row in argument] if by_columns else [*argument, argument[-1]]
        with pytest.raises(ShapeError):
            function(*replaced(CASES[function], (i,), longer))


NEGATIVE = [
    (vector.norm2_le, ([F(1)], F(-1)), "c"),
    (vector.norm2_sum_upper, ([F(1), F(-1)],), "bounds[1]"),
    (vector.norm2_smul_upper, (F(1), F(-1)), "c"),
    (vector.dot_upper, (F(1), F(-1)), "b"),
    (matrix.frob_le, ([[F(1)]], F(-1)), "c"),
    (matrix.spectral_check, ([[F(1)]], [], F(-1)), "c"),
    (propagation.chain_bound, (F(-1), []), "e0"),
    (propagation.chain_bound, (F(1), [(F(1), F(0)), (F(-2), F(0))]), "steps[1][0]"),
    (propagation.chain_bound, (F(1), [(F(1), F(-3))]), "steps[0][1]"),
    (propagation.telescope, (F(1), [F(-1)]), "rhos[0]"),
    (propagation.squared_error_identity, (F(-1), F(0), F(0)), "a_sq"),
    (propagation.argmax_is_stable, ([F(1)], F(-1)), "eps"),
    (compression.wanda_score, ([F(1)], [F(-1)]), "feature_sq[0]"),
    (compression.quantize_frob_sq_upper, ([F(-1)], 1), "steps[0]"),
    (peeling.ridge_loss, ([[F(1)]], [F(1)], F(-1), [F(1)]), "lam"),
    (peeling.witness_gap, (F(1), F(-1)), "witness"),
    (rounding.growth, (F(-1), 1), "unit"),
    (activations.gated_upper, (F(1), F(-1)), "c"),
    (certificate.matrix_check, ([[F(1)]], [], F(1), F(-1), F(1)), "radius"),
]


@pytest.mark.parametrize(("function", "arguments", "place"), NEGATIVE)
def test_sizes_must_not_be_negative(function, arguments, place):
    """A negative size is refused; the message and the attributes say which one."""
    with pytest.raises(DomainError) as caught:
        function(*arguments)
    assert f"{function.__name__} needs {place} >= 0, got -" in str(caught.value)
    assert caught.value.argument == place
    assert caught.value.value < 0


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (propagation.geometric_bound, (F(1), F(1), F(1), -1)),
        (propagation.geometric_bound, (F(1), F(1), F(1), 1.0)),
        (propagation.geometric_bound, (F(1), F(1), F(1), True)),
        (compression.score_mask, ([F(1)], 2)),
        (compression.pruned, ([F(1), F(2)], [0, 1])),
        (compression.round_nearest, (F(1), F(0))),
        (compression.clip, (F(1), F(2), F(1))),
        (compression.nearer_end, (F(3), F(0), F(1))),
        (counting.kth_largest, ([F(1)], 0)),
        (rounding.gamma, (F(1, 2), 2)),
        (rounding.in_format, (F(1), rounding.Format(0, 1, F(1)))),
        (activations.norm_radius_sq, (F(1), 0)),
        (peeling.flip_change, (F(1), F(0), F(1), F(1))),
    ],
)
def test_other_numbers_outside_the_domain_are_refused(function, arguments):
    """Counts that are no whole numbers, empty ranges and choices out of range are refused."""
    with pytest.raises(DomainError) as caught:
        function(*arguments)
    assert str(caught.value).startswith(f"{function.__name__} needs ")
    assert "; " in str(caught.value)


def test_wrong_shapes_say_which():
    """The message of a wrong shape names the arguments and their lengths."""
    with pytest.raises(ShapeError) as caught:
        vector.dot([1, 2], [1])
    assert str(caught.value) == "dot needs equal lengths, got x 2, y 1; align the arguments"
    with pytest.raises(ShapeError) as caught:
        matrix.mat_mul([[1, 2]], [[1]])
    assert str(caught.value) == (
        "mat_mul needs as many columns of a as rows of b, got 2 and 1; transpose or reorder the arguments"
    )
    with pytest.raises(ShapeError) as caught:
        propagation.chain_bound(1, [(1, 2, 3)])
    assert "needs (gain, delta) in steps[0], got 3 numbers" in str(caught.value)
    with pytest.raises(ShapeError) as caught:
        vector.norm1("12")
    assert "needs a sequence for x, got str" in str(caught.value)
    with pytest.raises(ShapeError):
        vector.norm1(3)


def test_every_export_is_there():
    """Each module of `peelverify.bounds` exports what it lists, and the package lists each module."""
    import peelverify.bounds as package

    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        module = getattr(package, name)
        assert sorted(module.__all__) == sorted(set(module.__all__))
        assert all(hasattr(module, member) for member in module.__all__)
    with pytest.raises(AttributeError):
        package.nothing  # noqa: B018
    assert set(package.__all__) <= set(dir(package))


def test_examples_of_the_docstrings_run():
    """Every docstring of the package has an example, and each gives what it says."""
    import doctest

    import peelverify.bounds as package

    for name in package.__all__:
        module = getattr(package, name)
        failed, tried = doctest.testmod(module)
        assert failed == 0 and tried > 0
    assert [f for f in CASES if ">>>" not in (f.__doc__ or "")] == []


def test_docstrings_have_their_parts():
    """Each function says Args, Returns, Raises, Guarantee and Example, in this order."""
    parts = ["Args:", "Returns:", "Raises:", "Guarantee:", "Not for:", "Source:", "Example:"]
    for function in CASES:
        lines = [line.strip() for line in (function.__doc__ or "").splitlines()]
        found = [part for part in parts if part in lines]
        assert [part for part in parts if part not in ("Not for:", "Source:") and part not in found] == []
        assert sorted(found, key=lines.index) == found


def test_sources_are_in_the_bibliography():
    """Each key in square brackets of a docstring is an entry of references.bib."""
    import re
    from pathlib import Path

    entries = set(re.findall(r"^@\w+\{(\w+),", (Path(__file__).parents[2] / "references.bib").read_text(), re.M))
    cited = {key for f in CASES for key in re.findall(r"\[([A-Z][A-Za-z]+\d{4})\]", f.__doc__ or "")}
    assert cited
    assert cited <= entries

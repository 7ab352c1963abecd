"""Hostile text made visible, and decimals rounded to the side they are claimed from."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peelverify.report.visible import below, nearest, perplexity_factor_upper, pretty, upwards, visible

positive = st.fractions(min_value=0, max_value=10**40)


@given(st.text(max_size=80))
@example("a\u202egnp.exe")
@example("\ud800")
@example("x" + "\u0301" * 50)
@example("a\u0000b\x1b[31m\u2028c\ufeff\u200b\U000e0041")
def test_visible_leaves_no_character_that_acts(text: str) -> None:
    """No control, format, bidirectional, invisible or unencodable character survives, and the line is one line."""
    shown = visible(text)
    shown.encode("utf-8")
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in shown)
    assert "\n" not in shown


@given(st.text(alphabet=st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=80))
def test_visible_keeps_ordinary_text(text: str) -> None:
    """Printable ASCII passes unchanged: escaping for a format is not its business."""
    assert visible(text) == text


def test_visible_shows_what_it_took_away() -> None:
    """A reversed file name is shown with its trick, so that two different names stay different."""
    assert visible("a\u202eb") == "a[U+202E]b"
    assert visible("שלום") == "שלום"


def test_visible_cuts_long_text() -> None:
    """A name of a megabyte cannot fill a page."""
    assert len(visible("x" * 10**6, 300)) == 301


@given(positive, st.integers(1, 20))
@example(Fraction(1, 3), 3)
@example(Fraction(0), 6)
@example(Fraction(10**6 - 1), 3)
@example(Fraction(1, 2**1000), 4)
def test_decimals_stay_on_their_side(value: Fraction, digits: int) -> None:
    """`upwards` is never below and `below` never above the exact value, and both are sharp."""
    up, down = Fraction(upwards(value, digits)), Fraction(below(value, digits))
    assert down <= value <= up
    assert up - down <= value * Fraction(10, 10**digits)
    assert abs(Fraction(nearest(value, digits)) - value) <= value * Fraction(5, 10**digits)


@given(st.fractions(min_value=0, max_value=50))
@example(Fraction(0))
def test_perplexity_factor_is_above_the_exponential(change: Fraction) -> None:
    """The factor is at least exp, computed here by its series with a remainder, and at most 1e-4 above it."""
    total, term = Fraction(0), Fraction(1)
    for n in range(1, 400):
        total += term
        term = Fraction(int(term * change / n * 2**400), 2**400)
    shown = Fraction(perplexity_factor_upper(change))
    assert total <= shown <= total * (1 + Fraction(1, 10**4))


def test_perplexity_factor_of_a_huge_change_is_infinite() -> None:
    """A change that no decimal holds is shown as infinity and not as an error."""
    assert perplexity_factor_upper(Fraction(10**9)) == "Infinity"
    assert pretty("Infinity") == "∞"


@pytest.mark.parametrize(
    ("text", "shown"), [("1.5e-05", "1.5×10⁻⁵"), ("1e+9", "10⁹"), ("-2.50", "−2.50"), ("0", "0")]
)
def test_pretty_typesets(text: str, shown: str) -> None:
    """Exponents become powers of ten and a hyphen in front becomes a minus sign."""
    assert pretty(text) == shown


@given(positive)
def test_pretty_keeps_the_value(value: Fraction) -> None:
    """Reading a typeset decimal back gives the number that was typeset."""
    assert read(pretty(upwards(value))) == Fraction(upwards(value))


def read(text: str) -> Fraction:
    """The value of a typeset decimal."""
    plain = text.replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    if "×10" in plain:
        plain = plain.replace("×10", "e")
    elif text.startswith("10") and text != "10" and not text[2:3].isdigit() and text[2:3] != ".":
        plain = "1e" + plain[2:]
    return Fraction(Decimal(plain))

"""Write exact numbers in the one spelling that the checker reads."""

from __future__ import annotations

from fractions import Fraction

from peelverify.certify.checker import round_down, round_up

__all__ = ["round_out", "spell"]


def spell(value: Fraction) -> str:
    """Write a dyadic number in lowest terms: ``0x<hex digits>p<exponent>``."""
    if value == 0:
        return "0x0p+0"
    top, exponent = abs(value.numerator), 1 - value.denominator.bit_length()
    low = (top & -top).bit_length() - 1
    return f"{'-' if value < 0 else ''}{top >> low:#x}p{exponent + low:+d}"


def round_out(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    """The interval with ends of at most 64 bits that contains ``[lo, hi]``."""
    return round_down(lo), round_up(hi)

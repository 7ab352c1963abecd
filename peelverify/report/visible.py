"""Make hostile text harmless without hiding it, and write exact numbers as decimals.

Names of models, files and tokens come from strangers. `visible` shows every character that could change
direction, layout or meaning by its code point instead of obeying it; escaping for HTML or LaTeX comes after.
"""

from __future__ import annotations

import decimal
import unicodedata
from fractions import Fraction

__all__ = ["below", "nearest", "perplexity_factor_upper", "pretty", "upwards", "visible"]

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_BLANK = {0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800, 0x034F}  # letters and marks that are drawn as nothing
_MARKS = 2  # combining marks allowed on one character


def visible(text: object, limit: int = 300) -> str:
    """One line of text in which every character can be seen.

    Control, format and bidirectional characters, lone surrogates, unassigned code points, invisible letters
    and piles of combining marks become ``[U+202E]``; white space becomes a space.

    Args:
        text: anything; ``str`` is applied.
        limit: longest result in characters, before the ellipsis.
    """
    raw = str(text)
    kept: list[str] = []
    marks = 0
    for char in raw[: limit + 1]:
        category = unicodedata.category(char)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if char in "\t\n\r\v\f" or category == "Zs":
            kept.append(" ")
        elif category in _HIDDEN or ord(char) in _BLANK or marks > _MARKS:
            kept.append(f"[U+{ord(char):04X}]")
        else:
            kept.append(char)
    line = "".join(kept)
    return line if len(raw) <= limit and len(line) <= 8 * limit else line[:limit] + "…"


def _divide(value: Fraction, digits: int, rounding: str) -> str:
    context = decimal.Context(prec=digits, rounding=rounding, Emin=-999_999, Emax=999_999)
    quotient = context.divide(decimal.Decimal(value.numerator), decimal.Decimal(value.denominator))
    if not quotient:
        return "0"
    quotient = quotient.quantize(decimal.Decimal(1).scaleb(quotient.adjusted() - digits + 1), context=context)
    return f"{quotient:f}" if -4 <= quotient.adjusted() < min(digits, 7) else f"{quotient:e}"


def upwards(value: Fraction, digits: int = 6) -> str:
    """Decimal text not below the value."""
    return _divide(value, digits, decimal.ROUND_CEILING)


def below(value: Fraction, digits: int = 6) -> str:
    """Decimal text not above the value."""
    return _divide(value, digits, decimal.ROUND_FLOOR)


def nearest(value: Fraction | float, digits: int = 4) -> str:
    """Decimal text nearest to the value: for measured numbers, which claim no side."""
    return _divide(Fraction(value), digits, decimal.ROUND_HALF_EVEN)


def perplexity_factor_upper(loss_change: Fraction, digits: int = 6) -> str:
    """Decimal text not below ``exp(loss_change)``: the factor by which the perplexity can grow or shrink.

    The decimal exponential is correctly rounded, so one step up from it is above the true value.
    """
    if loss_change > 10_000:
        return "Infinity"
    context = decimal.Context(prec=digits + 20, rounding=decimal.ROUND_CEILING)
    power = context.divide(decimal.Decimal(loss_change.numerator), decimal.Decimal(loss_change.denominator))
    return upwards(Fraction(context.next_plus(context.exp(power))), digits)


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def pretty(text: str) -> str:
    """Typeset a decimal: ``1.5e-05`` becomes ``1.5×10⁻⁵`` and a minus sign is a minus sign."""
    mantissa, _, exponent = text.lower().partition("e")
    mantissa = mantissa.replace("-", "−").replace("infinity", "∞")
    if not exponent:
        return mantissa
    power = str(int(exponent)).translate(_SUPERSCRIPT)
    return f"10{power}" if mantissa == "1" else f"{mantissa}×10{power}"

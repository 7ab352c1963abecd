"""Exceptions of peelverify: one tree, each class also deriving from the built-in that a caller expects.

A message reads ``<function> needs <condition>, got <value>; <what to do>``. The evidence travels as
attributes, so that a program never has to parse the sentence.
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "DomainError",
    "InputError",
    "InvariantError",
    "NonFiniteError",
    "NumericalError",
    "PeelverifyError",
    "ShapeError",
    "ToolchainError",
]


class PeelverifyError(Exception):
    """Base of every error that peelverify raises on purpose.

    Args:
        message: one line on what is wrong and what to do.
        **evidence: values that led to the error; each becomes an attribute.
    """

    def __init__(self, message: str, **evidence: object) -> None:
        super().__init__(message)
        self.evidence = evidence
        for name, value in evidence.items():
            setattr(self, name, value)


class InputError(PeelverifyError, ValueError):
    """The caller asked for something that cannot be computed as asked."""


class ShapeError(InputError):
    """Shapes of arrays, models or texts do not fit together."""


class NonFiniteError(InputError):
    """A NaN or an infinity where a finite number is needed."""


class DomainError(InputError):
    """A number outside the domain of a formula."""


class NumericalError(PeelverifyError, ArithmeticError):
    """A computation failed although its input was in the domain."""


class InvariantError(PeelverifyError, RuntimeError):
    """A proved inequality was seen to be false: a bug in the code or in the model of it."""


class ArtifactError(PeelverifyError, OSError):
    """A file is damaged, missing, foreign, or cannot be written."""

    def __str__(self) -> str:  # OSError would print an errno tuple
        return str(self.args[0]) if self.args else ""


class ToolchainError(PeelverifyError, RuntimeError):
    """Lean is missing, has the wrong version, or could not be installed."""

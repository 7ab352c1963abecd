"""Text that tries to become Lean. Each gives a value for the generator of examples, or a changed source."""

from __future__ import annotations

from tests.attacks.registry import attack


@attack("generator")
def name_that_ends_the_theorem():
    """A name that closes the statement and opens an axiom."""
    return "chainBound) = 0 := by trivial\naxiom evil : False\nexample : (chainBound"


@attack("generator")
def name_that_opens_a_comment():
    """A name that comments the rest away."""
    return "chainBound /-"


@attack("generator")
def name_in_other_brackets():
    """A name in the brackets that Lean allows around any text."""
    return "«axiom»"


@attack("generator")
def name_of_a_keyword():
    """A keyword as a part of a name."""
    return "Nat.axiom"


@attack("generator")
def name_with_a_line_feed():
    """A name with a line feed at its end, which some patterns overlook."""
    return "chainBound\n"


@attack("generator")
def name_of_native_evaluation():
    """The constant that lets compiled code decide in place of the kernel."""
    return "Lean.ofReduceBool) (chainBound"


@attack("generator")
def name_of_sorry():
    """The proof of anything."""
    return "sorry"


@attack("generator")
def name_that_is_no_text():
    """A list in place of a name."""
    return ["chainBound"]

"""Data: real text that ships with Python, and token windows cut from any text."""

from peelverify.data.text import builtin_text, read_text, split_text, windows

__all__ = ["builtin_text", "read_text", "split_text", "windows"]

"""Tokenizers: refused with one line and exit status 2, never 1, which would mean that a claim is false."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer

from peelverify.certify.pool import text_pool
from peelverify.cli import app as command
from peelverify.cli.app import main
from peelverify.data import windows
from peelverify.errors import ArtifactError
from peelverify.models import load_tokenizer
from tests.attacks.registry import attacks_of

TEXT = "x" * 40 + "a" * 5000 + "!" + "x" * 3000


@pytest.mark.parametrize("attack", attacks_of("on_tokenizers"), ids=lambda a: a.name)
def test_it_is_refused(attack, target, tmp_path: Path, timed, capsys) -> None:
    """By certify and verify, and by each function that cuts text."""
    bad, text = tmp_path / "model", tmp_path / "text.txt"
    shutil.copytree(target.original, bad)
    text.write_text(TEXT)
    attack.run(bad)
    with timed(attack):
        with pytest.raises(ArtifactError, match="tokenizer"):
            windows(load_tokenizer(bad), TEXT, length=16)
        with pytest.raises(ArtifactError, match="tokenizer"):
            text_pool(load_tokenizer(bad), [text], length=16)
    pair = [str(bad), str(target.compressed)]
    for words in (
        ["certify", *pair, "--text", str(text), "--window", "16", "--tokens", "64", "--out", str(tmp_path / "c.json")],
        ["verify", str(target.certificate), "--original", pair[0], "--compressed", pair[1], "--text", str(text)],
    ):
        capsys.readouterr()
        assert main(words) == 2, words
        err = capsys.readouterr().err
        assert sum(line.startswith("error: ") for line in err.splitlines()) == 1, err
        assert "internal error" not in err and "Traceback" not in err
    assert not (tmp_path / "c.json").exists()


class Panic(BaseException):
    """As compiled libraries raise it: below BaseException, not Exception."""


def test_a_panic_anywhere_is_not_a_refutation(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Exit status 2 and one line; Ctrl-C and exits stay what they are."""
    def stop(kind: type[BaseException]) -> int:
        def run(*args, **kwargs):
            raise kind("stop") if kind is not SystemExit else SystemExit(7)

        monkeypatch.setattr(command, "app", run)
        return main(["doctor"])

    assert isinstance(command.app, typer.Typer)
    monkeypatch.delenv("PEELVERIFY_DEBUG", raising=False)
    assert stop(Panic) == 2
    assert capsys.readouterr().err.startswith("error: internal error (Panic: stop)")
    assert stop(KeyboardInterrupt) == 130
    assert stop(SystemExit) == 7

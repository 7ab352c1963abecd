"""Bad input on the command line: one clear line, the documented exit status, no half-written output."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from peelverify.cli.app import COMMANDS, main


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command."""
    capsys.readouterr()
    code = main([str(w) for w in words])
    out = capsys.readouterr()
    return code, out.out, out.err


def errors(text: str) -> list[str]:
    """The lines of stderr that report an error."""
    return [line for line in text.splitlines() if line.startswith("error: ")]


def damage(kind: str, source: Path, target: Path) -> Path:
    """A copy of a model directory with one thing wrong."""
    if kind == "not a directory":
        target.write_text("hello")
        return target
    if kind == "missing":
        return target / "absent" / "x"
    if kind == "empty folder":
        target.mkdir()
        return target
    shutil.copytree(source, target)
    weights, config = target / "model.safetensors", target / "config.json"
    settings = json.loads(config.read_text())
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "no weights":
        weights.unlink()
    elif kind == "pickle only":
        weights.unlink()
        (target / "pytorch_model.bin").write_bytes(b"x")
    elif kind == "architecture":
        config.write_text(json.dumps(settings | {"model_type": "mamba"}))
    elif kind == "remote code":
        config.write_text(json.dumps(settings | {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}))
    elif kind == "no tokenizer":
        (target / "tokenizer.json").unlink()
        (target / "tokenizer_config.json").unlink()
    else:
        tensors = load_file(weights)
        name = "model.layers.0.mlp.up_proj.weight"
        if kind == "nan":
            tensors[name].view(-1)[0] = float("nan")
        elif kind == "infinite":
            tensors[name].view(-1)[0] = float("inf")
        elif kind == "shape":
            tensors[name] = torch.ones(3, 3)
        elif kind == "lacking":
            del tensors[name]
        elif kind == "surplus":
            tensors["model.layers.7.mlp.up_proj.weight"] = torch.ones(3)
        save_file(tensors, weights, metadata={"format": "pt"})
    return target


KINDS = {
    "not a directory": "a model is a directory", "missing": "no model directory", "empty folder": "no config.json",
    "truncated": "damaged", "no weights": "no model.safetensors", "pickle only": "pickle",
    "architecture": "llama", "remote code": "remote code", "no tokenizer": "no tokenizer", "nan": "up_proj",
    "infinite": "up_proj", "shape": "cannot be loaded|misshapen", "lacking": "lacks weights", "surplus": "surplus",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_model_is_one_line_and_exit_2(kind: str, model_dirs, tmp_path: Path, capsys) -> None:
    """Every command that reads a model refuses a bad one the same way and leaves nothing behind."""
    import re

    bad = damage(kind, model_dirs["llama"], tmp_path / "bad")
    out = tmp_path / "out"
    for words in (
        ("rho", bad, "--tokens", 64, "--window", 32, "--out", out),
        ("certify", bad, model_dirs["llama"], "--tokens", 64, "--window", 32, "--out", out, "--no-lean"),
        ("compress", bad, "--method", "rtn", "--out", out),
        ("check", bad, "--out", out, "--no-lean", "--tokens", 64, "--window", 32),
        ("peel", bad, "--tokens", 64, "--window", 32, "--out", out),
    ):
        code, stdout, stderr = run(capsys, *words)
        assert code == 2, (words[0], stderr)
        assert stdout == "", words[0]
        assert len(errors(stderr)) == 1, (words[0], stderr)
        assert re.search(KINDS[kind], errors(stderr)[0]), (words[0], stderr)
        assert "Traceback" not in stderr
        assert not out.exists() or not any(out.iterdir()), words[0]
        assert not [p for p in tmp_path.iterdir() if "partial" in p.name], words[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"   \n", "empty"), (b"a\0b" * 500, "binary"), (b"\xff\xfe" * 500, "UTF-8"),
     (b"short", "longer text"), (None, "cannot be read")],
)
def test_a_bad_text_is_one_line_and_exit_2(content, message, model_dirs, tmp_path: Path, capsys) -> None:
    """Empty, binary, foreign, short and missing texts are refused before the model runs."""
    text, out = tmp_path / "text.txt", tmp_path / "out.json"
    if content is not None:
        text.write_bytes(content)
    model = model_dirs["llama"]
    for words in (
        ("certify", model, model, "--text", text, "--out", out, "--no-lean"),
        ("rho", model, "--text", text),
        ("check", model, "--text", text, "--out", tmp_path / "folder", "--no-lean"),
    ):
        code, stdout, stderr = run(capsys, *words)
        assert (code, stdout, len(errors(stderr))) == (2, "", 1), stderr
        assert message in errors(stderr)[0]
    assert {p.name for p in tmp_path.iterdir()} <= {"text.txt"}


def test_models_that_do_not_match_are_named(model_dirs, tmp_path: Path, capsys) -> None:
    """Two families, or fewer blocks without a record, cannot be certified."""
    code, _, stderr = run(
        capsys, "certify", model_dirs["llama"], model_dirs["gpt2"], "--tokens", 64, "--window", 32, "--no-lean",
        "--out", tmp_path / "x.cert.json",
    )
    assert code == 2
    assert "one family" in errors(stderr)[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["certify", "rho", "compress", "check", "demo", "peel"])
def test_an_output_that_cannot_be_written(command: str, model_dirs, tmp_path: Path, capsys) -> None:
    """A folder below a file cannot be made: said before the long work starts."""
    blocked = tmp_path / "file"
    blocked.write_text("keep me")
    out = blocked / "out"
    model = model_dirs["llama"]
    words = {
        "certify": ("certify", model, model, "--no-lean", "--out", out), "rho": ("rho", model, "--out", out),
        "compress": ("compress", model, "--method", "rtn", "--out", out),
        "check": ("check", model, "--no-lean", "--out", out, "--tokens", 64, "--window", 32),
        "demo": ("demo", "--out", out), "peel": ("peel", model, "--out", out, "--tokens", 64, "--window", 32),
    }[command]
    code, stdout, stderr = run(capsys, *words)
    assert (code, stdout, len(errors(stderr))) == (2, "", 1), stderr
    assert blocked.read_text() == "keep me"


@pytest.mark.parametrize("command", ["certify", "rho", "compress", "check", "demo"])
def test_existing_results_are_never_overwritten(command: str, model_dirs, tmp_path: Path, capsys) -> None:
    """An output that exists is refused and stays as it was."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep me")
    model = model_dirs["llama"]
    words = {
        "certify": ("certify", model, model, "--no-lean", "--out", out), "rho": ("rho", model, "--out", out),
        "compress": ("compress", model, "--method", "rtn", "--out", out),
        "check": ("check", model, "--no-lean", "--out", out, "--tokens", 64, "--window", 32),
        "demo": ("demo", "--out", out),
    }[command]
    code, _, stderr = run(capsys, *words)
    assert code == 2
    assert "exists already" in errors(stderr)[0]
    assert [p.name for p in out.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("content", "code"),
    [("", 2), ("not json", 2), ("[]", 2), ('{"schema": "peelverify.certificate/2"}', 3),
     ('{"schema": "peelverify.certificate/1"}', 1)],
)
def test_a_damaged_certificate(content: str, code: int, tmp_path: Path, capsys) -> None:
    """Unreadable is 2, a newer format 3, a certificate without its numbers is refuted."""
    path = tmp_path / "x.cert.json"
    path.write_text(content)
    found, stdout, stderr = run(capsys, "verify", path, "--level", "arithmetic")
    assert found == code
    assert len((stdout if code != 2 else stderr).strip().splitlines()) >= 1
    assert "Traceback" not in stderr


def test_a_missing_certificate(tmp_path: Path, capsys) -> None:
    """A path that does not exist is named."""
    code, _, stderr = run(capsys, "verify", tmp_path / "none.json")
    assert code == 2
    assert "none.json" in errors(stderr)[0]


@pytest.mark.parametrize(
    "words",
    [("verify",), ("nonsense",), ("certify", "a"), ("rho", "x", "--draws", "many"), ("verify", "x", "--level", "deep"),
     ("compress", "x", "--method", "magic", "--out", "y"), ("verify", "x", "--level", "recompute"),
     ("certify", "a", "b", "--kept", "one"), ("--nonsense",)],
)
def test_wrong_usage_is_exit_2(words, capsys) -> None:
    """Missing, unknown and ill-typed arguments give one error line and exit 2."""
    code, stdout, stderr = run(capsys, *words)
    assert (code, stdout, len(errors(stderr))) == (2, "", 1), stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example(command: str, capsys) -> None:
    """Each command explains itself and shows one call that works."""
    code, stdout, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"Example: peelverify {command}" in " ".join(stdout.split())


def test_results_go_to_stdout_and_news_to_stderr(model_dirs, tmp_path: Path, capsys) -> None:
    """With --json stdout is one JSON object with a schema and nothing else."""
    code, stdout, stderr = run(
        capsys, "certify", model_dirs["llama"], model_dirs["llama"], "--tokens", 64, "--window", 32, "--no-lean",
        "--json", "--out", tmp_path / "x.cert.json",
    )
    assert code == 0, stderr
    assert json.loads(stdout)["schema"] == "peelverify.certify/1"
    assert stderr.strip()


def test_terminal_escapes_in_names_are_not_printed(model_dirs, tmp_path: Path, capsys) -> None:
    """A path with escape codes or bidirectional marks reaches the terminal without them."""
    code, stdout, stderr = run(capsys, "rho", tmp_path / "a\x1b[31mb\u202ec")
    assert code == 2
    assert "\x1b" not in stdout + stderr
    assert "\u202e" not in stdout + stderr


def test_a_read_only_folder_is_refused(model_dirs, tmp_path: Path, capsys) -> None:
    """Without permission to write nothing is started (root may write anywhere, so it is told apart)."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        locked = Path("/proc/sys")  # not even root makes files here
    code, _, stderr = run(
        capsys, "certify", model_dirs["llama"], model_dirs["llama"], "--no-lean", "--tokens", 64, "--window", 32,
        "--out", locked / "x.json",
    )
    assert code == 2, stderr
    assert len(errors(stderr)) == 1

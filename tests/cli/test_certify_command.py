"""``peelverify certify`` on real models: text as a pool, dtypes, deletion, notes, and clear errors."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from peelverify.certify import Certificate, checker
from peelverify.cli.app import main
from peelverify.models import ModelView, load_model, load_tokenizer, save_model
from tests.families import small_family

SMALL = ["--tokens", "128", "--window", "16", "--no-lean", "--batch", "4"]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> list[Path]:
    """Two text files."""
    root = tmp_path_factory.mktemp("text")
    made = []
    for name, line in (("one.txt", "Errors of a block pass on to the next. "), ("two.txt", "Few of them fade. ")):
        made.append(root / name)
        made[-1].write_text(line * 40, encoding="utf-8")
    return made


def run(original: Path, compressed: Path, out: Path, *options: str) -> int:
    """The command with small sizes."""
    return main(["certify", str(original), str(compressed), "--out", str(out), *SMALL, *options])


def test_windows_are_drawn_from_all_texts(model_dirs, noisy_dirs, text, tmp_path: Path, capsys) -> None:
    """Two --text files make the pool; the result names all four parts, each with its word."""
    out = tmp_path / "a.cert.json"
    assert run(model_dirs["llama"], noisy_dirs["llama"], out, "--text", str(text[0]), "--text", str(text[1])) == 0
    printed = capsys.readouterr().out
    for words in ("certified  logits", "certified  chain", "certified  change of loss", "certified  perplexity factor",
                  "certified  KL", "certified  for every input", "certified  unseen window", "measured   the text",
                  "measured   these bounds are", "compared   stored float32 values", "certified  the error by blocks",
                  "lean       not asked", "at the 120 positions that have a next token"):
        assert words in printed, words
    rows = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert "embedding" in rows
    for name in ("block 0", "block 1", "head"):  # the parts of the squared error add up to it
        assert sum(map(float, re.findall(r"(-?[\d.]+) %", rows[name])[1:])) == pytest.approx(100, abs=0.02)
    subject = Certificate.load(out).document["subject"]
    assert set(subject["pool"]["files"]) == {"one.txt", "two.txt"}
    assert subject["tokens"]["shape"] == [8, 16]
    assert checker.main(["checker.py", str(out)]) == 0


def test_the_json_result_has_units_and_enclosures(model_dirs, noisy_dirs, tmp_path: Path, capsys) -> None:
    """Numbers are decimal strings with their side in the key; the mean lies in its enclosure."""
    out = tmp_path / "a.cert.json"
    assert run(model_dirs["gpt2"], noisy_dirs["gpt2"], out, "--json", "--no-every-input") == 0
    found = json.loads(capsys.readouterr().out)
    low, high = map(float, found["loss_change_mean_enclosure_nats_per_token"])
    assert low <= high <= low + 1e-9
    assert float(found["logit_error_largest_token_upper"]) <= float(found["logit_error_frobenius_upper"])
    assert found["unseen"][0]["probability_upper"] == [1, 9]
    assert found["attention"] == "sdpa" and found["states"] == "stored float32 values of both models"
    assert {"blocks", "reruns", "read", "open_and_hash"} == set(found["seconds"])
    certificate = Certificate.load(out)
    assert certificate.document["every_input"] is None and found["lean"] is None
    assert [block["name"] for block in found["blocks"]][-1] == "head"
    shares = [float(found["embedding_chain_share_upper"])] + [float(b["chain_share_upper"]) for b in found["blocks"]]
    assert sum(shares) == pytest.approx(float(certificate.chain), rel=1e-12)
    for block in found["blocks"]:
        e, a, d, inner = (sum(map(float, block[f"{key}_enclosure"])) / 2
                          for key in ("error", "propagated", "introduced", "inner"))
        assert e**2 == pytest.approx(a**2 + 2 * inner + d**2, rel=1e-9)


def test_two_copies_are_certified_on_the_same_tokens(model_dirs, noisy_dirs, text, tmp_path: Path, capsys) -> None:
    """Draws depend on the models, so `diff` needs --tokens-of; verify then recomputes from the file alone."""
    first, second = tmp_path / "a.cert.json", tmp_path / "b.cert.json"
    original, options = model_dirs["llama"], ("--no-every-input", "--text", str(text[0]))
    assert run(original, noisy_dirs["llama"], first, *options) == 0
    assert run(original, original, second, *options) == 0
    assert main(["diff", str(first), str(second)]) == 3
    assert "--tokens-of" in capsys.readouterr().out
    second.unlink()
    assert run(original, original, second, "--no-every-input", "--tokens-of", str(first)) == 0
    assert Certificate.load(second).document["unseen"] is None
    assert main(["diff", str(first), str(second)]) == 0
    words = ["verify", str(second), "--original", str(original), "--compressed", str(original)]
    assert main([*words, "--level", "recompute", "--require", "recompute"]) == 0


def test_tokens_of_what_has_none(model_dirs, text, tmp_path: Path, capsys) -> None:
    """A damaged certificate, one with the hash of its tokens only, another file, and both sources at once."""
    model, good = model_dirs["llama"], tmp_path / "a.cert.json"
    assert run(model, model, good, "--no-every-input", "--tokens-external") == 0
    bad = tmp_path / "bad.json"
    bad.write_text(good.read_text().replace('"positions": 128', '"positions": 129'))
    for path, words in ((good, "with their hash"), (bad, "certificate that holds"), (text[0], "not a certificate")):
        assert run(model, model, tmp_path / "b.cert.json", "--tokens-of", str(path)) == 2
        assert words in capsys.readouterr().err
    assert run(model, model, tmp_path / "b.cert.json", "--tokens-of", str(good), "--text", str(text[0])) == 2
    assert not (tmp_path / "b.cert.json").exists()


def test_gemma_2_needs_no_option(ids, tmp_path: Path, capsys) -> None:
    """The attention that it supports is chosen and named; asking for another is one clear line."""
    view = small_family("gemma2", ids, steps=2)
    from peelverify.models.small import byte_tokenizer

    path = save_model(view, tmp_path / "gemma", tokenizer=byte_tokenizer())
    assert run(path, path, tmp_path / "a.cert.json", "--no-every-input") == 0
    seen = capsys.readouterr()
    assert "attention: eager, because gemma2" in seen.err and "attention eager" in seen.out
    assert run(path, path, tmp_path / "b.cert.json", "--attention", "sdpa") == 2
    err = capsys.readouterr().err
    assert "eager" in err and "Traceback" not in err
    assert not (tmp_path / "b.cert.json").exists()


def test_another_dtype_of_the_compressed_model(model_dirs, tmp_path: Path, capsys) -> None:
    """The states that are compared are named."""
    path = model_dirs["qwen2"]
    assert run(path, path, tmp_path / "a.cert.json", "--compressed-dtype", "bfloat16", "--no-every-input") == 0
    assert "stored float32 values of the original and stored bfloat16 values" in capsys.readouterr().out


def test_kept_blocks_of_a_foreign_tool(model_dirs, tmp_path: Path, capsys) -> None:
    """Without a record --kept says which blocks are left; without either the error asks for it."""
    view = load_model(model_dirs["llama"])
    short = copy.deepcopy(view.model)
    del short.model.layers[1]
    short.config.num_hidden_layers = 2
    for index, block in enumerate(short.model.layers):
        block.self_attn.layer_idx = index
    path = save_model(ModelView(short), tmp_path / "short", tokenizer=load_tokenizer(model_dirs["llama"]))
    assert run(model_dirs["llama"], path, tmp_path / "a.cert.json") == 2
    assert "--kept" in capsys.readouterr().err
    assert run(model_dirs["llama"], path, tmp_path / "a.cert.json", "--kept", "0,2") == 0
    for bad in ("0", "0,1,2", "2,0", "0,7", "x"):
        assert run(model_dirs["llama"], path, tmp_path / "b.cert.json", "--kept", bad) == 2
        err = capsys.readouterr().err
        assert err.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in err


@pytest.mark.parametrize(("options", "words"), [
    (["--text", "missing.txt"], "cannot be read"),
    (["--tokens", "1"], "--tokens needs at least 2"),
    (["--tokens", "100000000"], "give a longer text, or fewer tokens"),
    (["--dtype", "int4"], "dtype"),
    (["--compressed-dtype", "int4"], "dtype"),
    (["--attention", "flash"], "'auto', 'sdpa' or 'eager'"),
])
def test_bad_options_are_one_clear_line(options, words, model_dirs, noisy_dirs, tmp_path: Path, capsys) -> None:
    """Exit 2, what to do, no traceback, no file."""
    assert run(model_dirs["llama"], noisy_dirs["llama"], tmp_path / "a.cert.json", *options) == 2
    err = capsys.readouterr().err
    assert words in err and "Traceback" not in err
    assert not (tmp_path / "a.cert.json").exists()


def test_an_existing_certificate_is_never_overwritten(model_dirs, noisy_dirs, tmp_path: Path, capsys) -> None:
    """The output is looked at before any model is read."""
    out = tmp_path / "a.cert.json"
    out.write_text("mine")
    assert run(model_dirs["llama"], noisy_dirs["llama"], out) == 2
    assert "exists already" in capsys.readouterr().err and out.read_text() == "mine"

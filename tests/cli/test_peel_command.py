"""``peelverify peel``: reused and few-bit chains, the recipe, the page with its pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from peelverify.cli.app import main
from peelverify.data import builtin_text, windows
from peelverify.models import ModelView, load_model
from peelverify.models.small import byte_tokenizer
from peelverify.peel.run import thin
from peelverify.peel.ste import few_bits

SMALL = ("--tokens", "256", "--window", "32", "--maps", "direct", "--budget", "5")


def command(*args: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a run in this process."""
    status = main(["peel", *(str(a) for a in args)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def page(out: Path) -> str:
    """Text of the report of a run."""
    return (out / "report" / "index.html").read_text(encoding="utf-8")


def pictures(text: str) -> list[str]:
    """Captions of the drawings in a page."""
    return re.findall(r"<figcaption>(?:<[^>]*>)*([^<]+)", text)


def test_reused_and_few_bit_chains_stand_apart(model_dirs, tmp_path: Path, capsys) -> None:
    """Both are in the table, the file and the page; the cloud is the same as without them; a series goes on."""
    model, out, plain = model_dirs["llama"], tmp_path / "out", tmp_path / "plain"
    more = ("--reuse", "--bits", "ternary", "--substitute", "--report")
    status, text, news = command(model, *SMALL, *more, "--out", out, capsys=capsys)
    assert status == 0 and "index.html" in news
    assert "Chains made from the model's own blocks" in text and "Chains with ternary block matrices" in text
    point = json.loads((out / "peel.json").read_text())["checkpoints"][0]
    reuse, bits = point["reuse"], point["bits"]
    assert reuse["best_map"] == [3, 3, 3] and f"{reuse['best']:.4f}" in text
    assert [m["loss"] for m in reuse["maps"] if m["map"] == [1, 2, 3]] == [reuse["loss_nats_per_token"]]
    assert bits["kind"] == "ternary" and f"{bits['distortion_of_best_map']:+.4f}" in text
    for row in bits["maps"]:
        assert row["distortion"] == pytest.approx(row["refined"] - row["float"])
    assert bits["best_refined"] == min(row["refined"] for row in bits["maps"])
    assert command(model, *SMALL, "--out", plain, capsys=capsys)[0] == 0
    alone = json.loads((plain / "peel.json").read_text())["checkpoints"][0]
    assert all(point[k] == alone[k] for k in ("loss", "yes0", "best", "best_map", "refit", "status"))
    shown = page(out)
    assert any("cloud" in c.lower() for c in pictures(shown)), pictures(shown)
    assert any("witness" in c.lower() for c in pictures(shown)), "the heat map of the maps"
    assert "Own blocks" in shown and "Chains with ternary block matrices" in shown
    assert shown.count("Each block solved again on its own") >= 2, "a picture and a table"
    assert f"{point['substitution']['blocks'][0]['gain_nats_per_token']:.3g}"[:4] in shown and "<script" not in shown
    assert command(model, *SMALL, "--out", plain, "--resume", "--reuse", capsys=capsys)[0] == 2
    assert command(model, *SMALL, "--out", plain, "--resume", "--report", capsys=capsys)[0] == 0
    assert "Own blocks" not in page(plain)


def test_saved_witnesses_reload_to_the_losses_in_the_file(model_dirs, tmp_path: Path, capsys) -> None:
    """Plain transformers finds the best YES loss and the gain of the block, on the windows of the command."""
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    out, witness, again = tmp_path / "out", tmp_path / "witness", tmp_path / "again"
    status, *_ = command(
        model_dirs["llama"], *SMALL, "--substitute", "--out", out, "--save-witness", witness, "--save-substitute",
        again, capsys=capsys,
    )
    assert status == 0
    point = json.loads((out / "peel.json").read_text())["checkpoints"][0]
    held = thin(windows(byte_tokenizer(), builtin_text(), length=32), 8)[1]

    def loss(path: Path, ids: torch.Tensor) -> float:
        model = AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32).eval()
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].double()
        return float(functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))

    assert loss(witness, held) == pytest.approx(point["best"], rel=1e-6)
    assert loss(model_dirs["llama"], held) == pytest.approx(point["loss"], rel=1e-6)
    best = max(point["substitution"]["blocks"], key=lambda b: b["gain_nats_per_token"])
    gain = loss(model_dirs["llama"], held[1::2]) - loss(again, held[1::2])
    assert gain == pytest.approx(best["gain_nats_per_token"], abs=2e-6)
    assert best["low"] <= gain <= best["high"]


def test_recipe_trains_in_few_bits_and_quantises_the_twin(tmp_path: Path, capsys) -> None:
    """Three directories; both peeled ones lie on the grid; the file compares them with few-bit chains."""
    out = tmp_path / "few"
    status, text, _ = command(
        "--recipe", "ternary", "--family", "gpt2", "--steps", 4, "--out", out, *SMALL, capsys=capsys
    )
    assert status == 0, text
    points = json.loads((out / "peel.json").read_text())["checkpoints"]
    assert [p["name"] for p in points] == ["quantised-ternary", "trained-ternary"]
    assert all(p["bits"]["kind"] == "ternary" for p in points)
    for name, on_grid in (("quantised-ternary", True), ("trained-ternary", True), ("float", False)):
        view = load_model(out / name)
        weight = ModelView.weight(view.linears(0)[view.family.mlp_out])
        assert (len(weight.abs().unique()) <= 2) == on_grid, name
    twin, quantised = load_model(out / "float"), load_model(out / "quantised-ternary")
    theirs = ModelView.weight(quantised.linears(1)[quantised.family.mlp_out])
    assert torch.equal(few_bits(ModelView.weight(twin.linears(1)[twin.family.mlp_out]), "ternary"), theirs)


def test_the_cloud_of_digits_is_in_the_report(tmp_path: Path, capsys) -> None:
    """Real digits with the published targets: cloud and heat map of all sixteen maps in the page."""
    out = tmp_path / "digits"
    status, text, _ = command("--problem", "digits", "--epochs", 1, "--out", out, "--report", capsys=capsys)
    assert status == 0 and "epoch 1" in text
    shown = page(out)
    assert len([c for c in pictures(shown) if "cloud" in c.lower() or "witness" in c.lower()]) == 2, pictures(shown)
    assert "1-2-3-4-5" in shown and "squared error per sample" in shown
    assert (out / "cloud.png").read_bytes().startswith(b"\x89PNG")
    point = json.loads((out / "peel.json").read_text())["checkpoints"][-1]
    assert len(point["per_layer_yes0"]) == len(point["per_layer_model"]) == 5
    assert "YES-0 layer by layer" in "".join(pictures(shown))
    assert all(f"{v:.6g}" in shown for v in (*point["per_layer_yes0"], *point["per_layer_model"]))
    assert (out / "layers.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--problem", "digits", "--reuse"), "--reuse"),
        (("--problem", "digits", "--bits", "binary"), "--bits"),
        (("--recipe", "ternary"), "--out"),
        (("--recipe", "int4", "--out", "{out}"), "ternary"),
        (("--recipe", "ternary", "--bits", "binary", "--out", "{out}"), "one kind"),
        (("--recipe", "ternary", "--family", "bert", "--out", "{out}"), "llama"),
        (("--recipe", "ternary", "--maps", "9,9", "--out", "{out}"), "map"),
        (("{model}", "--report"), "--out"),
        (("{model}", "--bits", "int4"), "ternary"),
    ],
)
def test_wrong_combinations_are_refused_early(args, words, model_dirs, tmp_path: Path, capsys) -> None:
    """Exit 2 with a sentence, before anything is trained or written."""
    filled = [a.format(out=tmp_path / "out", model=model_dirs["llama"]) for a in args]
    status, out, news = command(*filled, *SMALL[:4], capsys=capsys)
    assert status == 2 and not out and words in news
    assert not (tmp_path / "out").exists()

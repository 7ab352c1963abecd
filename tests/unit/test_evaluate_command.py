"""``peelverify evaluate``: protocol, figures, speed, memory; task scores with a stand-in for lm-eval."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import types
from pathlib import Path

import pytest
import torch

from peelverify.cli.app import main
from peelverify.compress import delete_layers, quantize_model
from peelverify.compress.record import weight_digests
from peelverify.errors import ArtifactError, DomainError, InputError, ToolchainError
from peelverify.evaluate import divergence, memory, perplexity, task_scores
from peelverify.models import load_model, load_tokenizer, save_model

FAST = ("--tokens", "256", "--window", "64", "--text", os.__file__)


@pytest.fixture(scope="module")
def pair(model_dirs, tmp_path_factory):
    """A trained Llama and the same without its second block, as directories."""
    view = load_model(model_dirs["llama"])
    small = save_model(
        delete_layers(view, [1]), tmp_path_factory.mktemp("pair") / "small",
        tokenizer=load_tokenizer(model_dirs["llama"]),
    )
    return model_dirs["llama"], small


def run(capsys, *words):
    """Standard output of the command."""
    assert main(["evaluate", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_figures_stand_under_their_protocol(pair, tmp_path, capsys):
    """Text, token ids and weights by hash, windows and stride, and the figures of the library."""
    out = tmp_path / "report"
    data = json.loads(run(capsys, *pair, *FAST, "--repeats", 30, "--out", out, "--json"))
    assert data == json.loads((out / "evaluation.json").read_text())
    protocol = data["protocol"]
    assert protocol["windows"] == 4 and protocol["stride_tokens"] == protocol["window_tokens"] == 64
    assert protocol["scored_tokens"] == 4 * 63 and protocol["dtype"] == "float32"
    assert protocol["text_sha256"] == hashlib.sha256(Path(os.__file__).read_bytes()).hexdigest()
    assert protocol["weights_sha256"] == [weight_digests(p) for p in pair]
    from peelverify.cli.inputs import text_windows

    ids = text_windows(pair[0], os.__file__, tokens=256, window=64)
    views = [load_model(p) for p in pair]
    assert [p["loss_nats_per_token"] for p in data["perplexity"]] == [perplexity(v, ids).loss for v in views]
    effect = divergence(*views, ids)
    assert data["divergence"]["kl_nats_per_token"] == effect.kl
    assert data["divergence"]["same_top_standard_error_fraction"] == effect.same_top_standard_error
    assert len(data["speed"]["original_seconds"]) == 30
    assert data["speed"]["ideal_speedup_ratio"] == 1.5
    assert data["memory"] == [memory(v, ids) for v in views]


def test_text_names_errors_percentiles_and_hashes(pair, capsys):
    """What a person reads holds the protocol, KL with its error and percentiles, and the ideal of the timing."""
    text = run(capsys, *pair, *FAST, "--repeats", 4)
    for part in ("stride 64", "252 tokens scored", "token ids sha256", "mean KL", " ± ", "99.9%", "same top token",
                 "ideal by number of blocks 1.500", "quartiles", "weights of the second model"):
        assert part in text, part
    alone = run(capsys, pair[0], *FAST)
    assert "mean KL" not in alone and "times as fast" not in alone


def test_memory_is_counted(pair, ids):
    """Parameters by size, and a cache of keys and values whose size follows from the config."""
    for path, blocks in zip(pair, (3, 2), strict=True):
        view = load_model(path)
        found = memory(view, ids)
        assert found["parameter_bytes"] == sum(4 * p.numel() for p in view.model.parameters())
        c = view.config
        assert found["cache_bytes_per_token"] == 2 * blocks * c.num_key_value_heads * c.head_dim * 4
        logits = ids.shape[1] * c.vocab_size * 4
        assert found["peak_bytes"] >= found["parameter_bytes"] + logits + ids.shape[1] * found["cache_bytes_per_token"]
        assert found["peak_bytes"] < found["parameter_bytes"] + 4 * logits
        assert memory(view, ids[:, :16])["peak_bytes"] < found["peak_bytes"]


def test_the_peak_counts_what_is_held_at_once():
    """Four tensors of a MiB, of which three are held together; a parameter and its views cost nothing more."""
    from peelverify.evaluate.clock import _Peak

    linear = torch.nn.Linear(512, 512, bias=False)
    with torch.no_grad(), _Peak(linear) as counted:
        first = torch.zeros(512, 512)
        first = linear.weight.t() @ first  # the zeros are let go after the product
        total = first + first.exp()
    assert (counted.largest, counted.held) == (3 << 20, 2 << 20)
    del first, total
    assert counted.held == 0


def test_components_have_errors_not_ratios(pair, capsys):
    """One row a kind of matrix, with the error of the difference, as the library gives them."""
    from peelverify.cli.inputs import text_windows
    from peelverify.compress import component_sensitivity, round_to_nearest

    data = json.loads(run(capsys, pair[0], *FAST, "--components", 3, "--json"))["components"]
    view, ids = load_model(pair[0]), text_windows(pair[0], os.__file__, tokens=256, window=64)
    wanted = component_sensitivity(view, ids, lambda rows: round_to_nearest(rows, 3).weight)
    assert [r["component"] for r in data["rows"]] == list(view.linears(0)) == [r.component for r in wanted]
    assert [r["delta_loss_nats_per_token"] for r in data["rows"]] == [r.effect.delta_loss for r in wanted]
    text = run(capsys, pair[0], *FAST, "--components", 3)
    assert "standard error" in text and "mlp.up_proj" in text and "ratio" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--components", "1"], "--components"),
        (["--repeats", "3"], "--repeats"),
        (["--limit", "5"], "--tasks"),
        (["--tasks", "x", "--limit", "0"], "--limit"),
        (["--tokens", "1"], "--tokens"),
    ],
)
def test_bad_calls_are_refused(pair, options, message, capsys):
    """One line that names the option."""
    assert main(["evaluate", str(pair[0]), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def stand_in(monkeypatch):
    """A package in place of lm-eval that scores by the model's own logits and remembers how it was called."""
    calls = []
    package = types.ModuleType("lm_eval")
    huggingface = types.ModuleType("lm_eval.models.huggingface")
    tasks = types.ModuleType("lm_eval.tasks")

    class HFLM:
        def __init__(self, pretrained, tokenizer, batch_size, prefix_token_id):
            self.model, self.tokenizer, self.batch_size = pretrained, tokenizer, batch_size
            assert prefix_token_id == tokenizer("\n").input_ids[0]  # the byte tokenizer has no special tokens

    class TaskManager:
        def __init__(self, include_path=None):
            self.all_tasks = ["mine"]
            self.include_path = include_path

    def simple_evaluate(model, tasks, limit, task_manager, **options):
        calls.append({"tasks": tasks, "limit": limit, "include_path": task_manager.include_path})
        if limit == 99:
            raise ConnectionError("no data set here")
        ids = torch.tensor([model.tokenizer("def").input_ids])
        with torch.no_grad():
            score = float(torch.sigmoid(model.model(ids).logits[0, -1, 0]))
        scores = {"alias": "mine", "acc,none": score, "acc_stderr,none": 0.25, "f1,none": 1, "f1_stderr,none": "N/A"}
        return {
            "results": {"mine": scores},
            "n-samples": {"mine": {"original": 3, "effective": 3}}, "versions": {"mine": 1.0},
        }

    package.simple_evaluate, huggingface.HFLM, tasks.TaskManager = simple_evaluate, HFLM, TaskManager
    for name, module in (
        ("lm_eval", package), ("lm_eval.models", types.ModuleType("lm_eval.models")),
        ("lm_eval.models.huggingface", huggingface), ("lm_eval.tasks", tasks),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def test_task_scores_pass_the_model_on_and_read_the_result(stand_in, pair, capsys):
    """Both models are scored with the options given; values, errors and item counts come back, here as a stand-in."""
    data = json.loads(
        run(capsys, *pair, *FAST, "--repeats", 0, "--tasks", "mine", "--limit", 3, "--task-path", "folder", "--json")
    )
    assert stand_in == [{"tasks": ["mine"], "limit": 3, "include_path": "folder"}] * 2
    accuracy, f1 = data["tasks"][0]
    assert accuracy["standard_error"] == 0.25 and accuracy["samples"] == 3 and f1["standard_error"] is None
    tokenizer = load_tokenizer(pair[1])
    ids = torch.tensor([tokenizer("def").input_ids])
    with torch.no_grad():
        wanted = float(torch.sigmoid(load_model(pair[1]).model(ids).logits[0, -1, 0]))
    assert data["tasks"][1][0]["value"] == wanted != accuracy["value"]
    assert "lm-eval, compressed" in run(capsys, *pair, *FAST, "--repeats", 0, "--tasks", "mine")


def test_task_scores_refuse_by_name(stand_in, pair, monkeypatch):
    """Unknown tasks, limits out of range, a failing harness, and a machine without it."""
    view, tokenizer = load_model(pair[0]), load_tokenizer(pair[0])
    with pytest.raises(InputError, match="'other'"):
        task_scores(view, tokenizer, ["other"])
    with pytest.raises(InputError, match="at least one task"):
        task_scores(view, tokenizer, [])
    with pytest.raises(DomainError, match="limit"):
        task_scores(view, tokenizer, ["mine"], limit=0)
    with pytest.raises(ArtifactError, match=r"ConnectionError: no data set here"):
        task_scores(view, tokenizer, ["mine"], limit=99)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ToolchainError, match=r"peelverify\[lm-eval\]"):
        task_scores(view, tokenizer, ["mine"])


def test_four_bits_move_the_figures(pair, ids):
    """A coarser grid has a larger divergence: the figures follow the model."""
    view = load_model(pair[0])
    kl = [divergence(view, quantize_model(view, bits).view, ids).kl for bits in (8, 4, 2)]
    assert kl[0] < kl[1] < kl[2]

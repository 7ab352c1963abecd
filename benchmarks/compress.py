"""Wanda, GPTQ, block influence and spectral fits against the usual code for each, in one run.

    python benchmarks/compress.py [--json FILE [--page FILE]] [--quick]

``--page`` also writes the table of that file as Markdown; docs/compress-speed.md is made so.
llm-compressor and weightwatcher are timed where they are installed, and left out by name where they are not. The
contestants called "independent" are written here after the published descriptions, in the way most public code does it
(one hook a layer, running means in float32, one sort a row); they are not those projects' code.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from peelverify.compress import powerlaw_alpha, prune_model, quantize_model, rank_layers
from peelverify.compress.copies import copy_view, weight_rows, write_rows
from peelverify.data import builtin_text, windows
from peelverify.models import save_model
from peelverify.models.small import byte_tokenizer, small_decoder
from peelverify.models.view import ModelView
from peelverify.rho import measure_rho


def _inputs(view: ModelView, states: list[Tensor], traces: list[Any], block: int) -> dict[str, list[Tensor]]:
    seen: dict[str, list[Tensor]] = {}
    handles = [
        linear.register_forward_hook(lambda m, a, out, name=name: seen.setdefault(name, []).append(a[0].detach()))
        for name, linear in view.linears(block).items()
    ]
    for trace, state in zip(traces, states, strict=True):
        trace.block(block, state)
    for handle in handles:
        handle.remove()
    return seen


def _blocks_in_order(view: ModelView, ids: Tensor, change: Callable[[Tensor, list[Tensor]], Tensor]) -> ModelView:
    small = copy_view(view)
    traces = [small.trace(row[None]) for row in ids]
    states = [trace.states[0] for trace in traces]
    for block in range(small.depth):
        for name, inputs in _inputs(small, states, traces, block).items():
            linear = small.linears(block)[name]
            write_rows(linear, change(weight_rows(linear), inputs))
        states = [trace.block(block, state) for trace, state in zip(traces, states, strict=True)]
    return small


@torch.no_grad()
def independent_wanda(view: ModelView, ids: Tensor, sparsity: float = 0.5) -> ModelView:
    """Wanda: running mean of squared input norms over windows, one sort a row."""

    def change(weight: Tensor, inputs: list[Tensor]) -> Tensor:
        scale = torch.zeros(weight.shape[1])
        for seen, x in enumerate(inputs):
            scale = scale * (seen / (seen + 1)) + x.flatten(0, -2).norm(dim=0).square() / (seen + 1)
        order = (weight.abs() * scale.sqrt()).sort(dim=1, stable=True).indices[:, : int(weight.shape[1] * sparsity)]
        return weight.scatter(1, order, 0.0)

    return _blocks_in_order(view, ids, change)


@torch.no_grad()
def independent_gptq(view: ModelView, ids: Tensor, bits: int = 4) -> ModelView:
    """GPTQ on a symmetric grid a row: Gram in float32, damping 0.01, one column after another."""
    top = 2 ** (bits - 1) - 1

    def change(weight: Tensor, inputs: list[Tensor]) -> Tensor:
        gram = torch.zeros(weight.shape[1], weight.shape[1])
        for x in inputs:
            flat = x.flatten(0, -2)
            gram += flat.T @ flat
        dead = gram.diagonal() == 0
        gram[dead, dead] = 1.0
        gram += 0.01 * gram.diagonal().mean() * torch.eye(len(gram))
        factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(gram)), upper=True)
        rest, found = weight.clone(), torch.empty_like(weight)
        step = weight.abs().amax(dim=1) / top
        for j in range(weight.shape[1]):
            found[:, j] = (rest[:, j] / step).round().clamp(-top, top) * step
            error = (rest[:, j] - found[:, j]) / factor[j, j]
            rest[:, j:] -= error[:, None] * factor[j, j:]
        return found

    return _blocks_in_order(view, ids, change)


@torch.no_grad()
def independent_passes(view: ModelView, ids: Tensor, count: int) -> None:
    """Plain forward passes over the windows, nothing kept: what D draws and one clean pass cost at least."""
    for _ in range(count):
        for batch in ids.split(max(1, 2048 // ids.shape[1])):
            view.model(input_ids=batch, use_cache=False)


@torch.no_grad()
def independent_block_influence(view: ModelView, ids: Tensor) -> list[float]:
    """Block influence from the hidden states that `transformers` returns, in one pass with all of them in memory."""
    last: list[Tensor] = []
    handle = view.blocks[-1].register_forward_hook(
        lambda m, a, out: last.append(out[0] if isinstance(out, tuple) else out)
    )
    states = list(view.model(ids, output_hidden_states=True, use_cache=False).hidden_states[:-1])
    handle.remove()
    states.append(last[0])  # the library's own last state is taken after the final norm
    return [
        float(1 - torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1).mean())
        for a, b in zip(states, states[1:], strict=False)
    ]


def independent_alpha(weight: Tensor) -> float:
    """Power-law exponent of a spectrum with the start that has the least Kolmogorov distance, in plain numpy."""
    eigenvalues = np.sort(np.linalg.svd(weight.double().numpy(), compute_uv=False) ** 2)
    best = (math.inf, 0.0)
    for i in range(len(eigenvalues) - 1):
        tail = eigenvalues[i:]
        alpha = 1 + len(tail) / np.log(tail / tail[0]).sum()
        expected = 1 - (tail / tail[0]) ** (1 - alpha)
        best = min(best, (float(np.abs(expected - np.arange(len(tail)) / len(tail)).max()), float(alpha)))
    return best[1]


def _weightwatcher(weights: list[Tensor]) -> Callable[[], Any] | None:
    if importlib.util.find_spec("weightwatcher") is None:
        return None
    import weightwatcher

    holder = torch.nn.Sequential(*(torch.nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights))
    for layer, weight in zip(holder, weights, strict=True):
        layer.weight.data.copy_(weight)
    watcher = weightwatcher.WeightWatcher(model=holder)
    return lambda: watcher.analyze(min_evals=10, plot=False)


def _llm_compressor(view: ModelView, ids: Tensor, kind: str) -> Callable[[], Any] | None:
    if importlib.util.find_spec("llmcompressor") is None:
        return None
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import WandaPruningModifier
    from llmcompressor.modifiers.quantization import GPTQModifier

    samples = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids]
    data = torch.utils.data.DataLoader(samples, batch_size=1)
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "channel"}
    recipe = {
        "wanda": lambda: WandaPruningModifier(sparsity=0.5, targets=["Linear"], ignore=["lm_head"]),
        "gptq": lambda: GPTQModifier(
            config_groups={"all": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"]
        ),
    }[kind]
    folder = str(save_model(view, Path(tempfile.mkdtemp()) / "model", tokenizer=byte_tokenizer()))  # it asks for a path

    def model() -> Any:
        copied = copy_view(view).model
        copied.config._name_or_path = copied.name_or_path = folder
        return copied

    return lambda: oneshot(
        model=model(), dataset=data, recipe=recipe(), max_seq_length=ids.shape[1],
        num_calibration_samples=len(ids), processor=byte_tokenizer(), log_dir=None,
    )


def body(report: measure.Report, arguments: argparse.Namespace) -> None:
    """One row a method; the reference is the usual code, ratios below 1 are faster."""
    threads = 1
    torch.set_num_threads(threads)
    blocks, width, count = (2, 64, 4) if arguments.quick else (4, 256, 24)
    view = small_decoder("llama", blocks=blocks, width=width, heads=4, length=256, seed=0)
    ids = windows(byte_tokenizer(), builtin_text(), length=128, count=count)
    weights = [weight_rows(m) for m in view.linears(0).values()]
    size = f"{blocks} x {width}"
    for name in ("llmcompressor", "weightwatcher"):
        report.note(name, _version(name) if importlib.util.find_spec(name) else "not installed, left out")
    report.note("windows", f"{count} of 128 tokens")
    rows: list[tuple[str, dict[str, Callable[[], Any] | None]]] = [
        ("wanda 50 %", {
            "independent": lambda: independent_wanda(view, ids),
            "peelverify": lambda: prune_model(view, 0.5, method="wanda", input_ids=ids),
            "llm-compressor": _llm_compressor(view, ids, "wanda"),
        }),
        ("gptq 4 bits", {
            "independent": lambda: independent_gptq(view, ids),
            "peelverify": lambda: quantize_model(view, 4, method="gptq", input_ids=ids),
            "llm-compressor": _llm_compressor(view, ids, "gptq"),
        }),
        ("rho, 2 draws, against 3 forward passes", {
            "independent": lambda: independent_passes(view, ids, 3),
            "peelverify": lambda: measure_rho(view, ids, draws=2),
        }),
        ("block influence (ShortGPT)", {
            "independent": lambda: independent_block_influence(view, ids),
            "peelverify": lambda: rank_layers(view, ids, "block_influence"),
        }),
        ("alpha, one block", {
            "independent": lambda: [independent_alpha(w) for w in weights],
            "peelverify": lambda: [powerlaw_alpha(w, fit="search") for w in weights],
            "weightwatcher": _weightwatcher(weights),
        }),
    ]
    with threadpool_limits(limits=threads):  # numpy's own threads
        for what, contestants in rows:
            report.add(measure.Row(what, size, threads, measure.compare(contestants, rounds=arguments.rounds)))


def _version(name: str) -> str:
    try:
        return f"version {version(name)}"
    except PackageNotFoundError:
        return "installed"


def page(document: dict[str, Any]) -> str:
    """The table of one run as Markdown, from what ``--json`` wrote."""
    names = ["peelverify", "llm-compressor", "weightwatcher"]
    facts, machine = document["facts"], document["machine"]
    lines = [
        "# Time of compression and ranking beside the usual tools", "",
        "Written by `python benchmarks/compress.py --json docs/compress-speed.json --page docs/compress-speed.md`,",
        "with llm-compressor and weightwatcher on the path. Measured.", "",
        f"All tools ran in turn in one process on one thread, {document['rounds']} rounds after one more.",
        "A figure is the median over rounds of the time over that of the plain code in the same round, with its",
        "quartiles; below 1 is faster. The plain code is written in the benchmark after the published descriptions,",
        "one window at a time; tests hold its results against the package's.", "",
        "| what | blocks x width | plain code, ms | " + " | ".join(f"{n} / plain" for n in names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for row in document["rows"]:
        found = {r["name"]: r for r in row["ratios"]}
        middle = sorted(found["independent"]["seconds"])[len(found["independent"]["seconds"]) // 2]
        cells = []
        for name in names:
            r = found.get(name)
            missing = r is None or r["median"] is None
            cells.append("" if missing else f"{r['median']:.2f} [{r['low']:.2f}, {r['high']:.2f}]")
        lines.append(f"| {row['what']} | {row['size']} | {1e3 * middle:.0f} | " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    lines += [
        "", f"Text: {facts['windows']}.",
        f"llm-compressor {facts['llmcompressor']}, weightwatcher {facts['weightwatcher']}.",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}.",
        f"Versions: {versions}.", "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--json", type=Path)
    own, _ = parser.parse_known_args()
    words = [w for i, w in enumerate(sys.argv[1:]) if w != "--page" and (i == 0 or sys.argv[i] != "--page")]
    if own.page and not own.json:
        raise SystemExit("--page needs --json FILE, which it is made from")
    status = measure.main("Compression and ranking", body, words)
    if own.page and status == 0:
        own.page.write_text(page(json.loads(own.json.read_text(encoding="utf-8"))), encoding="utf-8")
    raise SystemExit(status)

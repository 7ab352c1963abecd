"""What a certificate costs: three evaluations of each block with their enclosures against one forward pass; memory.

    python benchmarks/certify.py [--json FILE] [--quick] [--only memory|vocabulary|speed|parts] [--threads 1 2]

The model is a Llama built from a config, about 390 MB in float32, with a copy whose matrices are rounded to 8 bits.
Memory is also measured on a narrow model with a large vocabulary, whose head outweighs all its blocks.
Hashing, reading and the norms of the weights alone are reported apart from the evaluations.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import measure

SIZES = {
    "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_key_value_heads": 12, "vocab_size": 8192, "max_position_embeddings": 512, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None, "tie_word_embeddings": False,
}
SMALL = SIZES | {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
                 "num_key_value_heads": 4, "vocab_size": 2048}
VOCABULARY = SMALL | {"vocab_size": 131072}
AIM = 3.4


def make_models(folder: str, sizes: dict[str, Any]) -> None:
    """Save the model and its rounded copy."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes))
    model.save_pretrained(f"{folder}/original")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                step = parameter.abs().amax(dim=1, keepdim=True) / 127
                parameter.copy_((parameter / step).round() * step)
    model.save_pretrained(f"{folder}/compressed")


def in_child(run: Any, *arguments: Any) -> None:
    """Run in a process of its own, so that this one has no threads when it forks to measure memory."""
    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=run, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{run.__name__} failed")


def tokens(windows: int, length: int, sizes: dict[str, Any]) -> Any:
    """Random token ids."""
    import torch

    generator = torch.Generator().manual_seed(1)
    return torch.randint(sizes["vocab_size"], (windows, length), generator=generator)


def memory(report: measure.Report, folder: str, config: dict[str, Any]) -> None:
    """Peak memory of a streamed run, beside the sizes that it is made of."""
    from safetensors import safe_open

    from peelverify.certify.measure import head_tokens_for

    sizes: dict[str, int] = {}
    with safe_open(f"{folder}/original/model.safetensors", framework="np") as handle:
        for name in handle.keys():  # noqa: SIM118  (safe_open is no mapping)
            part = name.split(".")[2] if ".layers." in name else name
            shape = handle.get_slice(name).get_shape()
            size = 4
            for n in shape:
                size *= n
            sizes[part] = sizes.get(part, 0) + size
    block, whole = sizes["0"], sum(sizes.values())
    windows, length, width = 8, 128, config["hidden_size"]
    large = f", {config['vocab_size']} tokens" if config is VOCABULARY else ""
    report.note(f"one model{large}, MB", round(whole / 1e6, 1))
    report.note(f"one block{large}, MB", round(block / 1e6, 1))
    report.note(f"embedding or head{large}, MB", round(sizes["lm_head.weight"] / 1e6, 1))
    report.note(f"states of both models for all tokens, each plan{large}, MB",
                round(2 * windows * length * width * 4 / 1e6, 1))
    at_a_time = 3 * head_tokens_for(config["vocab_size"]) * config["vocab_size"] * 4
    report.note(f"logits at a time{large}, MB", round(at_a_time / 1e6, 1))

    def make() -> Any:
        import torch

        from peelverify.certify.build import plans_for
        from peelverify.certify.identity import open_model
        from peelverify.certify.measure import measure_pair

        torch.set_num_threads(1)
        tiny = tokens(1, 8, config)
        pair = [open_model(f"{folder}/{role}", stream=True) for role in ("original", "compressed")]
        blocks = range(pair[0].view.depth)
        plans, _ = plans_for(*pair, 8)
        measure_pair(pair[0].source, pair[1].source, blocks, tiny, plans=plans[:1])  # libraries load here
        return pair, blocks, plans, tokens(windows, length, config), measure_pair

    def run(argument: Any, count: int | None) -> None:
        pair, blocks, plans, ids, measure_pair = argument
        measure_pair(pair[0].source, pair[1].source, blocks, ids, plans=plans[:count])

    def every(argument: Any) -> None:
        from peelverify.certify.everyinput import every_input

        pair, blocks, _, ids, _ = argument
        every_input(pair[0].source, pair[1].source, blocks, ids[:1])

    for what, action in (
        ("certified execution, streamed", lambda a: run(a, 1)),
        ("certified execution and re-runs, streamed", lambda a: run(a, None)),
        ("every input, streamed", every),
    ):
        found = measure.peak_memory(make, action)
        if found is not None:
            report.note(f"peak memory above the start, {what}{large}, MB", round(found[0] / 1e6, 1))
            report.note(f"  in sizes of one block, {what}{large}", round(found[0] / block, 2))


def speed(report: measure.Report, folder: str, arguments: argparse.Namespace, threads: int) -> None:
    """Three evaluations with enclosures against one plain forward pass over the same tokens."""
    import torch

    from peelverify.certify.measure import Plan, head_tokens_for, measure_pair
    from peelverify.models import load_model
    from peelverify.models.blockwise import WholeModel

    torch.set_num_threads(threads)
    first, second = (load_model(f"{folder}/{role}") for role in ("original", "compressed"))
    ids = tokens(4, 128, SMALL if arguments.quick else SIZES)
    plan = Plan("sdpa", threads, 4, head_tokens_for(first.vocabulary))

    @torch.no_grad()
    def forward() -> None:
        first.model(input_ids=ids, use_cache=False)

    def pair() -> None:
        measure_pair(WholeModel(first), WholeModel(second), range(first.depth), ids, plans=[plan])

    found = measure.compare({"forward pass": forward, "certified execution": pair}, rounds=arguments.rounds)
    report.add(measure.Row("evaluations+enclosures", f"{ids.numel()} tokens", threads, found, aim=AIM))


def parts(report: measure.Report, folder: str, sizes: dict[str, Any]) -> None:
    """Seconds of each part of a whole certificate."""
    from peelverify.certify import certify

    certificate = certify(f"{folder}/original", f"{folder}/compressed", tokens(4, 128, sizes), lean=False)
    for name, seconds in certificate.seconds.items():
        report.note(f"seconds, {name}", round(seconds, 2))


def body(report: measure.Report, arguments: argparse.Namespace) -> None:
    """Make the models, then memory, speed and parts."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    folder = tempfile.mkdtemp(prefix="peelverify-bench-")
    try:
        sizes = SMALL if arguments.quick else SIZES
        in_child(make_models, folder, sizes)
        if arguments.only in "memory":
            memory(report, folder, sizes)
        if arguments.only in "vocabulary":
            large = f"{folder}/large"
            in_child(make_models, large, VOCABULARY)
            memory(report, large, VOCABULARY)
        if arguments.only in "speed":
            for threads in arguments.threads:
                speed(report, folder, arguments, threads)
        if arguments.only in "parts":
            parts(report, folder, sizes)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(Path(folder))


if __name__ == "__main__":
    raise SystemExit(measure.main("certificates", body))

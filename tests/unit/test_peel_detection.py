"""The detection benchmark: exact intervals, faults that are what they say, a table that can be made again."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from scipy.stats import binomtest

from peelverify.data import builtin_text, windows
from peelverify.models.small import byte_tokenizer, small_decoder
from peelverify.models.view import ModelView


@pytest.fixture(scope="module")
def detection() -> ModuleType:
    """The benchmark as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "detection.py"
    spec = importlib.util.spec_from_file_location("detection_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_intervals_are_those_of_clopper_and_pearson(detection) -> None:
    """They equal those of scipy's exact test for every count up to 12."""
    for count in range(1, 13):
        for hits in range(count + 1):
            exact = binomtest(hits, count).proportion_ci(0.95, method="exact")
            assert detection.exact_interval(hits, count) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_plan_has_enough_runs_of_other_seeds(detection) -> None:
    """At least 40 healthy and 40 faulty runs of 6 blocks in two families; reference seeds are not used again."""
    runs = detection.plan(detection.Setting())
    assert detection.Setting().blocks >= 6 and len({f for f, _, _ in runs}) == 2
    assert sum(k == "healthy" for _, k, _ in runs) >= 40
    assert sum(k in detection.FAULTS for _, k, _ in runs) >= 40
    used = {(f, s) for f, k, s in runs if k == "reference"}
    assert not used & {(f, s) for f, k, s in runs if k != "reference"}
    assert len(set(runs)) == len(runs)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_faults_are_what_they_say(detection, family: str) -> None:
    """A frozen block keeps its first weights, a dead one adds nothing, a stale one is that of half time, few bits are
    few; a healthy block does none of it."""
    setting = replace(detection.QUICK, steps=4)
    ids = windows(byte_tokenizer(), builtin_text(), length=16, count=40)

    def run(kind: str) -> tuple[dict, ModelView, ModelView]:
        view = small_decoder(family, blocks=6, width=16, heads=4, length=16, seed=3)
        first = {n: t.clone() for n, t in view.blocks[2].state_dict().items()}
        return first, view, detection.train(view, ids, kind, 2, setting, 3)

    def same(a: dict, b: dict) -> bool:
        return all(torch.equal(a[n], b[n]) for n in a)

    for kind in ("healthy", *detection.FAULTS):
        first, view, half = run(kind)
        now, then = view.blocks[2].state_dict(), half.blocks[2].state_dict()
        trace = view.trace(ids[:4])
        assert same(first, now) == (kind == "frozen"), kind
        assert same(now, then) == (kind in ("frozen", "stale")), kind
        assert torch.equal(trace.states[3], trace.states[2]) == (kind == "dead"), kind
        weight = ModelView.weight(view.linears(2)[view.family.mlp_out])
        assert (len(weight.abs().unique()) <= 2) == (kind in ("bits", "dead")), kind
        assert not same(view.blocks[3].state_dict(), half.blocks[3].state_dict())


def test_a_stopped_experiment_goes_on(detection, tmp_path: Path, monkeypatch, capsys) -> None:
    """Finished runs are kept, missing ones are made, the table names every rule; another setting is refused."""
    quick = replace(detection.QUICK, steps=3, windows=8)
    monkeypatch.setattr(detection, "QUICK", quick)
    monkeypatch.setattr(detection, "FAMILIES", ("llama",))
    monkeypatch.setattr(detection, "FAULTS", ("frozen", "bits"))
    assert detection.main([str(tmp_path / "out"), "--quick"]) == 0
    files = sorted((tmp_path / "out").glob("*.json"))
    assert len(files) == 5
    before = {f: f.read_bytes() for f in files}
    table = (tmp_path / "out" / "table.md").read_text()
    for words in ("cloud not GREEN", "with reference runs", "a series", "Chance: 17 %", "1 healthy and 2 faulty"):
        assert words in table
    removed = before.pop(files[0])
    files[0].unlink()
    assert detection.main([str(tmp_path / "out"), "--quick"]) == 0
    assert all(f.read_bytes() == raw for f, raw in before.items())
    again, old = json.loads(files[0].read_text()), json.loads(removed)
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in old.items() if k != "seconds"}
    assert (tmp_path / "out" / "table.md").read_text() == table
    assert detection.main([str(tmp_path / "out"), "--table-only"]) == 2
    assert "another setting" in capsys.readouterr().err


def test_the_table_counts_alarms(detection) -> None:
    """Made-up records: a rule that sees every fault and no healthy run has these rates; ties localise nothing."""
    names = ["substitution gain", "substitution, standardised", "best map skips", "norm scales at 1",
             "relative size of f(h)", "gradient norm", "movement between checkpoints"]

    def record(kind: str, seed: int, high: float) -> dict:
        values = [0.1 + 0.01 * ((seed + i) % 3) for i in range(6)]
        blocks = {n: list(values) for n in names}
        blocks["movement between checkpoints"][2] += high
        blocks["best map skips"] = [1.0] * 6
        half = {"status": "GREEN", "loss": 1.5 if high else 2.0, "gap": -0.5}
        return {"family": "llama", "kind": kind, "seed": seed, "block": 2 if kind == "frozen" else None, "half": half,
                "status": "YELLOW" if high else "GREEN", "loss": 1.0, "gap": -1.0, "blocks": blocks,
                "setting": detection.QUICK.__dict__}

    records = [record("reference", s, 0.0) for s in range(6)] + [record("healthy", 10 + s, 0.0) for s in range(4)]
    records += [record("frozen", 20 + s, 9.0) for s in range(4)]
    rows = {line.split("|")[2].strip(): line for line in detection.table(records).splitlines() if line.count("|") > 5}
    assert "| 0/4 (0 to 60 %) | 4/4 (40 to 100 %) | +100 % (0.014) |" in rows["cloud not GREEN"]
    assert "| 0/4 (0 to 60 %) | 4/4 (40 to 100 %) |" in rows["fall of the loss between checkpoints"]
    assert "| 0/4 (0 to 60 %) | 0/4 (0 to 60 %) | +0 % (1) |" in rows["cloud GREEN at neither checkpoint"]
    assert "| 0/4 (0 to 60 %) | 4/4 (40 to 100 %) |" in rows["movement between checkpoints: distance"]
    assert "| 0/4 (0 to 60 %) | 0/4 (0 to 60 %) |" in rows["gradient norm: distance"]
    blame = {line.split("|")[1].strip(): line for line in detection.table(records).splitlines() if "|" in line}
    assert "| 4/4 (40 to 100 %) | 4/4 (40 to 100 %) |" in blame["movement between checkpoints"]
    assert "| 0/4 (0 to 60 %) |" in blame["best map skips"]
    said = " ".join(detection.findings(records))
    assert "One checkpoint: the best peeling rule is \"cloud not GREEN\", 4/4" in said
    assert "A series: the best baseline is \"movement between checkpoints: distance\", 4/4" in said
    assert "no peeling score points at the faulty block more often than chance" in said
    assert "Not told apart" in said and "cloud GREEN at neither checkpoint" in said
    for row in records[-4:]:
        row["status"] = "GREEN"
    assert "the best peeling rule is \"cloud not GREEN\", 4/4" not in " ".join(detection.findings(records))
    shown = detection.page(detection.compact(records))
    assert "14 runs of llama decoders" in shown and "still to be done" in shown


def test_the_page_is_made_from_its_results(detection, tmp_path: Path) -> None:
    """docs/detection.md is what its results give; a changed result changes the page."""
    docs = Path(__file__).parents[2] / "docs"
    assert detection.main(["--results", str(docs / "detection.json"), "--page", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == (docs / "detection.md").read_text(encoding="utf-8")
    records = json.loads((docs / "detection.json").read_text(encoding="utf-8"))
    assert {r["family"] for r in records} == {"llama", "gpt2"} and {r["kind"] for r in records} >= {"healthy", *(
        detection.FAULTS)}
    for row in records:
        if row["kind"] in detection.FAULTS and "status" in row:
            row["status"] = "RED"
    assert detection.page(records) != (docs / "detection.md").read_text(encoding="utf-8")

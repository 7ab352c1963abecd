"""Consistent fabrications: not tied to any model without one, refuted with it, here and as if elsewhere."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from peelverify.certify import build, checker, verify
from peelverify.certify.pool import text_pool
from peelverify.errors import PeelverifyError
from peelverify.models.small import byte_tokenizer
from peelverify.verdict import Verdict
from tests.attacks.forge import rederive, seal
from tests.attacks.registry import attacks_of

COMPUTED: dict[str, build.Parts] = {}
"""Numbers that were computed from models and tokens in this process, by all that decides them."""


@pytest.fixture(autouse=True)
def computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attacks that leave models, tokens and settings alone share one computation; the comparison is made anew."""
    compute = build.compute_parts

    def shared(first, second, kept, ids, *, on_progress=None, **settings):
        sides = [(side.facts, side.source.attention, str(side.view.dtype)) for side in (first, second)]
        key = json.dumps([sides, list(kept), ids.tolist(), settings], sort_keys=True)
        if key not in COMPUTED:
            COMPUTED[key] = compute(first, second, kept, ids, **settings)
        return copy.deepcopy(COMPUTED[key])

    monkeypatch.setattr(build, "compute_parts", shared)


def recompute(target, path: Path):
    """Verify with models and text."""
    pool = text_pool(byte_tokenizer(), [target.text], length=16)
    return verify(path, original=target.original, compressed=target.compressed, pool=pool, lean=False)


def test_the_untouched_certificate_holds_here_and_elsewhere(target, tmp_path: Path) -> None:
    """With the same models and text; also if the host that it states is another one."""
    assert recompute(target, target.certificate).reached == ("arithmetic", "recompute")
    assert rederive(target.copy()) == target.document
    document = target.copy()
    document["host"]["machine"] = "abacus"
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps(seal(document)))
    assert recompute(target, path).verdict is Verdict.HOLDS


@pytest.mark.parametrize("attack", attacks_of("on_claims"), ids=lambda a: a.name)
def test_it_needs_the_models_and_is_refuted_with_them(attack, target, tmp_path: Path, timed, capsys) -> None:
    """Offline: consistent, not tied to any model. With models: never HOLDS, whatever host it claims to be from."""
    forged = attack.run(target.copy())
    assert forged != target.document
    path = tmp_path / "forged.cert.json"
    path.write_text(json.dumps(forged))
    assert checker.main(["checker.py", str(path)]) == 0, capsys.readouterr()
    alone = verify(path, lean=False)
    assert alone.summary.startswith("arithmetic consistent, not tied to any model") and "recompute" not in alone.reached
    elsewhere = tmp_path / "elsewhere.cert.json"
    forged["host"]["machine"] = "abacus"
    elsewhere.write_text(json.dumps(seal(forged)))
    for file in (path, elsewhere):
        try:
            with timed(attack):
                found = recompute(target, file)
        except PeelverifyError:
            continue  # one clear line, exit status 2
        assert "recompute" not in found.reached, (file.name, found.summary)
        assert found.verdict is not Verdict.HOLDS, (file.name, found.summary)


@pytest.mark.parametrize("machine", ["x86_64", "abacus"])
def test_a_newer_version_holds_for_its_older_parts_only(machine, target, tmp_path: Path, capsys) -> None:
    """An honest file of a newer minor version: the words say that its own parts were not checked, nowhere "every"."""
    document = target.copy()
    document["schema"] = "peelverify.certificate/1.2"
    document["added"] = document["numbers"]["added"] = document["subject"]["original"]["added"] = {"x": 1}
    document["host"]["machine"] = machine
    path = tmp_path / "newer.json"
    path.write_text(json.dumps(seal(document)))
    assert checker.main(["checker.py", str(path)]) == 0
    assert capsys.readouterr().out.endswith("; parts newer than those of 1.1 were not checked\n")
    words = "parts that format 1.2 adds to 1.1 were not checked"
    alone, found = verify(path, lean=False), recompute(target, path)
    assert alone.verdict is found.verdict is Verdict.HOLDS and "recompute" in found.reached, found.summary
    for seen in (alone, found):
        assert words in seen.summary and words in seen.checks[0].detail and "every number" not in seen.summary
    document["numbers"]["units"]["windows"][0]["error"] = ["0x1p-3", "0x1p-3"]
    path.write_text(json.dumps(seal(document)))
    assert recompute(target, path).verdict is not Verdict.HOLDS


def oldest(document: dict) -> dict:
    """A certificate as version 1.0 would have written it."""
    d = copy.deepcopy(document)
    d["schema"], numbers = checker.OLDEST, d["numbers"]
    del d["every_input"], d["unseen"], d["subject"]["pool"], d["subject"]["numerics"]["states"]
    del d["subject"]["numerics"]["head_tokens"], numbers["units"]["signed"]
    for key in ("token_margin", "token_portable", "initial_token_max"):
        del numbers[key]
    for state in (*numbers["blocks"], *numbers["reruns"]):
        del state["token_max"]
    keys = ("same_top", "oscillation_max", "oscillation_sum")
    numbers["units"]["windows"] = [
        {key: row[key] for key in keys} | {"tied": len(row["tied_at"])} for row in numbers["units"]["windows"]
    ]
    d["measured"] = {key: d["measured"][key] for key in ("loss_original", "loss_compressed")}
    first = json.loads((Path(__file__).parents[1] / "data" / "version-1.0.cert.json").read_text())
    d["theorems"] = first["theorems"]
    return seal(d)


OLD_ATTACKS = {
    "none": lambda d: None,
    "theorem left out": lambda d: d["theorems"].pop(),
    "theorem made up": lambda d: d["theorems"].append({"name": "PeelVerify.everything", "sha256": "0" * 64}),
    "re-run left out": lambda d: d["numbers"]["reruns"].pop(),
    "settings of a re-run": lambda d: d["numbers"]["reruns"][0].update(attention="flash"),
    "measured loss left out": lambda d: d["measured"].pop("loss_original"),
    "measured loss changed": lambda d: d["measured"].update(loss_original="0.5"),
    "a key that it does not have": lambda d: d.update(unseen_text="none is worse"),
    "a number that it does not have": lambda d: d["numbers"].update(proved="0x1p+0"),
    "ties": lambda d: [row.update(tied=1) for row in d["numbers"]["units"]["windows"]]
    and d["numbers"]["units"].update(tied=len(d["numbers"]["units"]["windows"])),
}


@pytest.mark.parametrize("name", OLD_ATTACKS)
def test_the_oldest_version_is_compared_in_all_that_it_has(name, target, tmp_path: Path) -> None:
    """A file of version 1.0 holds with its models; changed where it has something, it never does."""
    document = oldest(target.document)
    OLD_ATTACKS[name](document)
    path = tmp_path / "old.json"
    path.write_text(json.dumps(seal(document)))
    shape = ("measured loss left out", "a key that it does not have", "a number that it does not have")
    offline = Verdict.VIOLATED if name in shape else Verdict.HOLDS
    assert verify(path, lean=False).verdict is offline
    found = recompute(target, path)
    assert (found.verdict is Verdict.HOLDS) is (name == "none"), found.summary

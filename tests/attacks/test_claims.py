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
    assert alone.summary == "arithmetic consistent, not tied to any model" and "recompute" not in alone.reached
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

"""``peelverify diff`` and the limits of ``verify`` and ``check``."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from peelverify.certify import Certificate, certify
from peelverify.certify.compare import compare, gate, limit
from peelverify.cli.app import main
from peelverify.errors import InputError
from peelverify.verdict import Verdict

ONE_SIDED = (
    "logit_error_frobenius_portable_upper", "chain_upper", "loss_change_mean_absolute_upper_nats_per_token",
    "loss_change_max_upper_nats",
)
"""Upper bounds: a smaller one may come from a sharper bound as well as from a better model."""
OLD = Path(__file__).parents[1] / "data" / "version-1.0.cert.json"


@pytest.fixture(scope="module")
def pair(model_dirs, noisy_dirs, ids, tmp_path_factory) -> tuple[Path, Path]:
    """Certificates of a noisy copy and of the original itself, on the same tokens."""
    root, options = tmp_path_factory.mktemp("diff"), {"lean": False, "every_input": False}
    noisy = certify(model_dirs["gpt2"], noisy_dirs["gpt2"], ids, **options).save(root / "noisy.json")
    return noisy, certify(model_dirs["gpt2"], model_dirs["gpt2"], ids, **options).save(root / "same.json")


def test_the_better_side_is_named_in_each_unit(pair, capsys) -> None:
    """The copy without error is better wherever the figures show it, whatever the order of the files."""
    assert main(["diff", *map(str, pair), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    better = {row["key"]: row["better"] for row in found["rows"]}
    assert better["logit_error_frobenius_upper"] == better["kl_mean_nats_per_token"] == "b"
    smaller = {row["key"]: row["smaller_bound"] for row in found["rows"]}
    assert {key for key, side in smaller.items() if side == "b"} == {key for key in better if key in ONE_SIDED}
    assert all(better[key] is None for key in ONE_SIDED) and all(smaller[k] is None for k in better if better[k])
    assert found["differs"] == ["compressed files"] and found["incomparable"] == []
    assert [b["block"] for b in found["blocks"]] == ["embedding", "block 0", "block 1", "block 2", "head"]
    turned = compare(*(Certificate.load(p) for p in reversed(pair)))
    assert {row["key"]: row["smaller_bound"] for row in turned["rows"]}["chain_upper"] == "a"
    assert {row["key"]: row["better"] for row in turned["rows"]}["logit_error_frobenius_upper"] == "a"
    assert main(["diff", *map(str, pair)]) == 0
    out = capsys.readouterr().out
    assert "perplexity factor" in out and out.count("B better") == sum(side == "b" for side in better.values())
    assert out.count("bound of B smaller") == len(ONE_SIDED)
    same = compare(*[Certificate.load(pair[0])] * 2)
    assert {row["better"] for row in same["rows"]} <= {"same", None} and same["differs"] == []
    assert {row["smaller_bound"] for row in same["rows"]} == {"same", None}


def test_other_texts_and_originals_cannot_be_compared(pair, capsys) -> None:
    """Exit 3, the reasons, and no side called better; a refuted file exits 1."""
    assert main(["diff", str(pair[0]), str(OLD), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert "different originals" in " ".join(found["incomparable"])
    assert {row["better"] for row in found["rows"]} == {row["smaller_bound"] for row in found["rows"]} == {None}
    bad = pair[0].with_name("bad.json")
    bad.write_text(pair[0].read_text().replace('"positions": 128', '"positions": 129'))
    assert main(["diff", str(pair[0]), str(bad)]) == 1
    assert "is refuted" in capsys.readouterr().err


def test_limits_hold_break_or_stay_open(pair) -> None:
    """The certified interval decides; a bound of version 1.0 can hold, but cannot show that a limit is broken."""
    noisy, old = Certificate.load(pair[0]), Certificate.load(OLD)
    low, high = noisy.signed("loss_change_mean")
    tiny = Fraction(1, 10**30)
    for allowed, verdict in ((high, "HOLDS"), (high - tiny, "INCONCLUSIVE"), (low - tiny, "VIOLATED")):
        assert gate(noisy, allowed, None)[0][1] is Verdict[verdict]
    assert gate(old, old.loss_change_mean, None)[0][1] is Verdict.HOLDS
    assert gate(old, old.loss_change_mean - tiny, None)[0][1] is Verdict.INCONCLUSIVE
    same, positions = noisy.same_top
    assert gate(noisy, None, Fraction(same, positions))[0][1] is Verdict.HOLDS
    assert gate(noisy, None, Fraction(same, positions) + tiny)[0][1] is Verdict.VIOLATED


def test_limits_decide_the_exit_status(pair, capsys) -> None:
    """0 within, 1 beyond, and 2 for a limit that is none."""
    words = ["verify", str(pair[0]), "--level", "arithmetic"]
    assert main([*words, "--max-loss-change", "5", "--min-same-top", "0"]) == 0
    assert main([*words, "--min-same-top", "1"]) == 1
    assert "LIMIT BROKEN" in capsys.readouterr().out
    assert main([*words, "--min-same-top", "1", "--max-loss-change", "0.000000123"]) in (0, 1)
    out = capsys.readouterr().out
    assert "0.000000123 nats a token are allowed" in out and "100 % are needed" in out
    for bad in ("-1", "x", "nan", "1e5", "٣", "2"):
        assert main([*words, f"--min-same-top={bad}"]) == 2, bad
    with pytest.raises(InputError):
        limit("1" * 31, "--max-loss-change")

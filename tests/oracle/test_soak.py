"""A few seconds of the soak, and that it goes red: on bounds that are too tight, and on nothing at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction

import numpy as np
import pytest

from peelverify import enclose
from peelverify.enclose import Interval, frobenius, operator, products
from tests.oracle import exactly, soak
from tests.oracle.pairs import check_pair

BOUNDS = {"fro squared", "sum of squares", "fro by mpmath", "error squared", "inner of differences", "inner", "opinf",
          "op1", "max", "product", "residual squared", "op2 by mpmath"}


def test_a_short_soak_finds_every_bound_on_its_side() -> None:
    """A thousand cases and a handful of model pairs, each bound counted on both sides and sharp."""
    state = soak.run(cases=1000, pairs=6, seconds=None, seed=20, state_file=None)
    assert state["cases"] == 1000
    assert state["pairs"] == 6
    seen = state["kinds"]
    assert {f"{kind} {side}" for kind in BOUNDS for side in ("lower", "upper")} <= set(seen)
    assert seen["op2 upper to lower"]["loosest"] < 1e-6
    for kind in ("pair window error squared", "pair change of loss", "pair KL", "pair largest KL"):
        assert {f"{kind} lower", f"{kind} upper"} <= set(seen)
    for kind in ("fro squared", "error squared", "inner", "op1", "pair error squared"):
        assert seen[f"{kind} upper"]["loosest"] < 2e-12
        assert seen[f"{kind} lower"]["loosest"] < 2e-12


def test_the_same_seed_gives_the_same_cases() -> None:
    """Counts and distances repeat to the last bit."""
    first, second = soak.Tally(), soak.Tally()
    soak.batch(3, 1, first, size=60)
    soak.batch(3, 1, second, size=60)
    assert first.kinds == second.kinds


def test_a_run_goes_on_where_it_stopped(tmp_path) -> None:
    """Two runs with one state file count what one run counts; a foreign state is refused."""
    path = tmp_path / "state.json"
    soak.run(cases=500, pairs=0, seconds=None, seed=5, state_file=path)
    resumed = soak.run(cases=1000, pairs=0, seconds=None, seed=5, state_file=path)
    whole = soak.run(cases=1000, pairs=0, seconds=None, seed=5, state_file=None)
    assert resumed["kinds"] == whole["kinds"] == json.loads(path.read_text())["kinds"]
    with pytest.raises(SystemExit, match="not a state of seed 6"):
        soak.run(cases=1000, pairs=0, seconds=None, seed=6, state_file=path)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 15 cases, and the state written after every one."""
    monkeypatch.setattr(soak, "BATCH", 15)
    monkeypatch.setattr(soak.batch, "__defaults__", (15,))
    monkeypatch.setattr(soak, "EVERY", -1.0)


SMALL = {"cases": 45, "pairs": 2, "seconds": None, "seed": 5}


@contextmanager
def stopped_at_line(number: int, stop: BaseException) -> Iterator[list[int]]:
    """Raise at so many executed lines of the soak, as Ctrl-C does at any of them; the list has the count so far."""
    seen, before = [0], sys.gettrace()

    def local(frame, event, argument):
        if event == "line":
            seen[0] += 1
            if seen[0] == number:
                raise stop
        return local

    sys.settrace(lambda frame, event, argument: local if frame.f_code.co_filename == soak.__file__ else None)
    try:
        yield seen
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), ModuleNotFoundError("no module")], ids=["Ctrl-C", "error"])
def test_a_run_that_is_cut_short_anywhere_counts_nothing_twice(stop: BaseException, small: None, tmp_path) -> None:
    """The table after two interruptions, at any of the lines of a run, is that of a run without any."""
    path = tmp_path / "state.json"
    with stopped_at_line(0, stop) as lines:
        whole = soak.run(**SMALL, state_file=path)
    rng = np.random.default_rng(7)
    for number in range(1, lines[0], lines[0] // 40):
        path.unlink(missing_ok=True)
        with pytest.raises(type(stop)), stopped_at_line(number, stop):
            soak.run(**SMALL, state_file=path)
        with suppress(type(stop)), stopped_at_line(int(rng.integers(1, lines[0])), stop):
            soak.run(**SMALL, state_file=path)
        found = soak.run(**SMALL, state_file=path)
        assert soak.table(found) == soak.table(whole)
        assert (found["cases"], found["pairs"]) == (whole["cases"], whole["pairs"])


def test_a_run_that_is_killed_goes_on_from_any_state_that_was_written(small: None, tmp_path, monkeypatch) -> None:
    """Every file that a run leaves behind on its way leads to the table of a run without interruption."""
    path, texts = tmp_path / "state.json", []
    real = soak.save

    def recorded(*arguments) -> None:
        real(*arguments)
        texts.append(path.read_text())

    monkeypatch.setattr(soak, "save", recorded)
    whole = soak.run(**SMALL, state_file=path)
    monkeypatch.setattr(soak, "save", real)
    assert len(texts) == 6  # three batches, two pairs and the end
    for text in texts:
        path.write_text(text)
        assert soak.table(soak.run(**SMALL, state_file=path)) == soak.table(whole)


def test_a_state_is_whole_while_it_is_written(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies before the new state is complete leaves the old one."""
    path = tmp_path / "state.json"
    soak.save(path, {"cases": 1})
    monkeypatch.setattr(soak.os, "fsync", lambda number: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        soak.save(path, {"cases": 2})
    assert json.loads(path.read_text()) == {"cases": 1}


def test_states_that_may_have_counted_twice_are_refused(tmp_path) -> None:
    """Schema 1 was written in the middle of batches."""
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"schema": "peelverify.soak/1", "seed": 5, "cases": 500, "kinds": {}}))
    with pytest.raises(SystemExit, match=r"not a state of seed 5 and schema peelverify\.soak/2"):
        soak.run(**SMALL, state_file=path)


@pytest.mark.parametrize(("stop", "code", "line"), [
    (KeyboardInterrupt(), 130, "stopped; the same command goes on from {}"),
    (ImportError("No module named 'x'"), 2,
     "soak needs all of the development requirements, got No module named 'x'; install them and run the same command"),
])
def test_stopping_is_one_line(stop, code, line, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C and a missing module end without a traceback, and the line says how to go on."""

    def check(*arguments) -> None:
        raise stop

    monkeypatch.setattr(soak, "CHECKS", {check: 1.0})
    path = tmp_path / "s.json"
    assert soak.main(["--cases", "500", "--pairs", "0", "--state", str(path)]) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", line.format(path) + "\n")
    assert json.loads(path.read_text())["cases"] == 0


DAMAGE = {
    "fro": (enclose, "norm_fro_upper", enclose.norm_fro_lower),
    "op2 above": (enclose, "norm_op2_lower", enclose.norm_op2_upper),
    "op2 below": (enclose, "norm_op2_upper", lambda a: enclose.norm_op2_lower(a) * (1 - Fraction(1, 10**9))),
    "op1": (enclose, "norm_op1_upper", lambda a: enclose.norm_op1_lower(a) * (1 - Fraction(1, 10**9))),
    "rounding": (frobenius, "relative_error", lambda n: Fraction(0)),
    "radius": (products, "gamma", lambda u, n: Fraction(0)),
    "loose": (operator, "_START", 2.0**-18),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(name, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each damage to an enclosure ends the run, and the message says how to see it again."""
    home, attribute, broken = DAMAGE[name]
    monkeypatch.setattr(home, attribute, broken)
    with pytest.raises(soak.Wrong, match="seed 1, batch"):
        soak.run(cases=1000, pairs=0, seconds=None, seed=1, state_file=None)


def _above(interval: Interval) -> Interval:
    """An enclosure whose lower end is too high."""
    return Interval(interval.hi, interval.hi)


def _below(interval: Interval) -> Interval:
    """An enclosure whose upper end is too low."""
    return Interval(interval.lo, interval.lo)


PAIR_DAMAGE = {
    "propagated": lambda found: [setattr(b, "propagated_sq", _below(b.propagated_sq)) for b in found.blocks],
    "largest error": lambda found: [setattr(b.error, "largest", _below(b.error.largest)) for b in found.blocks],
    "window error": lambda found: [setattr(w, "error_sq", _above(w.error_sq)) for w in found.windows],
    "change of loss": lambda found: [setattr(w, "loss_change", _below(w.loss_change)) for w in found.windows],
    "largest change": lambda found: [
        setattr(w, "loss_change_largest", _above(w.loss_change_largest)) for w in found.windows],
    "theorem": lambda found: [
        setattr(w, "loss_change_theorem", Interval(w.loss_change.hi, w.loss_change.hi)) for w in found.windows],
    "divergence": lambda found: [setattr(w, "kl", _above(w.kl)) for w in found.windows],
    "oscillation": lambda found: [
        setattr(w, "oscillation_sum", w.oscillation_sum * (1 - Fraction(1, 10**9))) for w in found.windows],
    "top tokens": lambda found: [setattr(w, "same_top", w.same_top - 1) for w in found.windows],
    "ties": lambda found: [setattr(w, "tied", [0]) for w in found.windows],
}


@pytest.mark.parametrize("name", PAIR_DAMAGE)
def test_a_damaged_pair_is_found(name, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure of a model pair that is too tight or wrong is found."""
    from tests.oracle import pairs

    real = pairs.measure_pair

    def damaged(*args, **named):
        found = real(*args, **named)
        PAIR_DAMAGE[name](found)
        return found

    monkeypatch.setattr(pairs, "measure_pair", damaged)
    with pytest.raises(soak.Wrong):
        for k in range(5):
            check_pair(soak.Tally(), np.random.default_rng(k))


def test_the_judges_agree() -> None:
    """Whole numbers, mpmath and python-flint give one answer, and the minors tell above from below."""
    array = np.array([[3.0, 1.0], [0.0, 4.0]])
    assert exactly.integers(array) == ([3 << 52, 1 << 52, 0, 4 << 52], -52)
    assert abs(exactly.agreed_norm(array, "fro") ** 2 - 26) < Fraction(1, 10**40)
    square = exactly.agreed_norm(array, "op2") ** 2
    assert exactly.exceeds_op2_sq([[3, 1], [0, 4]], 0, square * (1 + Fraction(1, 10**30)))
    assert not exactly.exceeds_op2_sq([[3, 1], [0, 4]], 0, square * (1 - Fraction(1, 10**30)))
    assert exactly.flint_contains(array, Fraction(5), Fraction(6))
    assert not exactly.flint_contains(array, Fraction(5), Fraction(509, 100))


def test_the_page_is_a_table_of_what_was_counted(tmp_path, capsys) -> None:
    """Each kind that was printed is a row of the page."""
    path = tmp_path / "soak.md"
    assert soak.main(["--cases", "500", "--pairs", "1", "--state", str(tmp_path / "s.json"), "--page", str(path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    assert printed[0] in path.read_text()
    assert [row.strip("| ").split(" | ")[0] for row in rows[2:]] == [line[:36].strip() for line in printed[2:]]

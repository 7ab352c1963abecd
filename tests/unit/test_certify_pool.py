"""Windows drawn from a pool: the draw, and how often unseen windows exceed what is certified."""

from __future__ import annotations

import random
import sysconfig
from fractions import Fraction
from math import comb
from pathlib import Path

import pytest
import torch

from peelverify.bounds.counting import kth_largest
from peelverify.certify import certify, verify
from peelverify.certify.checker import draw, parse
from peelverify.certify.measure import Plan, measure_pair
from peelverify.certify.pool import Pool, check_count, draw_windows, levels_for, pool_sha256, text_pool
from peelverify.errors import ArtifactError, InputError
from peelverify.models import load_model
from peelverify.models.blockwise import WholeModel
from peelverify.models.small import byte_tokenizer


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Pool:
    """Windows of 16 bytes of some modules of the standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    return text_pool(byte_tokenizer(), [folder / f"{name}.py" for name in ("ast", "bisect", "heapq")], length=16)


@pytest.fixture(scope="module")
def errors(pool, model_dirs, noisy_dirs) -> list[Fraction]:
    """Upper bounds on the squared error of the logits of 1,500 windows."""
    a, b = (WholeModel(load_model(d["gpt2"])) for d in (model_dirs, noisy_dirs))
    ids = pool.ids[:1500]
    found = measure_pair(a, b, range(3), ids, plans=[Plan("sdpa", 1, 500, 8000)])
    return [w.error_sq.hi for w in found.windows]


def tail(n: int, p: Fraction, least: int) -> float:
    """Probability of at least ``least`` successes out of n."""
    return float(sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(least, n + 1)))


@pytest.mark.parametrize(("n", "k"), [(19, 1), (19, 2), (49, 5)])
def test_unseen_windows_exceed_the_bound_as_rarely_as_stated(errors, n, k) -> None:
    """2,000 draws: exceedances are no more than a coin of k/(n+1) gives, and not far fewer either."""
    rng, exceeded, trials = random.Random(n), 0, 2000
    for _ in range(trials):
        drawn = rng.sample(range(len(errors)), n + 1)
        exceeded += errors[drawn[-1]] > kth_largest([errors[i] for i in drawn[:-1]], k)
    assert tail(trials, Fraction(k, n + 1), exceeded) > 1e-6
    assert exceeded > trials * k / (n + 1) / 2  # the windows hardly tie, so the bound is nearly attained


def test_a_bound_at_the_next_level_is_noticed(errors) -> None:
    """The test above can fail: the (k+1)-th largest as bound is exceeded too often."""
    rng, exceeded, trials, n, k = random.Random(5), 0, 2000, 19, 1
    for _ in range(trials):
        drawn = rng.sample(range(len(errors)), n + 1)
        exceeded += errors[drawn[-1]] > kth_largest([errors[i] for i in drawn[:-1]], k + 1)
    assert tail(trials, Fraction(k, n + 1), exceeded) < 1e-6


def test_windows_at_hash_positions_are_not_special(errors) -> None:
    """Draws by the certificate's own rule, one seed each, exceed as rarely as draws at random."""
    exceeded, trials, n = 0, 400, 19
    for seed in range(trials):
        numbers = draw(f"{seed:064x}", len(errors), n + 1)
        exceeded += errors[numbers[-1]] > max(errors[i] for i in numbers[:-1])
    assert tail(trials, Fraction(1, n + 1), exceeded) > 1e-6
    assert exceeded > 0


def test_the_draw_is_a_subset_that_depends_on_everything(pool) -> None:
    """Without replacement, the same again, another one for other models or another pool."""
    files = {"model.safetensors": "a" * 64}
    first, facts = draw_windows(pool, 50, original=files, compressed=files)
    again, same = draw_windows(pool, 50, original=files, compressed=files)
    assert facts == same and torch.equal(first, again)
    assert len(set(facts["drawn"])) == 50
    assert torch.equal(first, pool.ids[facts["drawn"]])
    for other in (
        draw_windows(pool, 50, original={"model.safetensors": "b" * 64}, compressed=files)[1],
        draw_windows(Pool(pool.ids[:-1], pool.files), 50, original=files, compressed=files)[1],
    ):
        assert other["drawn"] != facts["drawn"]
    fewer = draw_windows(pool, 30, original=files, compressed=files)[1]["drawn"]  # the number has a say too
    assert len({*fewer} & {*facts["drawn"]}) < 30 and fewer != facts["drawn"][:30]


def test_a_text_pool_names_its_files_and_cuts_each_on_its_own(pool, tmp_path: Path) -> None:
    """Windows never span two files; files with one name are told apart; unusable files are refused."""
    assert set(pool.files) == {"ast.py", "bisect.py", "heapq.py"}
    (tmp_path / "x").mkdir()
    for name, text in (("a.txt", "A" * 40), ("x/a.txt", "B" * 40)):
        (tmp_path / name).write_text(text)
    two = text_pool(byte_tokenizer(), [tmp_path / "a.txt", tmp_path / "x/a.txt"], length=16)
    assert two.ids.shape == (4, 16) and set(two.files) == {"a.txt", "a.txt (2)"}
    assert all(len(set(row)) == 1 for row in two.ids.tolist())
    with pytest.raises(InputError, match="one window of 64"):
        text_pool(byte_tokenizer(), [tmp_path / "a.txt"], length=64)
    with pytest.raises(ArtifactError, match="cannot be read"):
        text_pool(byte_tokenizer(), [tmp_path / "none.txt"], length=16)


def test_levels_are_the_stated_risks() -> None:
    """One percent, five and ten where there are windows enough, and always the largest error."""
    assert levels_for(1) == [1]
    assert levels_for(32) == [1, 3]
    assert levels_for(99) == [1, 5, 10]
    assert levels_for(199) == [1, 2, 10, 20]


def test_a_certificate_of_the_whole_pool_says_nothing_of_unseen_text(pool, model_dirs, noisy_dirs, tmp_path) -> None:
    """If every window was drawn nothing is unseen; with some left the bounds are the sorted errors."""
    few = Pool(pool.ids[:6], {})
    pair = model_dirs["gpt2"], noisy_dirs["gpt2"]
    everything = certify(*pair, pool=few, lean=False, every_input=False)
    assert everything.document["unseen"] is None and everything.document["subject"]["pool"]["windows"] == 6
    some = certify(*pair, pool=few, windows=4, lean=False, every_input=False)
    (level,) = some.document["unseen"]["levels"]
    rows = some.document["numbers"]["units"]["windows"]
    assert parse(level["error"]) == max(parse(row["error"][1]) for row in rows)
    assert (level["k"], level["of"]) == (1, 5)
    path = some.save(tmp_path / "some.json")
    found = verify(path, original=pair[0], compressed=pair[1], pool=few, lean=False)
    assert found.reached == ("arithmetic", "recompute"), found.summary
    assert verify(path, original=pair[0], compressed=pair[1], lean=False).reached == ("arithmetic",)


def test_the_hash_of_a_pool_depends_on_order_and_shape(pool) -> None:
    """Reshaped or reordered windows are another pool."""
    ids = pool.ids[:8]
    hashes = {pool_sha256(x) for x in (ids, ids.flip(0), ids.reshape(4, 32), ids[:7])}
    assert len(hashes) == 4


def test_what_no_checker_would_read_is_refused_before_any_work(model_dirs, noisy_dirs) -> None:
    """Too many windows, too many stored ids, too large a pool: one sentence that says what to do."""
    pair = model_dirs["gpt2"], noisy_dirs["gpt2"]
    with pytest.raises(InputError, match="at most 4096 windows"):
        certify(*pair, torch.zeros(4097, 2, dtype=torch.int64), lean=False)
    with pytest.raises(InputError, match="--tokens-external"):
        check_count(torch.zeros(1000, 200, dtype=torch.int64), external=False)
    check_count(torch.zeros(1000, 200, dtype=torch.int64), external=True)
    huge = Pool(torch.zeros((1 << 20) + 1, 2, dtype=torch.int8), {})
    with pytest.raises(InputError, match="pool has at most"):
        draw_windows(huge, 4, original={"a": "b"}, compressed={"a": "b"})


def test_a_certificate_that_no_reader_takes_is_not_given_out(model_dirs, noisy_dirs, ids, monkeypatch) -> None:
    """The limits of readers are met when it is made, not found out by those it is sent to."""
    monkeypatch.setattr("peelverify.certify.checker.MAX_VALUES", 200)
    with pytest.raises(InputError, match="more than 200 values"):
        certify(model_dirs["gpt2"], noisy_dirs["gpt2"], ids[:2], lean=False, every_input=False)

"""Python equals Lean: the kernel evaluates the definitions on drawn inputs and confirms what Python says.

Hypothesis draws the inputs, always the same ones. `peelverify.bounds` evaluates each function exactly, and one
generated Lean file states every value as an example that the kernel decides. A second file, with one wrong value
for each definition between right ones, must fail at exactly the wrong ones.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction as F

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from peelverify.bounds import (
    activations,
    certificate,
    compression,
    counting,
    exponential,
    layers,
    matrix,
    peeling,
    propagation,
    rounding,
    vector,
)
from peelverify.lean.build import BuildResult, build, check_source
from peelverify.lean.examples import Call, Claim, Mat, Vec, claim_of_message, kernel_examples
from peelverify.lean.theorems import index
from tests.laws.strategies import aligned, matrices, rationals, vectors

DRAWS = int(os.environ.get("PEELVERIFY_KERNEL_DRAWS", "6"))
"""Inputs drawn for each definition."""

AT_LEAST = 200
"""Claims that one run must check."""


def mixed(low: int = -8, high: int = 8) -> st.SearchStrategy[F]:
    """Short fractions, and floats with all of their 53 bits."""
    return rationals(low, high) | st.floats(low, high, allow_nan=False).map(F)


def entries(call: Call, values: Sequence[F]) -> list[Claim]:
    """The entries of a vector in Lean, each read off by an inner product with a unit vector."""
    size = len(values)
    units = [Vec(tuple(F(i == j) for j in range(size))) for i in range(size)]
    return [Claim(Call("dot", (unit, call)), F(value)) for unit, value in zip(units, values, strict=True)]


def table(call: Call, rows: Sequence[Sequence[F]]) -> list[Claim]:
    """The columns of a matrix in Lean, each read off by a product with a unit vector."""
    width = len(rows[0])
    claims = []
    for j in range(width):
        unit = Vec(tuple(F(i == j) for i in range(width)))
        claims += entries(Call("mulVec", (call, unit)), [row[j] for row in rows])
    return claims


def mask(keep: Sequence[bool]) -> Call:
    """A mask in Lean: that of the entries that score one."""
    return Call("scoreMask", (Vec(tuple(F(k) for k in keep)), sum(keep)))


def number(call: Call, value: F | int) -> list[Claim]:
    """One claim about a number of the field."""
    return [Claim(call, F(value))]


V = lambda x: Vec(tuple(x))  # noqa: E731
M = lambda rows: Mat(tuple(tuple(row) for row in rows))  # noqa: E731


@dataclass(frozen=True)
class Definition:
    """How a Lean definition is tested: what is drawn, and the claims that follow from it."""

    drawn: st.SearchStrategy
    claims: Callable[..., list[Claim]]


def steps() -> st.SearchStrategy[list[tuple[F, F]]]:
    """Blocks of a chain."""
    return st.lists(st.tuples(mixed(0), mixed(0)), max_size=6)


def units() -> st.SearchStrategy[F]:
    """Relative errors of one rounding, coarse and fine."""
    return st.sampled_from([F(1, 4), F(1, 10), F(1, 2**8), F(1, 2**24), F(1, 2**53)])


def one(function, lean, *drawn) -> Definition:
    """A definition from numbers to a number."""
    return Definition(st.tuples(*drawn), lambda *x: number(Call(lean, x), function(*x)))


@st.composite
def fits(draw, weights: int = 1):
    """Features of up to three samples, targets, and weight vectors."""
    m, n = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    ws = [draw(vectors(n, n, mixed())) for _ in range(weights)]
    return draw(matrices(m, n, mixed())), draw(vectors(m, m, mixed())), *ws


@st.composite
def products(draw):
    """Two matrices that can be multiplied."""
    m, n, p = (draw(st.integers(1, 3)) for _ in range(3))
    return draw(matrices(m, n, mixed())), draw(matrices(n, p, mixed()))


@st.composite
def certificates(draw):
    """A matrix, a factor and a claimed bound that is sometimes right."""
    n = draw(st.integers(1, 2))
    rows = draw(matrices(2, n, rationals(-1, 1)))
    return rows, draw(matrices(1, n, rationals(-1, 1))), draw(rationals(0, 4))


@st.composite
def wide_layers(draw):
    """Features, targets and weights of a layer with several outputs."""
    m, n, p = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return draw(matrices(m, n, mixed())), draw(matrices(m, p, mixed())), draw(matrices(n, p, mixed()))


@st.composite
def masked(draw):
    """Weights and a mask."""
    w = draw(vectors(1, 4, mixed()))
    return w, draw(st.lists(st.booleans(), min_size=len(w), max_size=len(w)))


@st.composite
def counted(draw):
    """Numbers, ties among them, and how many of them to keep."""
    score = draw(vectors(1, 5, st.sampled_from([F(0), F(1), F(-1), F(1, 3)]) | mixed()))
    return score, draw(st.integers(0, len(score)))


def mask_claims(lean: str, function: Callable) -> Callable[..., list[Claim]]:
    """A mask read off as the sum of the powers of two at the dropped entries."""

    def claims(score, kept):
        powers = V(F(2**i) for i in range(len(score)))
        dropped = sum(2**i for i, keep in enumerate(function(score, kept)) if not keep)
        return number(Call("droppedScore", (powers, Call(lean, (V(score), kept)))), dropped)

    return claims


def matrix_record(a, factor, bound, radius, output) -> Call:
    """The certificate of a matrix, checked in Lean."""
    sizes = (len(a), len(a[0]), len(factor))
    record = Call("MatrixCertificate.mk", (*sizes, a, factor, bound, radius, output))
    return Call("matrixCheck", (record,))


def dual_record(z, t, y, lower) -> Call:
    """The certificate of a lower bound, checked in Lean."""
    return Call("dualCheck", (Call("DualCertificate.mk", (len(z), len(z[0]), z, t, y, lower)),))


def crossed(z) -> list[F]:
    """A vector that is orthogonal to two features of three samples."""
    (a, b, c), (d, e, f) = zip(*z, strict=True)
    return [b * f - c * e, c * d - a * f, a * e - b * d]


def vector_pair() -> st.SearchStrategy[tuple[list[F], ...]]:
    """Two vectors of one length."""
    return aligned(2, max_size=4, entries=mixed())


def one_vector() -> st.SearchStrategy[tuple[list[F], ...]]:
    """One vector."""
    return aligned(1, max_size=4, entries=mixed())


def one_matrix() -> st.SearchStrategy[tuple[list[list[F]]]]:
    """One matrix."""
    return products().map(lambda pair: pair[:1])


TABLE: dict[str, Definition] = {
    "absVal": one(vector.abs_val, "absVal", mixed()),
    "dot": Definition(vector_pair(), lambda x, y: number(Call("dot", (V(x), V(y))), vector.dot(x, y))),
    "normSq": Definition(one_vector(), lambda x: number(Call("normSq", (V(x),)), vector.norm_sq(x))),
    "norm1": Definition(one_vector(), lambda x: number(Call("norm1", (V(x),)), vector.norm1(x))),
    "normInf": Definition(one_vector(), lambda x: number(Call("normInf", (V(x),)), vector.norm_inf(x))),
    "mulVec": Definition(fits(), lambda z, t, w: entries(Call("mulVec", (M(z), V(w))), matrix.mul_vec(z, w))),
    "matMul": Definition(products(), lambda a, b: table(Call("matMul", (M(a), M(b))), matrix.mat_mul(a, b))),
    "transpose": Definition(one_matrix(), lambda a: table(Call("transpose", (M(a),)), matrix.transpose(a))),
    "gram": Definition(one_matrix(), lambda a: table(Call("gram", (M(a),)), matrix.gram(a))),
    "frobSq": Definition(one_matrix(), lambda a: number(Call("frobSq", (M(a),)), matrix.frob_sq(a))),
    "spectralResidual": Definition(
        certificates(),
        lambda a, f, c: table(Call("spectralResidual", (M(a), M(f), c)), matrix.spectral_residual(a, f, c)),
    ),
    "spectralCheck": Definition(
        certificates(),
        lambda a, f, c: [Claim(Call("spectralCheck", (M(a), M(f), c)), matrix.spectral_check(a, f, c))],
    ),
    "chainBound": Definition(
        st.tuples(mixed(0), steps()),
        lambda e0, chain: number(Call("chainBound", (e0, chain)), propagation.chain_bound(e0, chain)),
    ),
    "gainProd": Definition(
        st.tuples(steps().filter(bool)),
        lambda chain: number(Call("gainProd", (chain,)), propagation.gain_product(chain)),
    ),
    "chainClosedForm": Definition(
        st.tuples(mixed(0), steps()),
        lambda e0, chain: number(Call("chainClosedForm", (e0, chain)), propagation.chain_closed_form(e0, chain)),
    ),
    "chainShares": Definition(
        st.tuples(mixed(0), steps()),
        lambda e0, chain: [
            Claim(Call("chainShares", (e0, chain)), [F(x) for x in propagation.chain_shares(e0, chain)])
        ],
    ),
    "geometricBound": one(
        propagation.geometric_bound, "geometricBound", mixed(0), mixed(0), mixed(0), st.integers(0, 8)
    ),
    "geometricLimit": one(
        propagation.geometric_limit, "geometricLimit", mixed(0), mixed(0, 1).filter(lambda x: x < 1), mixed(0)
    ),
    "telescopeProd": Definition(
        st.tuples(mixed(0), st.lists(mixed(0), max_size=6)),
        lambda v0, rhos: number(Call("telescopeProd", (v0, rhos)), propagation.telescope(v0, rhos)),
    ),
    "squaredErrorIdentity": one(
        propagation.squared_error_identity, "squaredErrorIdentity", mixed(0), mixed(), mixed(0)
    ),
    "osc": Definition(one_vector(), lambda x: number(Call("osc", (V(x),)), propagation.oscillation(x))),
    "pruned": Definition(
        masked(), lambda w, keep: entries(Call("pruned", (V(w), mask(keep))), compression.pruned(w, keep))
    ),
    "droppedScore": Definition(
        masked(),
        lambda w, keep: number(Call("droppedScore", (V(w), mask(keep))), compression.dropped_score(w, keep)),
    ),
    "droppedEnergy": Definition(
        masked(),
        lambda w, keep: number(Call("droppedEnergy", (V(w), mask(keep))), compression.dropped_energy(w, keep)),
    ),
    "scoreMask": Definition(counted(), mask_claims("scoreMask", compression.score_mask)),
    "magnitudeMask": Definition(counted(), mask_claims("magnitudeMask", compression.magnitude_mask)),
    "nearerEnd": Definition(
        st.tuples(mixed(), mixed(0), mixed(0)),
        lambda low, a, b: number(
            Call("nearerEnd", (low + a, low, low + a + b)), compression.nearer_end(low + a, low, low + a + b)
        ),
    ),
    "clip": Definition(
        st.tuples(mixed(), mixed(), mixed(0)),
        lambda w, low, size: number(Call("clip", (w, low, low + size)), compression.clip(w, low, low + size)),
    ),
    "quantizeFrobSqUpper": Definition(
        st.tuples(vectors(1, 4, mixed(0)), st.integers(0, 9)),
        lambda widths, columns: number(
            Call("quantizeFrobSqUpper", (V(widths), columns)), compression.quantize_frob_sq_upper(widths, columns)
        ),
    ),
    "residual": Definition(
        fits(), lambda z, t, w: entries(Call("residual", (M(z), V(t), V(w))), peeling.residual(z, t, w))
    ),
    "normalEquationResidual": Definition(
        fits(),
        lambda z, t, w: entries(
            Call("normalEquationResidual", (M(z), V(t), V(w))), peeling.normal_equation_residual(z, t, w)
        ),
    ),
    "pythagoreanGap": Definition(
        fits(2),
        lambda z, t, w, w0: number(Call("pythagoreanGap", (M(z), V(w), V(w0))), peeling.pythagorean_gap(z, w, w0)),
    ),
    "dualLowerBoundSq": Definition(
        vector_pair().filter(lambda pair: any(pair[0])),
        lambda y, t: number(Call("dualLowerBoundSq", (V(y), V(t))), peeling.dual_lower_bound_sq(y, t)),
    ),
    "bestScale": Definition(
        vector_pair(), lambda p, t: number(Call("bestScale", (V(p), V(t))), peeling.best_scale(p, t))
    ),
    "flipChange": one(peeling.flip_change, "flipChange", mixed(), st.sampled_from([F(1), F(-1)]), mixed(), mixed(0)),
    "ridgeLoss": Definition(
        st.tuples(fits(), mixed(0)),
        lambda layer, lam: number(
            Call("ridgeLoss", (M(layer[0]), V(layer[1]), lam, V(layer[2]))),
            peeling.ridge_loss(layer[0], layer[1], lam, layer[2]),
        ),
    ),
    "witnessGap": one(peeling.witness_gap, "witnessGap", mixed(0), mixed(0)),
    "signOf": one(peeling.sign_of, "signOf", st.sampled_from([F(0), F(-1, 3)]) | mixed()),
    "ternaryOf": one(peeling.ternary_of, "ternaryOf", mixed(0), mixed(0), mixed()),
    "relu": Definition(one_vector(), lambda x: entries(Call("relu", (V(x),)), peeling.relu(x))),
    "suiteMin": Definition(
        vectors(1, 5, mixed()).map(lambda x: (x,)),
        lambda x: number(Call("suiteMin", (x[0], x[1:])), peeling.suite_min(x)),
    ),
    "gramCheck": Definition(
        st.tuples(one_matrix(), st.lists(rationals(0), min_size=1, max_size=3)),
        lambda a, bounds: [Claim(Call("gramCheck", (M(a[0]), bounds)), matrix.gram_iteration_check(a[0], bounds))],
    ),
    "relativeStep": one(propagation.relative_step, "relativeStep", mixed(0), mixed(0), mixed(0), mixed(0)),
    "foldScale": Definition(
        fits(), lambda w, t, scale: table(Call("foldScale", (M(w), V(scale))), activations.fold_scale(w, scale))
    ),
    "mixture": Definition(fits(), lambda z, t, w: entries(Call("mixture", (V(t), M(z))), activations.mixture(t, z))),
    "countAtLeast": Definition(
        counted(), lambda x, k: [Claim(Call("countAtLeast", (x[0], x)), counting.count_at_least(x[0], x))]
    ),
    "kthLargest": Definition(
        counted().filter(lambda pair: pair[1]),
        lambda x, k: [Claim(Call("kthLargest", (x, k)), Call("some", (F(counting.kth_largest(x, k)),)))],
    ),
    "matrixCheck": Definition(
        st.tuples(certificates(), rationals(0), rationals(0)),
        lambda found, radius, output: [
            Claim(matrix_record(*found, radius, limit), certificate.matrix_check(*found, radius, limit))
            for limit in (output, found[2] * radius)
        ],
    ),
    "dualCheck": Definition(
        st.tuples(matrices(3, 2, rationals(-2, 2)), vectors(3, 3, rationals()), rationals(0)),
        lambda z, t, lower: [
            Claim(dual_record(z, t, y, low), certificate.dual_check(z, t, y, low))
            for y in (crossed(z), t)
            for low in (lower, F(-1))
        ],
    ),
    "frobDot": Definition(
        st.tuples(matrices(2, 3, mixed()), matrices(2, 3, mixed())),
        lambda a, b: number(Call("frobDot", (M(a), M(b))), layers.frob_dot(a, b)),
    ),
    "layerResidual": Definition(
        wide_layers(),
        lambda z, t, w: table(Call("layerResidual", (M(z), M(t), M(w))), layers.layer_residual(z, t, w)),
    ),
    "layerNormalResidual": Definition(
        wide_layers(),
        lambda z, t, w: table(
            Call("layerNormalResidual", (M(z), M(t), M(w))), layers.layer_normal_equation_residual(z, t, w)
        ),
    ),
    "convexityResidual": Definition(
        certificates(),
        lambda z, f, mu: table(Call("convexityResidual", (M(z), M(f), mu)), layers.convexity_residual(z, f, mu)),
    ),
    "convexityCheck": Definition(
        certificates(),
        lambda z, f, mu: [
            Claim(Call("convexityCheck", (M(z), M(f), claim)), layers.convexity_check(z, f, claim))
            for claim in (mu, F(0), mu / 16)
        ],
    ),
    "squared": Definition(
        st.tuples(rationals(-3, 3), st.integers(0, 3)),
        lambda x, k: number(Call("squared", (Call("id"), k, x)), exponential.squared(x, k)),
    ),
    "expLower": Definition(
        st.tuples(rationals(-2, 2), st.integers(1, 4)),
        lambda x, k: number(Call("expLower", (Call("id"), k, x)), exponential.exp_lower(x, k)),
    ),
    "expUpper": Definition(
        st.tuples(rationals(-3, 1), st.integers(1, 4)),
        lambda x, k: number(Call("expUpper", (Call("id"), k, x)), exponential.exp_upper(x, k)),
    ),
    "expTaylor": one(exponential.exp_taylor, "expTaylor", mixed(-1, 1)),
    "expTaylorError": Definition(
        st.tuples(mixed(-1, 1), st.integers(0, 60)),
        lambda x, k: number(Call("expTaylorError", (k, x / 16)), exponential.exp_taylor_error(x / 16, k)),
    ),
    "hornerError": one(exponential.horner_error, "hornerError", *[mixed(0, 1)] * 6),
    "relativeProduct": one(exponential.relative_product, "relativeProduct", mixed(0, 1), mixed(0, 1)),
    "expError": one(
        exponential.exp_error, "expError", *[mixed(0, 1)] * 3, rationals(0, 1).map(lambda x: x / 2)
    ),
    "termsError": one(exponential.terms_error, "termsError", st.integers(1, 50), mixed(0, 1), mixed(0, 1)),
    "meanError": one(
        exponential.mean_error,
        "meanError",
        *[part for _ in range(2) for part in (mixed(0, 1).map(lambda x: x / 2), mixed(0, 1))],
    ),
    "growth": one(rounding.growth, "growth", units(), st.integers(0, 9)),
    "gamma": one(rounding.gamma, "gamma", units(), st.integers(0, 3)),
    "nonnegSumUpper": one(
        rounding.nonneg_sum_upper, "nonnegSumUpper", mixed(0), mixed(0, 1).filter(lambda x: x < 1), mixed(0)
    ),
    "nonnegSumLower": one(rounding.nonneg_sum_lower, "nonnegSumLower", mixed(0), mixed(0, 1), mixed(0)),
}

NOT_EVALUATED = {
    "Norm2Le": "a proposition about normSq, which is evaluated",
    "FrobLe": "a proposition about frobSq, which is evaluated",
    "DiagonallyDominant": "a proposition that spectralCheck, which is evaluated, decides",
    "InFormat": "a proposition: that some integer and some power of two exist",
}
"""Mirrored definitions that are not evaluated here, and why."""


def drawn(strategy: st.SearchStrategy, count: int) -> list:
    """The same examples in every run."""
    found = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example):
        found.append(example)

    collect()
    return found


def claims_of(name: str) -> list[Claim]:
    """Every claim about one definition."""
    definition = TABLE[name]
    return [claim for example in drawn(definition.drawn, DRAWS) for claim in definition.claims(*example)]


def spoiled(claim: Claim) -> Claim:
    """The claim with another value on the right."""
    right = claim.right
    if isinstance(right, bool):
        return Claim(claim.left, not right)
    if isinstance(right, list):
        return Claim(claim.left, [right[0] + 1, *right[1:]])
    if isinstance(right, Call):
        return Claim(claim.left, Call("some", (F(10**6),)))
    return Claim(claim.left, right + 1)


@pytest.fixture(scope="module")
def claims() -> dict[str, list[Claim]]:
    """The claims about every definition."""
    return {name: claims_of(name) for name in TABLE}


@pytest.fixture(scope="module")
def proofs() -> BuildResult:
    """The proofs, built once."""
    return build()


def test_every_mirrored_definition_is_evaluated_or_excused():
    """No executable definition that `peelverify.bounds` mirrors is left out, and no row is left over."""
    mirrored = {
        entry.name.removeprefix("PeelVerify.")
        for entry in index()
        if entry.kind == "def" and (entry.mirror or "").startswith("peelverify.bounds.")
    }
    assert mirrored
    assert mirrored == set(TABLE) | set(NOT_EVALUATED)
    assert not set(TABLE) & set(NOT_EVALUATED)
    assert all(reason.strip() for reason in NOT_EVALUATED.values())


def test_there_are_enough_claims(claims):
    """Each definition has claims, and together there are at least two hundred."""
    assert all(claims.values())
    assert sum(map(len, claims.values())) >= AT_LEAST


def test_the_kernel_confirms_every_value(claims, proofs, capsys):
    """Lean's kernel evaluates each definition to the value that Python computes."""
    listed = [(name, claim) for name, found in claims.items() for claim in found]
    result = check_source(kernel_examples([claim for _, claim in listed]), base=proofs)
    wrong = [listed[at][0] for at in map(claim_of_message, result.messages) if at is not None]
    assert result.ok, f"Lean disagrees about {sorted(set(wrong))}: {result.messages[:3]}"
    with capsys.disabled():
        print(f"\n{len(listed)} values of {len(claims)} definitions confirmed in {result.seconds:.1f} s")


def test_a_wrong_value_fails_where_it_stands(claims, proofs):
    """One wrong value for each definition, between right ones, fails at exactly the wrong lines."""
    listed, wrong = [], set()
    for found in claims.values():
        listed.append(found[0])
        wrong.add(len(listed))
        listed.append(spoiled(found[0]))
    result = check_source(kernel_examples(listed), base=proofs)
    assert not result.ok
    failed = {claim_of_message(message) for message in result.messages if message.severity == "error"}
    assert failed == wrong


def test_the_inputs_are_the_same_in_every_run():
    """The drawn inputs do not change from run to run, so neither does the file, and it is checked once."""
    assert claims_of("chainBound") == claims_of("chainBound")
    assert len({repr(claim) for claim in claims_of("chainBound")}) > 1
    assert inspect.isfunction(TABLE["chainBound"].claims)

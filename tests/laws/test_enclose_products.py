"""Laws of enclosed products and residuals, judged by exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peelverify.enclose import (
    matmul_enclosed,
    norm_fro_upper,
    products,
    residual_norm_fro_lower,
    sqrt_lower,
    sqrt_upper,
)
from peelverify.enclose.products import Product, residual_norm_fro_upper, sum_is_exact
from peelverify.errors import NumericalError, ShapeError

from .checking import Law, every_mutant_goes_red, goes_red, hard_cases, law, reaches
from .float_arrays import ANY_FLOAT, MODERATE, exact, frob_sq
from .float_arrays import product as exact_product

RNG = np.random.default_rng(11)
THIRDS = np.full((2, 50), 1 / 3)
SMALL = st.floats(-1e100, 1e100, allow_nan=False)
GRID = st.integers(-7, 7).map(lambda k: k / 4)


@st.composite
def factors(draw, elements):
    """Two matrices that can be multiplied."""
    m, n, p = (draw(st.integers(1, 4)) for _ in range(3))
    return tuple(draw(hnp.arrays(np.float64, shape, elements=elements)) for shape in ((m, n), (n, p)))


@st.composite
def with_target(draw, elements):
    """A target and two matrices."""
    z, w = draw(factors(elements))
    return draw(hnp.arrays(np.float64, (z.shape[0], w.shape[1]), elements=elements)), z, w


HARD_FACTORS = [
    (THIRDS, THIRDS.T),
    (np.array([[1e-170, 1.0]]), np.array([[1e-170], [1e-320]])),
    (np.array([[1e250, 1.0], [1e-250, 3.0]]), np.array([[1e-200], [1 / 3]])),
    (np.array([[5e-324]]), np.array([[0.3]])),
    (np.array([[5e-324, 1e-300]]), np.array([[1e10], [-1e-30]])),
    (np.array([[3.0, -0.5]]), np.array([[0.25], [7.0]])),
    (RNG.standard_normal((3, 40)), RNG.standard_normal((40, 2))),
    (np.array([[1.0, 2.0**-54]]), np.array([[1.0], [1.0]])),
    (np.array([[1e160]]), np.array([[1e140]])),
    (np.zeros((2, 3)), np.ones((3, 1))),
]


class Test_matMul_enclosure(Law):
    """Every entry of a computed product is within its radius."""

    hard = HARD_FACTORS
    mutants = [
        lambda a, b: Product(a @ b, 0 * (a @ b)),
        lambda a, b: Product(a @ b, np.spacing(np.abs(a @ b))),
        lambda a, b: Product(a @ b, 2.0**-53 * np.abs(a @ b)),
        lambda a, b: Product((a.astype(np.float32) @ b.astype(np.float32)).astype(np.float64),
                             matmul_enclosed(a, b).radius),
    ]

    @staticmethod
    def check(function, a, b):
        """The exact entry lies within the radius of the computed one."""
        with np.errstate(all="ignore"):
            approx, radius = function(a, b)
        assert np.isfinite(radius).all()
        assert (radius >= 0).all()
        for truth, found, allowed in zip(exact_product(exact(a), exact(b)), exact(approx), exact(radius), strict=True):
            for x, y, r in zip(truth, found, allowed, strict=True):
                assert abs(x - y) <= r

    @law
    @given(factors(SMALL) | factors(MODERATE) | factors(GRID))
    @hard_cases([(case,) for case in HARD_FACTORS])
    def test_holds(self, pair):
        """At any magnitude whose product is finite, subnormal numbers included."""
        self.check(matmul_enclosed, *pair)

    def test_not_vacuous(self):
        """The radius is below 1e-13 of the magnitudes, and zero on a grid."""
        a, b = HARD_FACTORS[6]
        assert (matmul_enclosed(a, b).radius <= 1e-13 * (np.abs(a) @ np.abs(b))).all()
        assert not matmul_enclosed(*HARD_FACTORS[5]).radius.any()
        one = matmul_enclosed(np.array([[1 + 2.0**-30]]), np.array([[1 + 2.0**-23]]))
        truth = (1 + F(1, 2**30)) * (1 + F(1, 2**23))
        reaches("matMul_enclosure", abs(truth - F(one.approx[0, 0])), F(one.radius[0, 0]), F(1, 1000))

    def test_needs_its_hypothesis(self, monkeypatch):
        """A product in float32 is outside; sizes that do not fit and overflow are refused."""
        with pytest.raises(ShapeError, match="columns on the left"):
            matmul_enclosed(np.ones((2, 3)), np.ones((2, 3)))
        with pytest.raises(NumericalError, match="overflow"):
            matmul_enclosed(np.array([[1e200]]), np.array([[1e200]]))
        monkeypatch.setattr(products, "gamma", lambda unit, n: F(0))
        goes_red(self.check, matmul_enclosed, *HARD_FACTORS[6])


HARD_RESIDUALS = [
    (THIRDS @ THIRDS.T, THIRDS, THIRDS.T),
    (np.array([[1.0]]), np.array([[0.5]]), np.array([[2.0]])),
    (np.array([[1.0, 2.0]]), np.array([[1 / 3]]), np.array([[3.0, 6.0]])),
    (np.zeros((1, 1)), np.array([[1e-170]]), np.array([[1e-170]])),
    (RNG.standard_normal((3, 2)), *HARD_FACTORS[6]),
    (HARD_FACTORS[6][0] @ HARD_FACTORS[6][1], *HARD_FACTORS[6]),
    (np.array([[1e200]]), np.array([[1e100]]), np.array([[1e100]])),
]
FAR_RESIDUALS = [
    (np.ones((2, 2)), np.full((2, 2), 1e300), np.full((2, 2), 1e300)),
    (np.full((2, 2), 1.7e308), np.full((2, 2), -1e300), np.full((2, 2), 1e7)),
    (np.full((2, 2), 2.0**1000), np.full((2, 2), 2.0**900), np.full((2, 2), 2.0**99)),
    (np.zeros((2, 2)), np.full((2, 2), 1e-300), np.full((2, 2), 1e-300)),
    (np.full((2, 2), 5e-324), np.full((2, 2), 1e-300), np.full((2, 2), 1e-310)),
    (np.full((1, 1), 3.0), np.array([[1e300, 1e300]]), np.array([[1e300], [-1e300]])),
    (np.full((1, 1), 3.0), np.array([[2.0**1000, 2.0**1000]]), np.array([[2.0**1000], [-(2.0**1000)]])),
    (np.full((1, 1), 1e-300), np.array([[1e300, 1e-300]]), np.array([[0.0], [2.0]])),
    (np.zeros((1, 1)), np.array([[1.0, 1e-300]]), np.array([[0.0], [1e-300]])),
    (np.array([[2.0**1000, 0.0]]), np.array([[2.0**1000, 1e-300]]), np.array([[1.0, 0.0], [0.0, 1e-300]])),
    (np.array([[1e300, 1e-300]]), np.array([[1e-320]]), np.array([[1e308, 1e-308]])),
    (np.ones((1, 1)), np.array([[2.0**1000, 2.0**400]]), np.array([[2.0**400], [-(2.0**1000)]])),
    (np.zeros((1, 1)), np.array([[2.0**1000, 2.0**400, 1 / 3]]), np.array([[2.0**400], [-(2.0**1000)], [1 / 3]])),
    (np.array([[1e-300, 1.0, 0.0]]), np.array([[1e200, 1e-200]]), np.array([[0.0, 1e200, 1.0], [1e-150, 0.1, 0.0]])),
]
"""Products beyond float64 at either end, alone and beside ordinary ones."""


def truth_sq(t, z, w):
    """The exact square of the residual's norm."""
    fit = exact_product(exact(z), exact(w))
    return frob_sq([[x - y for x, y in zip(row, line, strict=True)] for row, line in zip(exact(t), fit, strict=True)])


def hidden(z, w):
    """What rounding may hide of a residual: so much of the norm of ``|z| |w|`` as the terms of a product."""
    size = frob_sq(exact_product(exact(np.abs(z)), exact(np.abs(w))))
    return (z.shape[1] + 1) * F(1, 2**52) * sqrt_upper(size)


class Test_FrobLe_residual_of_computed(Law):
    """No residual is above the upper bound."""

    hard = HARD_RESIDUALS + FAR_RESIDUALS
    mutants = [
        lambda t, z, w: norm_fro_upper(t - z @ w),
        lambda t, z, w: residual_norm_fro_lower(t, z, w),
        lambda t, z, w: residual_norm_fro_upper(t, z, w) * (1 - F(1, 10**4)),
    ]

    @staticmethod
    def check(function, t, z, w):
        """The square of the answer is at least the exact squared residual."""
        assert truth_sq(t, z, w) <= function(t, z, w) ** 2

    @law
    @given(with_target(ANY_FLOAT) | with_target(SMALL) | with_target(MODERATE) | with_target(GRID))
    @hard_cases([(case,) for case in HARD_RESIDUALS + FAR_RESIDUALS])
    def test_holds(self, three):
        """At any magnitude, also where the residual is nothing but rounding; and it is sharp."""
        self.check(residual_norm_fro_upper, *three)
        found = residual_norm_fro_upper(*three)
        assert found <= sqrt_upper(truth_sq(*three)) * (1 + F(1, 10**12)) + hidden(*three[1:])

    def test_not_vacuous(self):
        """It is within 1e-12 of a residual that is not small, and exact on a grid."""
        t, z, w = HARD_RESIDUALS[4]
        reaches("FrobLe_residual_of_computed", truth_sq(t, z, w), residual_norm_fro_upper(t, z, w) ** 2,
                1 - F(1, 10**12))
        assert residual_norm_fro_upper(*HARD_RESIDUALS[1]) == 0
        assert residual_norm_fro_upper(*FAR_RESIDUALS[2]) == 0
        for three in (FAR_RESIDUALS[0], FAR_RESIDUALS[3], FAR_RESIDUALS[6], *FAR_RESIDUALS[8:10]):
            assert residual_norm_fro_upper(*three) ** 2 <= truth_sq(*three) * (1 + F(1, 10**12))

    def test_needs_its_hypothesis(self, monkeypatch):
        """Without the radius of the product the bound is wrong."""
        real = products._enclosed
        monkeypatch.setattr(products, "_enclosed", lambda *a: Product(real(*a).approx, 0 * real(*a).radius))
        goes_red(self.check, residual_norm_fro_upper, *HARD_RESIDUALS[5])

    @pytest.mark.parametrize("case", FAR_RESIDUALS[11:13])
    def test_needs_what_scaling_lost(self, case, monkeypatch):
        """Where bands cancel, a target that vanishes beside them is still in the error of their sum."""
        real = products._sum_at
        monkeypatch.setattr(products, "_sum_at", lambda *a: (real(*a)[0], 0 * real(*a)[1]))
        goes_red(self.check, residual_norm_fro_upper, *case)


class Test_le_residual_of_computed(Law):
    """No residual is below the lower bound."""

    hard = HARD_RESIDUALS + FAR_RESIDUALS
    mutants = [
        lambda t, z, w: residual_norm_fro_upper(t, z, w),
        lambda t, z, w: residual_norm_fro_lower(t, z, w) * (1 + F(1, 10**9)),
        lambda t, z, w: residual_norm_fro_lower(t, z, w) + F(1, 10**30),
    ]

    @staticmethod
    def check(function, t, z, w):
        """The square of the answer is at most the exact squared residual."""
        answer = function(t, z, w)
        assert answer >= 0
        assert answer**2 <= truth_sq(t, z, w)

    @law
    @given(with_target(ANY_FLOAT) | with_target(SMALL) | with_target(MODERATE) | with_target(GRID))
    @hard_cases([(case,) for case in HARD_RESIDUALS + FAR_RESIDUALS])
    def test_holds(self, three):
        """At any magnitude; and it is sharp."""
        self.check(residual_norm_fro_lower, *three)
        found = residual_norm_fro_lower(*three)
        assert found >= sqrt_lower(truth_sq(*three)) * (1 - F(1, 10**12)) - hidden(*three[1:])

    def test_not_vacuous(self):
        """It is within 1e-12 of a residual that is not small."""
        t, z, w = HARD_RESIDUALS[4]
        reaches("le_residual_of_computed", residual_norm_fro_lower(t, z, w) ** 2, truth_sq(t, z, w), 1 - F(1, 10**12))
        for three in (FAR_RESIDUALS[0], FAR_RESIDUALS[3], FAR_RESIDUALS[6], *FAR_RESIDUALS[8:10]):
            assert residual_norm_fro_lower(*three) ** 2 >= truth_sq(*three) * (1 - F(1, 10**12))

    def test_needs_its_hypothesis(self, monkeypatch):
        """Without the radius of the product the bound is wrong for some residual."""
        real = products._enclosed
        monkeypatch.setattr(products, "_enclosed", lambda *a: Product(real(*a).approx, 0 * real(*a).radius))
        a, b = HARD_FACTORS[6]
        nearest = np.array([[float(x) for x in row] for row in exact_product(exact(a), exact(b))])
        goes_red(self.check, residual_norm_fro_lower, nearest, a, b)


class Test_computes_exact_on_grid(Law):
    """What is said to be exact is computed without error, in any order."""

    hard = [
        ([1.0, 2.0**-52, -(2.0**-52)], F(1, 2**52)),
        ([2.0**53, 1.0, 1.0], F(1)),
        ([0.75, -0.5, 0.25], F(1, 4)),
        ([2.0**52, 2.0**52, 1.0, 1.0], F(1)),
        ([1.0] * 5, F(1)),
    ]
    mutants = [
        lambda magnitude, step: True,
        lambda magnitude, step: sum_is_exact(magnitude, step, 54),
        lambda magnitude, step: sum_is_exact(magnitude / 4, step),
    ]

    @staticmethod
    def check(function, terms, step):
        """If the answer is yes, forward, backward and pairwise sums are the exact one."""
        magnitude, truth = sum(abs(F(x)) for x in terms), sum(map(F, terms), F(0))
        if function(magnitude, step):
            orders = [terms, terms[::-1], sorted(terms), sorted(terms, key=abs)]
            for order in orders:
                total = 0.0
                for x in order:
                    total += x
                assert F(total) == truth

    @law
    @given(st.lists(st.integers(-(2**53), 2**53), max_size=8), st.integers(-60, 60))
    def test_holds(self, whole, power):
        """For whole multiples of any power of two."""
        self.check(sum_is_exact, [float(k) * 2.0**power for k in whole], F(2) ** power)

    def test_not_vacuous(self):
        """All 2^53 steps may be used."""
        assert sum_is_exact(F(2**53), F(1))
        assert not sum_is_exact(F(2**53 + 1), F(1))

    def test_needs_its_hypothesis(self):
        """Terms that are no multiples of the step are rounded."""
        every_mutant_goes_red(self.check, [sum_is_exact], [([1.0, 2.0**-53, 2.0**-53, 2.0**-53], F(1))])

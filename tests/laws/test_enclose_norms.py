"""Laws of the enclosures of operator norms: spectral certificates, row and column sums, largest entries.

Arrays of floats go in, exact elimination over the rationals judges what comes out.
"""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.rounding import gamma
from peelverify.enclose import (
    norm_fro_lower,
    norm_fro_upper,
    norm_max_lower,
    norm_max_upper,
    norm_op1_lower,
    norm_op1_upper,
    norm_op2_lower,
    norm_op2_upper,
    norm_opinf_lower,
    norm_opinf_upper,
    operator,
)
from peelverify.enclose.frobenius import UNIT
from peelverify.enclose.operator import certificate_slack
from peelverify.errors import NonFiniteError, ShapeError

from .checking import Law, goes_red, hard_cases, law, reaches
from .float_arrays import MODERATE, bounds_op2, entries, exact, matrices, product
from .oracle import root_upper
from .strategies import rationals, signed_portions, sizes

RANDOM = np.random.default_rng(4).standard_normal((6, 8))
TALL = np.random.default_rng(5).standard_normal((9, 3))
SKEW = np.array([[3.0, 1.0], [0.0, 4.0]])
GRADED = np.array([[1e300, 1e-300], [1e10, -1e290]])
TINY_ONES = np.full((2, 3), 5e-324)
HUGE_ONES = np.full((3, 2), 1.7e308)
HARD = [(SKEW,), (RANDOM,), (TALL,), (GRADED,), (TINY_ONES,), (HUGE_ONES,), (np.eye(4),), (np.zeros((2, 2)),),
        (np.ones((5, 5)),), (np.diag([1.0, 1 - 1e-12, 1e-9]),), (np.array([[1 / 3, 2 / 3, -5.0]]),)]


class Test_opNorm2Le_of_rounded_certificate(Law):
    """No spectral norm is above the upper bound."""

    hard = HARD
    mutants = [
        lambda a: norm_op2_lower(a) * (1 - F(1, 10**9)),
        lambda a: F(float(np.abs(a).max())),
        lambda a: norm_op2_upper(a) * (1 - F(1, 10**6)),
        lambda a: norm_fro_upper(a) / 2,
    ]

    @staticmethod
    def check(function, array):
        """Exact elimination confirms the answer."""
        answer = function(array)
        assert answer >= 0
        assert bounds_op2(array, answer**2)

    @law
    @given(matrices() | matrices(MODERATE))
    @hard_cases(HARD)
    def test_holds(self, array):
        """At any magnitude, in either orientation."""
        self.check(norm_op2_upper, array)

    def test_not_vacuous(self):
        """Less than a millionth below it there is a vector that is stretched as much."""
        for case in (SKEW, RANDOM, TALL, GRADED, HUGE_ONES, np.eye(4), np.ones((5, 5))):
            bound = norm_op2_upper(case)
            assert not bounds_op2(case, (bound * (1 - F(1, 10**6))) ** 2)
            reaches("opNorm2Le_of_rounded_certificate", norm_op2_lower(case), bound, 1 - F(1, 10**6))

    def test_needs_its_hypothesis(self, monkeypatch):
        """Where dominance is not checked a bound is wrong; what is no matrix is refused."""
        monkeypatch.setattr(operator, "_largest", lambda gram: (1e-3, np.ones(len(gram))))
        monkeypatch.setattr(operator, "_certified", lambda gram, *_: np.eye(len(gram)))
        goes_red(self.check, norm_op2_upper, SKEW)
        with pytest.raises(ShapeError):
            norm_op2_upper(np.ones(3))


def certify(array, square, certified=None):
    """Whether the check accepts `square` as a bound on the squared spectral norm."""
    a = operator._Matrix(array)
    gram = a.gram()
    norms = operator._row_norms(gram, a.columns)
    return (certified or operator._certified)(gram, norms, a.columns, square, square * 2.0**-40) is not None


class Test_opNorm2Le_of_computed_certificate(Law):
    """What the certificate accepts is a bound, whatever factor was proposed."""

    hard = [(SKEW, 17.5), (SKEW, 17.9), (SKEW, 25.0), (np.eye(4), 1 - 2.0**-30), (np.eye(4), 1 + 2.0**-30),
            (RANDOM, 21.0), (np.ones((5, 5)), 25 - 1e-12), (np.ones((5, 5)), 25 + 1e-6)]
    mutants = [
        lambda array, square: True,
        lambda array, square: square > float((array @ array.T).diagonal().max()),
        lambda array, square: certify(array, square * (1 + 1e-6)),
        lambda array, square: certify(array * (1 - 1e-6), square),
    ]

    @staticmethod
    def check(function, array, square):
        """If the answer is yes, exact elimination says yes."""
        if function(array, square):
            assert bounds_op2(array, F(square))

    @law
    @given(st.tuples(matrices(MODERATE), st.floats(1e-9, 1e22)))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """For squares far below, near and far above."""
        self.check(certify, *case)

    def test_not_vacuous(self):
        """Squares a little above the largest eigenvalue are accepted."""
        assert certify(np.eye(4), 1 + 1e-9)
        assert certify(SKEW, float(np.linalg.svd(SKEW)[1][0]) ** 2 * (1 + 1e-9))

    def test_needs_its_hypothesis(self, monkeypatch):
        """If the residual is not looked at, a factor of something else passes."""
        monkeypatch.setattr(operator, "_residual", lambda gram, factor: (np.zeros(len(gram)), np.zeros(len(gram))))
        monkeypatch.setattr(operator.lapack, "dpotrf", lambda h, **_: (np.eye(len(h), order="F"), 0))
        goes_red(self.check, certify, SKEW, 17.0)


class Test_DiagonallyDominant_of_close(Law):
    """If a nearby matrix is dominant with room for the distance, the matrix is."""

    hard = [
        ([[F(2), F(1)], [F(1), F(3)]], [F(1), F(0)], [F(-1)] * 4),
        ([[F(2), F(1)], [F(1), F(3)]], [F(1, 2), F(1)], [F(-1)] * 4),
        ([[F(1)]], [F(2)], [F(-1)]),
        ([[F(3), F(2)], [F(0), F(1)]], [F(2), F(0)], [F(-1), F(1), F(1), F(1)]),
    ]
    mutants = [
        lambda room, off, slack: operator._dominant(room, off, 0 * slack),
        lambda room, off, slack: operator._dominant(room, 0 * off, slack),
        lambda room, off, slack: operator._dominant(2 * room, off, slack),
    ]

    @staticmethod
    def check(function, near, slack, parts):
        """If the answer is yes, every matrix within the slack is dominant: each entry moves by its part."""
        n = len(near)
        room = np.array([float(near[i][i]) for i in range(n)])
        off = np.array([float(sum(abs(near[i][j]) for j in range(n) if j != i)) for i in range(n)])
        if function(room, off, np.array([float(s) for s in slack])):
            for i in range(n):
                for hit in range(n):  # all of the slack of a row on one entry
                    row = [x + (parts[i * n + j] * slack[i] if j == hit else 0) for j, x in enumerate(near[i])]
                    assert sum(map(abs, row)) <= 2 * row[i]

    @law
    @given(st.integers(1, 3).flatmap(lambda n: st.tuples(
        st.lists(st.lists(rationals(), min_size=n, max_size=n), min_size=n, max_size=n),
        st.lists(rationals(0), min_size=n, max_size=n),
        st.lists(signed_portions(), min_size=n * n, max_size=n * n),
    )))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """Wherever the distance sits in the row."""
        self.check(operator._dominant, *case)

    def test_not_vacuous(self):
        """Room of a millionth is enough."""
        room = np.array([1 + 1e-6, 2.0])
        assert operator._dominant(room, np.array([0.5, 0.0]), np.array([0.5, 1.0]))
        assert not operator._dominant(np.array([1.0, 2.0]), np.array([0.5, 0.0]), np.array([0.5, 1.0]))

    def test_needs_its_hypothesis(self):
        """Twice the slack breaks dominance."""
        near = [[F(2), F(1)], [F(1), F(3)]]
        goes_red(lambda f: self.check(f, near, [F(3, 2), F(1)], [F(-1)] * 4),
                 lambda room, off, slack: operator._dominant(room, off, slack / 2))


@st.composite
def residuals(draw):
    """A, L, square, errors of the products and of the subtraction, and the parts that occur."""
    n, m, p = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def matrix(rows, columns, of):
        return [draw(st.lists(of, min_size=columns, max_size=columns)) for _ in range(rows)]

    short = st.integers(-3, 3).map(F)
    return (matrix(n, m, short), matrix(n, p, short), draw(sizes()), F(draw(st.integers(0, 4)), 8),
            F(draw(st.integers(0, 4)), 8), F(draw(st.integers(0, 4)), 8), matrix(n, n, signed_portions()),
            matrix(n, n, signed_portions()), matrix(n, n, signed_portions()))


class Test_spectral_slack(Law):
    """A computed residual is off by at most the slack of its row."""

    hard = [
        ([[F(1)]], [[F(2)]], F(5), F(1, 8), F(1, 8), F(1, 8), [[F(1)]], [[F(1)]], [[F(-1)]]),
        ([[F(3)], [F(-2)]], [[F(1)], [F(1)]], F(9), F(1, 8), F(0), F(0), [[F(1)] * 2] * 2, [[F(0)] * 2] * 2,
         [[F(0)] * 2] * 2),
        ([[F(1)], [F(0)]], [[F(1)], [F(4)]], F(9), F(0), F(1, 8), F(0), [[F(1)] * 2] * 2, [[F(1)] * 2] * 2,
         [[F(0)] * 2] * 2),
        ([[F(0)]], [[F(0)]], F(0), F(0), F(0), F(1), [[F(1)]], [[F(1)]], [[F(1)]]),
    ]
    mutants = [
        lambda r, a, q, l, s, f: certificate_slack(0, a, q, l, s, f),
        lambda r, a, q, l, s, f: certificate_slack(r, a, 0, l, s, f),
        lambda r, a, q, l, s, f: certificate_slack(r, a, q, l, 0 * s, f),
        lambda r, a, q, l, s, f: certificate_slack(r, a, q, l, s, 0),
        lambda r, a, q, l, s, f: r * a * a + q * l * l + s + f,
    ]

    @staticmethod
    def check(function, a, factor, square, relative, other, eta, part, part2, part3):
        """The sum of the errors of a row is at most the answer."""
        n = len(a)
        size = [[[abs(x) for x in row] for row in rows] for rows in (a, factor)]
        grams = [product(rows, [list(c) for c in zip(*rows, strict=True)]) for rows in (a, factor)]
        sizes_ = [product(rows, [list(c) for c in zip(*rows, strict=True)]) for rows in size]
        norms = [np.array([root_upper(g[i][i]) for i in range(n)], dtype=object) for g in grams]
        moved = [[[g[i][j] + p[i][j] * (r * s[i][j] + eta) for j in range(n)] for i in range(n)]
                 for g, s, p, r in zip(grams, sizes_, (part, part2), (relative, other), strict=True)]
        diagonal = [[square if i == j else F(0) for j in range(n)] for i in range(n)]
        formed = [[diagonal[i][j] - moved[0][i][j] - moved[1][i][j] + part3[i][j] * eta for j in range(n)]
                  for i in range(n)]
        true = [[diagonal[i][j] - grams[0][i][j] - grams[1][i][j] for j in range(n)] for i in range(n)]
        slack = function(relative, norms[0], other, norms[1], np.array([n * eta] * n, dtype=object), n * 2 * eta)
        for i in range(n):
            assert sum(abs(true[i][j] - formed[i][j]) for j in range(n)) <= slack[i]

    @law
    @given(residuals())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """However the products and the subtractions err within what is stated."""
        self.check(certificate_slack, *case)

    def test_not_vacuous(self):
        """One row and the largest errors reach it."""
        one = np.array([F(3)], dtype=object)
        slack = certificate_slack(F(1, 8), one, F(1, 4), one, np.array([F(1)], dtype=object), F(2))
        reaches("spectral_slack", F(9, 8) + F(9, 4) + 1 + 2, slack[0], 1)

    def test_needs_its_hypothesis(self):
        """Norms that are too small give too little slack."""
        goes_red(self.check, lambda r, a, q, l, s, f: certificate_slack(r, a * F(9, 10), q, l, s, f), *self.hard[0])


class Test_le_of_opNorm2Le(Law):
    """No spectral norm is below the lower bound."""

    hard = HARD
    mutants = [
        lambda a: norm_op2_upper(a) * (1 + F(1, 10**6)),
        lambda a: norm_fro_lower(a),
        lambda a: norm_op2_lower(a) * (1 + F(1, 10**6)),
        lambda a: norm_op1_lower(a),
    ]

    @staticmethod
    def check(function, array):
        """A hair below the answer exact elimination finds no bound."""
        answer = function(array)
        assert answer >= 0
        assert answer == 0 or not bounds_op2(array, (answer * (1 - F(1, 10**13))) ** 2)

    @law
    @given(matrices() | matrices(MODERATE))
    @hard_cases(HARD)
    def test_holds(self, array):
        """At any magnitude, in either orientation."""
        self.check(norm_op2_lower, array)

    def test_not_vacuous(self):
        """It comes within 1e-9 of the upper bound less its room."""
        for case in (SKEW, RANDOM, TALL, GRADED, np.eye(4), np.ones((5, 5)), HUGE_ONES):
            reaches("le_of_opNorm2Le", norm_op2_lower(case), norm_op2_upper(case), 1 - F(1, 4 * 10**6))

    def test_needs_its_hypothesis(self, monkeypatch):
        """A vector whose length is understated is no witness."""
        real = operator.sum_sq
        monkeypatch.setattr(
            operator, "sum_sq", lambda x: real(x * 0.9) if x.size == len(SKEW) and abs(x @ x - 1) < 1e-9 else real(x)
        )
        goes_red(self.check, norm_op2_lower, SKEW)


def row_sums(array):
    """Exact sums of magnitudes of the rows."""
    return [sum(map(abs, row)) for row in exact(array)]


LINES = [*HARD, (np.full((70, 3), 1 / 3),), (np.full((3, 70), 0.1),), (np.full((70, 70), 0.1),),
         (np.array([[1.0, 2.0**-53, 2.0**-53], [1.0, 2.0**-52, 0.0]]),)]


class Test_normInf_mulVec_le(Law):
    """No row sum is above the upper bound."""

    hard = LINES
    mutants = [
        lambda a: F(float(np.abs(a).sum(axis=1).max())) if np.abs(a).max() < 1e9 else norm_opinf_upper(a),
        lambda a: norm_op1_upper(a),
        lambda a: norm_max_upper(a),
        lambda a: norm_opinf_upper(a) * (1 - F(1, 2**63)),
    ]

    @staticmethod
    def check(function, array):
        """The answer is at least the largest exact row sum."""
        assert max(row_sums(array)) <= function(array)

    @law
    @given(matrices())
    @hard_cases(LINES)
    def test_holds(self, array):
        """At any magnitude, also with many ties."""
        self.check(norm_opinf_upper, array)

    def test_not_vacuous(self):
        """It is within 1e-12 of it."""
        for (case,) in LINES:
            if case.any():
                reaches("normInf_mulVec_le", max(row_sums(case)), norm_opinf_upper(case), 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self):
        """A bound on the row sums of another matrix does not serve; NaN is refused and located."""
        goes_red(self.check, lambda a: norm_opinf_upper(a * 0.5), SKEW)
        with pytest.raises(NonFiniteError, match=r"got 2 that are NaN or infinite, the first at index \(1, 0\)"):
            norm_opinf_upper(np.array([[1.0, 2.0], [np.inf, np.nan]]))


class Test_norm1_mulVec_le(Law):
    """No column sum is above the upper bound."""

    hard = LINES
    mutants = [
        lambda a: F(float(np.abs(a).sum(axis=0).max())) if np.abs(a).max() < 1e9 else norm_op1_upper(a),
        lambda a: norm_opinf_upper(a),
        lambda a: norm_max_upper(a),
        lambda a: norm_op1_upper(a) * (1 - F(1, 2**63)),
    ]

    @staticmethod
    def check(function, array):
        """The answer is at least the largest exact column sum."""
        assert max(row_sums(array.T)) <= function(array)

    @law
    @given(matrices())
    @hard_cases(LINES)
    def test_holds(self, array):
        """At any magnitude, also with many ties."""
        self.check(norm_op1_upper, array)

    def test_not_vacuous(self):
        """It is within 1e-12 of it."""
        for (case,) in LINES:
            if case.any():
                reaches("norm1_mulVec_le", max(row_sums(case.T)), norm_op1_upper(case), 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self):
        """A bound on the column sums of another matrix does not serve."""
        goes_red(self.check, lambda a: norm_op1_upper(a * 0.5), SKEW)


class Test_rowSum_le_of_bound(Law):
    """The lower bound is not above the largest row sum."""

    hard = LINES
    mutants = [
        lambda a: norm_opinf_upper(a) * (1 + F(1, 2**62)),
        lambda a: norm_op1_lower(a),
        lambda a: norm_fro_lower(a) * 2,
    ]

    @staticmethod
    def check(function, array):
        """A vector of signs is stretched at least as much."""
        a = exact(array)
        stretched = max(sum(x * (1 if x >= 0 else -1) for x in row) for row in a)
        assert 0 <= function(array) <= stretched

    @law
    @given(matrices())
    @hard_cases(LINES)
    def test_holds(self, array):
        """At any magnitude, also with many ties."""
        self.check(norm_opinf_lower, array)

    def test_not_vacuous(self):
        """It is within 1e-12 of it."""
        for (case,) in LINES:
            if case.any():
                reaches("rowSum_le_of_bound", norm_opinf_lower(case), max(row_sums(case)), 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self):
        """The row sum of another matrix is no lower bound."""
        goes_red(self.check, lambda a: norm_opinf_lower(a * 2), SKEW)


class Test_columnSum_le_of_bound(Law):
    """The lower bound is not above the largest column sum."""

    hard = LINES
    mutants = [
        lambda a: norm_op1_upper(a) * (1 + F(1, 2**62)),
        lambda a: norm_opinf_lower(a),
        lambda a: norm_fro_lower(a) * 2,
    ]

    @staticmethod
    def check(function, array):
        """A unit vector is stretched at least as much."""
        assert 0 <= function(array) <= max(row_sums(array.T))

    @law
    @given(matrices())
    @hard_cases(LINES)
    def test_holds(self, array):
        """At any magnitude, also with many ties."""
        self.check(norm_op1_lower, array)

    def test_not_vacuous(self):
        """It is within 1e-12 of it."""
        for (case,) in LINES:
            if case.any():
                reaches("columnSum_le_of_bound", norm_op1_lower(case), max(row_sums(case.T)), 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self):
        """The column sum of another matrix is no lower bound."""
        goes_red(self.check, lambda a: norm_op1_lower(a * 2), SKEW)


class LargestEntry(Law):
    """The largest magnitude of an entry."""

    hard = HARD
    mutants = [
        lambda a: F(float(a.max())),
        lambda a: F(float(np.abs(a).mean())),
        lambda a: F(float(-a.min())),
        lambda a: norm_fro_lower(a) * (1 + F(1, 10**6)),
    ]

    @staticmethod
    def check(function, array):
        """The answer is the largest exact magnitude."""
        assert function(array) == max(map(abs, entries(array)))


class Test_absVal_le_of_frobLe(LargestEntry):
    """No entry exceeds a bound on the Frobenius norm."""

    @law
    @given(matrices())
    @hard_cases(HARD)
    def test_holds(self, array):
        """At any magnitude."""
        self.check(norm_max_upper, array)
        assert norm_max_upper(array) <= norm_fro_upper(array)

    def test_not_vacuous(self):
        """One entry reaches it."""
        one = np.array([[0.0, -3.0]])
        reaches("absVal_le_of_frobLe", norm_max_upper(one), norm_fro_upper(one), 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self):
        """A number below the Frobenius norm need not bound the entries."""
        assert norm_max_upper(np.array([[-3.0]])) > norm_fro_upper(np.array([[-3.0]])) / 2


class Test_absVal_le_of_opNorm2Le(LargestEntry):
    """No entry exceeds a bound on the spectral norm."""

    @law
    @given(matrices())
    @hard_cases(HARD)
    def test_holds(self, array):
        """At any magnitude."""
        self.check(norm_max_lower, array)
        assert norm_max_lower(array) <= norm_op2_upper(array)

    def test_not_vacuous(self):
        """A diagonal matrix reaches it."""
        diagonal = np.diag([1.0, -3.0])
        reaches("absVal_le_of_opNorm2Le", norm_max_lower(diagonal), norm_op2_upper(diagonal), 1 - F(1, 10**6))

    def test_needs_its_hypothesis(self):
        """A number below the spectral norm need not bound the entries."""
        assert norm_max_lower(np.diag([1.0, -3.0])) > norm_op2_upper(np.diag([1.0, -3.0])) / 2


def test_gamma_of_the_check_is_that_of_the_theorem():
    """The relative errors in floats are above the exact ones."""
    for n in (1, 10, 4096, 10**6):
        assert float(gamma(UNIT, n)) * 1.01 > gamma(UNIT, n)

"""What rigorous bounds cost, against the plain floating-point functions and against interval and multiprecision tools.

    python benchmarks/enclose.py [--json FILE] [--quick] [--only op2|fro|memory|product] [--threads 1 2]
"""

from __future__ import annotations

import argparse
import sys

import flint
import measure
import ml_dtypes
import mpmath
import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

from peelverify.enclose import (
    matmul_enclosed,
    norm_fro_lower,
    norm_fro_upper,
    norm_op2_lower,
    norm_op2_upper,
    residual_norm_fro_upper,
)
from peelverify.enclose.compiled import compiled_squares

FLINT_AT_MOST = 64
MPMATH_AT_MOST = 24


def _flint_op2(a: np.ndarray) -> object:
    """Largest eigenvalue of A^T A as a ball."""
    with_balls = flint.acb_mat(a.shape[0], a.shape[1], [flint.acb(float(x)) for x in a.ravel()])
    return (with_balls.transpose() * with_balls).eig(algorithm="approx")


def _mpmath_op2(a: np.ndarray) -> object:
    return mpmath.svd_r(mpmath.matrix(a.tolist()), compute_uv=False)[0]


def _flint_fro(a: np.ndarray) -> object:
    total = flint.arb(0)
    for x in a.ravel().tolist():
        total += flint.arb(x) * flint.arb(x)
    return total.sqrt()


def _mpmath_fro(a: np.ndarray) -> object:
    return mpmath.norm([mpmath.mpf(x) for x in a.ravel().tolist()])


def spectral(report: measure.Report, arguments: argparse.Namespace, threads: int) -> None:
    """norm_op2_upper against the singular values; its sharpness is noted."""
    sizes = (16, 64) if arguments.quick else (16, 64, 256, 512, 1024, 2048)
    for n in sizes:
        a = np.random.default_rng(n).standard_normal((n, n))
        rounds = arguments.rounds if n < 2048 else max(3, min(arguments.rounds, 7))
        found = measure.compare({
            "numpy svd": lambda a=a: np.linalg.svd(a, compute_uv=False),
            "norm_op2_upper": lambda a=a: norm_op2_upper(a),
            "norm_op2_lower": lambda a=a: norm_op2_lower(a),
            "scipy svdvals": (lambda a=a: linalg.svdvals(a)) if n <= 1024 else None,
            "flint eig": (lambda a=a: _flint_op2(a)) if n <= FLINT_AT_MOST else None,
            "mpmath svd": (lambda a=a: _mpmath_op2(a)) if n <= MPMATH_AT_MOST else None,
        }, rounds=rounds)
        aim = 0.5 if n == 2048 else 1.0 if n >= 512 else None
        report.add(measure.Row("op2 of float64", f"{n}x{n}", threads, found, aim))
        if threads == 1:
            report.note(f"upper / lower - 1 at {n}", float(norm_op2_upper(a) / norm_op2_lower(a) - 1))


def frobenius(report: measure.Report, arguments: argparse.Namespace, threads: int) -> None:
    """norm_fro_upper against numpy's norm in the same type, from small to large; its sharpness is noted."""
    report.note("compiled routine for float32 in use", compiled_squares() is not None)
    shapes = ((16, 16), (64, 64)) if arguments.quick else (
        (16, 16), (64, 64), (128, 128), (256, 256), (512, 512), (1024, 1024), (2048, 2048), (4096, 11008))
    for rows, columns in shapes:
        for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
            a = np.random.default_rng(rows).standard_normal((rows, columns), dtype=np.float32).astype(dtype)
            tiny, wide = a.size <= 2**12, dtype in (np.float64, np.float32)
            with np.errstate(over="ignore"):  # numpy's own sum of squares overflows in float16
                found = measure.compare({
                    "numpy norm": lambda a=a: np.linalg.norm(a),
                    "norm_fro_upper": lambda a=a: norm_fro_upper(a),
                    "norm_fro_lower": lambda a=a: norm_fro_lower(a),
                    "scipy norm": (lambda a=a: linalg.norm(a)) if wide else None,
                    "flint": (lambda a=a: _flint_fro(a)) if tiny else None,
                    "mpmath": (lambda a=a: _mpmath_fro(a)) if tiny else None,
                }, rounds=arguments.rounds, calls=max(1, 2**15 // a.size))
            name = np.dtype(dtype).name
            report.add(measure.Row(f"fro of {name}", f"{rows}x{columns}", threads, found, 4.0))
            if threads == 1:
                report.note(f"upper / lower - 1 of fro of {name} at {rows}x{columns}",
                            float(norm_fro_upper(a) / norm_fro_lower(a) - 1))


def products(report: measure.Report, arguments: argparse.Namespace, threads: int) -> None:
    """matmul_enclosed and the residual's norm against a plain product."""
    for n in (128,) if arguments.quick else (128, 1024):
        rng = np.random.default_rng(n)
        z, w, t = (rng.standard_normal((n, n)) for _ in range(3))
        found = measure.compare({
            "numpy matmul": lambda z=z, w=w: z @ w,
            "matmul_enclosed": lambda z=z, w=w: matmul_enclosed(z, w),
            "residual_norm_fro_upper": lambda t=t, z=z, w=w: residual_norm_fro_upper(t, z, w),
        }, rounds=arguments.rounds)
        report.add(measure.Row("product", f"{n}x{n}", threads, found))


def memory(report: measure.Report, arguments: argparse.Namespace, threads: int) -> None:
    """Peak memory on a large float32 matrix, in a fresh process."""
    shape = (512, 1376) if arguments.quick else (4096, 11008)

    def make() -> np.ndarray:
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    for name, run in (("norm_op2_upper", norm_op2_upper), ("norm_fro_upper", norm_fro_upper)):
        found = measure.peak_memory(make, run)
        if found:
            report.note(f"{name} of float32 {shape[0]}x{shape[1]}, {threads} threads",
                        {"peak_extra_bytes": found[0], "seconds": round(found[1], 2)})


PARTS = {"op2": spectral, "fro": frobenius, "product": products, "memory": memory}


def body(report: measure.Report, arguments: argparse.Namespace) -> None:
    """All parts with each number of threads."""
    for threads in arguments.threads:
        with threadpool_limits(threads):
            for name, part in PARTS.items():
                if arguments.only in name:
                    part(report, arguments, threads)


if __name__ == "__main__":
    sys.exit(measure.main("Rigorous bounds on norms and products", body))

"""Error propagation through the residual stream: how much of a small perturbation each block passes on."""

from peelverify.rho.depthuse import DepthUse, depth_use, skip_effect
from peelverify.rho.inject import Injection, ResidualProfile, inject_noise, residual_profile
from peelverify.rho.lyapunov import LyapunovReport, lyapunov_report
from peelverify.rho.measure import PrecisionWarning, RhoProfile, measure_rho
from peelverify.rho.predict import Prediction, rank_prediction

__all__ = [
    "DepthUse",
    "Injection",
    "LyapunovReport",
    "PrecisionWarning",
    "Prediction",
    "ResidualProfile",
    "RhoProfile",
    "depth_use",
    "inject_noise",
    "lyapunov_report",
    "measure_rho",
    "rank_prediction",
    "residual_profile",
    "skip_effect",
]

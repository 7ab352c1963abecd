"""Error propagation through the residual stream: how much of a small perturbation each block passes on."""

from peelverify.rho.depthuse import DepthUse, depth_use, skip_effect
from peelverify.rho.inject import Injection, ResidualProfile, inject_noise, residual_profile
from peelverify.rho.lyapunov import LyapunovReport, lyapunov_report
from peelverify.rho.measure import PrecisionWarning, RhoProfile, measure_rho
from peelverify.rho.predict import Prediction, rank_prediction
from peelverify.rho.updates import GradientNorms, TokenwiseFit, gradient_norms, tokenwise_fit

__all__ = [
    "DepthUse",
    "GradientNorms",
    "Injection",
    "LyapunovReport",
    "PrecisionWarning",
    "Prediction",
    "ResidualProfile",
    "RhoProfile",
    "TokenwiseFit",
    "depth_use",
    "gradient_norms",
    "inject_noise",
    "lyapunov_report",
    "measure_rho",
    "rank_prediction",
    "residual_profile",
    "skip_effect",
    "tokenwise_fit",
]

"""Error propagation through the residual stream: how much of a small perturbation each block passes on."""

from peelverify.rho.measure import RhoProfile, measure_rho

__all__ = ["RhoProfile", "measure_rho"]

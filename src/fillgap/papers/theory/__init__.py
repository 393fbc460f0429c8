"""The theory of the modality gap of DG ("Decipher the Modality Gap", arXiv:2510.03268).

Von Mises-Fisher distributions in any dimension, the limits of the contrastive loss, Monte-Carlo
estimates to set against them, and a simulator that trains both sides. NumPy arrays throughout.
"""

from fillgap.papers.theory.hyperplanes import HyperplanePair, pair_alignment, reach
from fillgap.papers.theory.limits import (
    cone_limit,
    pair_limit,
    subspace_limit,
    subspace_minimum,
    theorem4_printed,
    unconstrained_limit,
)
from fillgap.papers.theory.loss import batch_loss
from fillgap.papers.theory.monte_carlo import anchor_loss
from fillgap.papers.theory.settings import Cone, ConePoints, Subspace, SubspacePoints, Unconstrained
from fillgap.papers.theory.simulator import Simulation, simulate
from fillgap.papers.theory.vmf import (
    estimate_concentration,
    half_space_probability,
    log_bessel_over_power,
    sample_vmf,
)

__all__ = [
    "Cone",
    "ConePoints",
    "HyperplanePair",
    "Simulation",
    "Subspace",
    "SubspacePoints",
    "Unconstrained",
    "anchor_loss",
    "batch_loss",
    "cone_limit",
    "estimate_concentration",
    "half_space_probability",
    "log_bessel_over_power",
    "pair_alignment",
    "pair_limit",
    "reach",
    "sample_vmf",
    "simulate",
    "subspace_limit",
    "subspace_minimum",
    "theorem4_printed",
    "unconstrained_limit",
]

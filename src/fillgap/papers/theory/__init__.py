"""The theory of the modality gap of DG ("Decipher the Modality Gap", arXiv:2510.03268).

Von Mises-Fisher distributions in any dimension, the limits of the contrastive loss, Monte-Carlo
estimates to set against them, and a simulator that trains both sides. NumPy arrays throughout.
"""

from fillgap.papers.theory.lemmas import (
    HyperplanePair,
    PairAlignment,
    best_response_angles,
    half_space_probability,
    log_sphere_integral,
    pair_alignment,
    reach,
)
from fillgap.papers.theory.limits import (
    cone_limit,
    j,
    j_tilde,
    pair_limit,
    subspace_limit,
    subspace_minimum,
    theorem4_printed,
    tilted_concentration,
    unconstrained_limit,
)
from fillgap.papers.theory.loss import batch_loss
from fillgap.papers.theory.monte_carlo import AnchorLoss, anchor_loss
from fillgap.papers.theory.settings import Cone, ConePoints, Subspace, SubspacePoints, Unconstrained
from fillgap.papers.theory.simulator import Frame, Simulation, Trace, simulate
from fillgap.papers.theory.special import bessel_ratio, log_bessel, log_bessel_over_power
from fillgap.papers.theory.vmf import (
    concentration_from_length,
    estimate_concentration,
    expected_length,
    log_density,
    mean_resultant_length,
    sample_vmf,
)

__all__ = [
    "AnchorLoss",
    "Cone",
    "ConePoints",
    "Frame",
    "HyperplanePair",
    "PairAlignment",
    "Simulation",
    "Subspace",
    "SubspacePoints",
    "Trace",
    "Unconstrained",
    "anchor_loss",
    "batch_loss",
    "bessel_ratio",
    "best_response_angles",
    "concentration_from_length",
    "cone_limit",
    "estimate_concentration",
    "expected_length",
    "half_space_probability",
    "j",
    "j_tilde",
    "log_bessel",
    "log_bessel_over_power",
    "log_density",
    "log_sphere_integral",
    "mean_resultant_length",
    "pair_alignment",
    "pair_limit",
    "reach",
    "sample_vmf",
    "simulate",
    "subspace_limit",
    "subspace_minimum",
    "theorem4_printed",
    "tilted_concentration",
    "unconstrained_limit",
]

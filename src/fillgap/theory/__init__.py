"""The theory of the modality gap of DG ("Decipher the Modality Gap", arXiv:2510.03268).

Von Mises-Fisher distributions in any dimension, the limits of the contrastive loss, Monte-Carlo
estimates to set against them, and a simulator that trains both sides. NumPy arrays throughout.
"""

from fillgap.theory.bessel import bessel_ratio, log_bessel, log_bessel_over_power
from fillgap.theory.hyperplanes import (
    HyperplanePair,
    PairAlignment,
    best_response_angles,
    pair_alignment,
)
from fillgap.theory.lemmas import half_space_probability, log_sphere_integral, reach
from fillgap.theory.limits import (
    cone_limit,
    j,
    j_tilde,
    subspace_limit,
    subspace_minimum,
    tilted_concentration,
    unconstrained_limit,
)
from fillgap.theory.loss import batch_loss
from fillgap.theory.monte_carlo import AnchorLoss, anchor_loss
from fillgap.theory.pair_limits import pair_limit, theorem4_printed
from fillgap.theory.settings import Cone, ConePoints, Subspace, SubspacePoints, Unconstrained
from fillgap.theory.simulator import Frame, Simulation, simulate
from fillgap.theory.trace import Trace
from fillgap.theory.vmf import (
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

"""Scores that can be compared: one ranking of images and texts for a query of either kind."""

from fillgap.scores.base import Calibration
from fillgap.scores.fusion import (
    distribution_based_fusion,
    min_max_fusion,
    reciprocal_rank_fusion,
)
from fillgap.scores.hubness import CSLS, NNN, QBNorm
from fillgap.scores.methods import CALIBRATIONS, calibration_name, make_calibration
from fillgap.scores.own_list import QueryCentering, QueryStandardisation
from fillgap.scores.probability import RelevanceProbability
from fillgap.scores.quantiles import QuantileMap
from fillgap.scores.samples import Modality, Relevant, Sides, check_modality
from fillgap.scores.saving import calibration_state, restore_calibration
from fillgap.scores.together import fit_together
from fillgap.scores.zscore import ZScore

__all__ = [
    "CALIBRATIONS",
    "CSLS",
    "NNN",
    "Calibration",
    "Modality",
    "QBNorm",
    "QuantileMap",
    "QueryCentering",
    "QueryStandardisation",
    "RelevanceProbability",
    "Relevant",
    "Sides",
    "ZScore",
    "calibration_name",
    "calibration_state",
    "check_modality",
    "distribution_based_fusion",
    "fit_together",
    "make_calibration",
    "min_max_fusion",
    "reciprocal_rank_fusion",
    "restore_calibration",
]

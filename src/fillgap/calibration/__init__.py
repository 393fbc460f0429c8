"""Scores that can be compared: one ranking of images and texts for a query of either kind."""

from fillgap.calibration.base import Calibration, Modality, Relevant, Sides, check_modality
from fillgap.calibration.fusion import (
    distribution_based_fusion,
    min_max_fusion,
    reciprocal_rank_fusion,
)
from fillgap.calibration.hubness import CSLS, NNN, QBNorm
from fillgap.calibration.methods import (
    CALIBRATIONS,
    calibration_name,
    calibration_state,
    make_calibration,
    restore_calibration,
)
from fillgap.calibration.pairwise import ZScore, fit_together
from fillgap.calibration.probability import QuantileMap, RelevanceProbability
from fillgap.calibration.query_list import QueryCentering, QueryStandardisation

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

"""Scores that can be compared: one ranking of images and texts for a query of either kind."""

from fillgap.scores.base import Calibration, Modality, Relevant, Sides, check_modality
from fillgap.scores.methods import CALIBRATIONS, calibration_name, make_calibration
from fillgap.scores.saving import calibration_state, restore_calibration
from fillgap.scores.zscore import ZScore

__all__ = [
    "CALIBRATIONS",
    "Calibration",
    "Modality",
    "Relevant",
    "Sides",
    "ZScore",
    "calibration_name",
    "calibration_state",
    "check_modality",
    "make_calibration",
    "restore_calibration",
]

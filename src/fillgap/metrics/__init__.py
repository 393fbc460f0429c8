"""Measures of the modality gap, one file for each family."""

"""Measure the modality gap of image-text embeddings, close it, and prove what that did."""

__version__ = "0.1.0"

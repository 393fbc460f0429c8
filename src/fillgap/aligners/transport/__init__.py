"""Optimal transport with Laplacian regularisation."""

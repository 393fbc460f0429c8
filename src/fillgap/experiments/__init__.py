"""Experiments that tie the parts together: demonstrations, reproductions, benchmarks."""

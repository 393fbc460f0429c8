"""Experiments: data, encoders, representations and measures, from a TOML file."""

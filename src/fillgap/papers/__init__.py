"""The two papers behind this project: their tables, theory and experiments."""

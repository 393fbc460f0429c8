"""A page that asks an index and shows what alignment and calibration change."""

from fillgap.serve.server import build_demo_index, create_app, serve

__all__ = ["build_demo_index", "create_app", "serve"]

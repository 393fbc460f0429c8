"""A page that asks an index and shows what alignment and calibration change."""

from fillgap.serve.demo import build_demo_index
from fillgap.serve.server import create_app, serve

__all__ = ["build_demo_index", "create_app", "serve"]

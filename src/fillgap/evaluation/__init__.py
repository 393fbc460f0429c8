"""Judgement on held-out rows: comparison, grid search, recommendation, tests, zero-shot."""

from fillgap.evaluation.compare import Comparison, compare
from fillgap.evaluation.grid_search import GridSearch, grid_search
from fillgap.evaluation.leaderboard import Leaderboard
from fillgap.evaluation.recommend import SpaceRecommendation, recommend
from fillgap.evaluation.splits import held_out_splits
from fillgap.evaluation.statistics import Estimate, paired_permutation_test
from fillgap.evaluation.zero_shot import ZeroShot, zero_shot

__all__ = [
    "Comparison",
    "Estimate",
    "GridSearch",
    "Leaderboard",
    "SpaceRecommendation",
    "ZeroShot",
    "compare",
    "grid_search",
    "held_out_splits",
    "paired_permutation_test",
    "recommend",
    "zero_shot",
]

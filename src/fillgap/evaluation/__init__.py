"""Judgement on held-out rows: comparison, grid search, recommendation, tests, zero-shot."""

from fillgap.evaluation.compare import (
    Comparison,
    MethodResult,
    Recommendation,
    compare,
    plan_compare,
)
from fillgap.evaluation.grid_search import GridPoint, GridSearch, grid_search
from fillgap.evaluation.leaderboard import Combination, Leaderboard, Line
from fillgap.evaluation.recommend import SpaceRecommendation, recommend
from fillgap.evaluation.splits import held_out_splits
from fillgap.evaluation.statistics import Estimate, holm, paired_permutation_test
from fillgap.evaluation.zero_shot import ZeroShot, zero_shot

__all__ = [
    "Combination",
    "Comparison",
    "Estimate",
    "GridPoint",
    "GridSearch",
    "Leaderboard",
    "Line",
    "MethodResult",
    "Recommendation",
    "SpaceRecommendation",
    "ZeroShot",
    "compare",
    "grid_search",
    "held_out_splits",
    "holm",
    "paired_permutation_test",
    "plan_compare",
    "recommend",
    "zero_shot",
]

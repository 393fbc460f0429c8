"""Reduce blocks of similarities on the device that the embeddings lie on, with PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._similarity import Question, Scores, level_within

__all__ = ["TorchPool"]


class TorchPool:
    """A pool of two modalities as tensors; answers as `NumpyPool` does.

    Parameters
    ----------
    same, other : tensor of shape (n_items, n_features)
        Unit rows of the modality of the queries, and of the other one.
    k, k_own : int
        Neighbours to keep in the whole pool, and within `same`.
    """

    def __init__(self, same: Any, other: Any, k: int, k_own: int) -> None:
        self.same, self.other, self.k, self.k_own = same, other, k, k_own

    def scan(self, queries: Any, question: Question, out: Scores) -> None:
        """Fill `out` with what a block of queries finds."""
        import torch

        scores = torch.cat([queries @ self.same.T, queries @ self.other.T], dim=1)
        first, n = len(self.same), len(queries)
        of = np.repeat(np.arange(n), np.diff(question.start))
        pair_score = scores[self._index(of), self._index(question.item)]
        if question.own is not None:
            scores[self._index(np.arange(n)), self._index(question.own)] = -torch.inf
        same, other = scores[:, :first], scores[:, first:]
        values, items = scores.topk(self.k)
        last, best = values[:, -1:], other.amax(dim=1, keepdim=True)
        within = level_within(scores.dtype)
        found = {
            "nearest_same": same.amax(dim=1),
            "nearest_other": best[:, 0],
            "above": (same > best + within).sum(dim=1),
            "level": _level(same, best, within),
            "values": torch.where(values <= last + within, last, values),
            "items": items,
            "tied_same": _level(same, last, within),
            "tied_other": _level(other, last, within),
            "own_items": same.topk(self.k_own).indices,
            "pair_score": pair_score,
        }
        for name, tensor in found.items():
            getattr(out, name)[...] = tensor.cpu().numpy()
        self._rank_pairs((same, other), question.start, pair_score, out)

    def _rank_pairs(
        self, sides: tuple[Any, Any], start: NDArray[Any], score: Any, out: Scores
    ) -> None:
        """Count one pair of each query at a time, so that no more than a block is copied."""
        counts = np.diff(start)
        for turn in range(int(counts.max(initial=0))):
            rows = np.flatnonzero(counts > turn)
            pairs = start[rows] + turn
            level, within = score[self._index(pairs)][:, None], level_within(score.dtype)
            for column, side in enumerate(sides):
                chosen = side if len(rows) == len(side) else side[self._index(rows)]
                above = (chosen > level + within).sum(dim=1)
                out.pair_above[pairs, column] = above.cpu().numpy()
                out.pair_level[pairs, column] = _level(chosen, level, within).cpu().numpy()

    def _index(self, numbers: NDArray[Any]) -> Any:
        import torch

        return torch.as_tensor(numbers.astype(np.int64), device=self.same.device)


def _level(scores: Any, at: Any, within: float) -> Any:
    """Count what is level with a score in each row."""
    return ((scores >= at - within) & (scores <= at + within)).sum(dim=1)

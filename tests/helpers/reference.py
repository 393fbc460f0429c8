"""Slow, obvious versions of the measures: loops over whole matrices, written from the definitions.

They share no code with the package and are never made faster.
"""

from __future__ import annotations

import math

import numpy as np


def unit(X):
    X = np.asarray(X, dtype=np.float64)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def identity_index(X, Y, image_index):
    return list(range(len(Y))) if image_index is None else [int(i) for i in image_index]


def rank_of(score, others, same_hit=()):
    """1 + greater + half of the equal ones; `same_hit` are other items that count as this hit."""
    greater = sum(o > score for o in others) + sum(o > score for o in same_hit)
    return 1 + greater + 0.5 * sum(o == score for o in others)


class Query:
    """One query, its pool as (score, is_other, item) and the items that belong to it."""

    def __init__(self, pool, relevant):
        self.pool = pool
        self.relevant = relevant

    def ranks(self, mixed):
        """Ranks of all relevant items, best first."""
        pool = [p for p in self.pool if mixed or p[1]]
        scores = sorted((s for s, other, i in pool if other and i in self.relevant), reverse=True)
        rest = [s for s, other, i in pool if not (other and i in self.relevant)]
        return [rank_of(s, rest) + j for j, s in enumerate(scores)]

    def best_other_rank(self):
        best = max(s for s, other, _ in self.pool if other)
        return rank_of(best, [s for s, other, _ in self.pool if not other])

    def share_seen(self, k):
        """Expected share of the other modality in the first k, ties in random order."""
        last = sorted((s for s, _, _ in self.pool), reverse=True)[k - 1]
        above = [other for s, other, _ in self.pool if s > last]
        level = [other for s, other, _ in self.pool if s == last]
        return (sum(above) + (k - len(above)) * sum(level) / len(level)) / k

    def nearest(self, k):
        return [
            (other, i)
            for _, other, i in sorted(self.pool, key=lambda entry: (-entry[0], entry[1], entry[2]))
        ][:k]


def queries(X, Y, image_index=None, *, kind="image"):
    X, Y = unit(X), unit(Y)
    index = identity_index(X, Y, image_index)
    same, other = (X, Y) if kind == "image" else (Y, X)
    found = []
    for i in range(len(same)):
        pool = [(float(same[i] @ same[j]), False, j) for j in range(len(same)) if j != i]
        pool += [(float(same[i] @ other[j]), True, j) for j in range(len(other))]
        if kind == "image":
            relevant = {t for t, image in enumerate(index) if image == i}
        else:
            relevant = {index[i]}
        found.append(Query(pool, relevant))
    return found


def ratio(X, Y, kind):
    same = [1 - query.share_seen(1) for query in queries(X, Y, range(len(Y)), kind=kind)]
    return sum(same), len(same) - sum(same)


def best_other(X, Y, kind):
    found = queries(X, Y, [0] * len(Y), kind=kind)
    return sum(query.best_other_rank() for query in found) / len(found)


def exposure(X, Y, k, kind):
    n, m = (len(X), len(Y)) if kind == "image" else (len(Y), len(X))
    found = queries(X, Y, [0] * len(Y), kind=kind)
    return sum(query.share_seen(k) for query in found) / len(found) / (m / (n + m - 1))


def recall(X, Y, image_index, k, kind, mixed):
    ranks = [q.ranks(mixed) for q in queries(X, Y, image_index, kind=kind) if q.relevant]
    return sum(r[0] <= k for r in ranks) / len(ranks)


def mrr(X, Y, image_index, kind, mixed):
    ranks = [q.ranks(mixed) for q in queries(X, Y, image_index, kind=kind) if q.relevant]
    return sum(1 / r[0] for r in ranks) / len(ranks)


def ndcg(X, Y, image_index, k, kind, mixed):
    values = []
    for query in queries(X, Y, image_index, kind=kind):
        if query.relevant:
            gain = sum(1 / math.log2(1 + r) for r in query.ranks(mixed) if r <= k)
            ideal = sum(1 / math.log2(2 + j) for j in range(min(k, len(query.relevant))))
            values.append(gain / ideal)
    return sum(values) / len(values)


def pairs(X, Y, image_index=None):
    return [(X[i], Y[t]) for t, i in enumerate(identity_index(X, Y, image_index))]


def mean_distance(X, Y, image_index=None, power=1):
    found = pairs(X, Y, image_index)
    return sum(math.dist(x, y) ** power for x, y in found) / len(found)


def cosine(x, y):
    return float(x @ y / math.sqrt(x @ x) / math.sqrt(y @ y))


def pair_cosine_distance(X, Y, image_index=None):
    found = pairs(X, Y, image_index)
    return sum(1 - cosine(x, y) for x, y in found) / len(found)


def cross_cosine_distance(X, Y):
    return sum(1 - cosine(x, y) for x in X for y in Y) / (len(X) * len(Y))


def within_cosine(X):
    n = len(X)
    return sum(cosine(X[i], X[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))


def relative_modality_gap(X, Y, image_index=None):
    p = pair_cosine_distance(X, Y, image_index) / 2
    m_x, m_y = (1 - within_cosine(X)) / 2, (1 - within_cosine(Y)) / 2
    return p / (p + (m_x + m_y) / 2)


def lisi(distances, other, perplexity):
    """Effective number of modalities, the width of the kernel found by bisection."""
    low, high = 0.0, 1e8
    for _ in range(200):
        beta = (low + high) / 2
        w = np.exp(-beta * (distances - distances.min()))
        p = w / w.sum()
        entropy = -sum(q * math.log(q) for q in p if q > 0)
        low, high = (beta, high) if entropy > math.log(perplexity) else (low, beta)
    share = float(sum(p * other))
    return 1 / (share**2 + (1 - share) ** 2)


def neighbourhoods(X, Y, k):
    """For every item, images first: (distances, is other, items) of its k nearest, itself out."""
    Z = np.concatenate([unit(X), unit(Y)])
    found = []
    for i, z in enumerate(Z):
        entries = sorted((math.dist(z, Z[j]), j) for j in range(len(Z)) if j != i)[:k]
        items = [j for _, j in entries]
        other = [(j >= len(X)) != (i >= len(X)) for j in items]
        found.append((np.array([d for d, _ in entries]), np.array(other), items))
    return found


def nearest_within(X, k):
    X = unit(X)
    return [
        {j for _, j in sorted((-float(x @ X[j]), j) for j in range(len(X)) if j != i)[:k]}
        for i, x in enumerate(X)
    ]


def linear_cka(X, Y):
    """From n × n kernels: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    n = len(X)
    H = np.eye(n) - 1 / n
    K, L = H @ unit(X) @ unit(X).T @ H, H @ unit(Y) @ unit(Y).T @ H
    return np.sum(K * L) / math.sqrt(np.sum(K * K) * np.sum(L * L))


def uniformity(X, t=2.0):
    X = unit(X)
    n = len(X)
    pairs_of_rows = [(i, j) for i in range(n) for j in range(i)]
    values = [math.exp(-t * math.dist(X[i], X[j]) ** 2) for i, j in pairs_of_rows]
    return math.log(sum(values) / len(values))


def entropy_within(clusters, modality):
    """H(modality | cluster) / H(modality) from counts of pairs."""
    n = len(clusters)

    def entropy(labels):
        return -sum(
            labels.count(v) / len(labels) * math.log(labels.count(v) / len(labels))
            for v in set(labels)
        )

    inside = 0.0
    for cluster in set(clusters):
        members = [m for c, m in zip(clusters, modality, strict=True) if c == cluster]
        inside += len(members) / n * entropy(members)
    return inside / entropy(list(modality))

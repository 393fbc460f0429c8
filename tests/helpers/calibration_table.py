"""One row for each calibration: how to make it, and what must hold of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fillgap.calibration import (
    CSLS,
    NNN,
    Calibration,
    QBNorm,
    QuantileMap,
    QueryCentering,
    QueryStandardisation,
    RelevanceProbability,
    ZScore,
)


@dataclass(frozen=True)
class Row:
    """A calibration and its stated properties."""

    name: str
    make: Callable[[], Calibration]
    #: Affine in the score, with coefficients of the document and the query's modality.
    folds: bool = True
    #: The order of one query's documents of one modality stays.
    keeps_order: bool = True


ROWS = [
    Row("z-score", ZScore),
    Row("z-score-all", lambda: ZScore(on="all")),
    Row("z-score-after-nnn", lambda: ZScore(after=NNN(k=5, alpha=0.3)), keeps_order=False),
    Row("quantile-map", QuantileMap, folds=False),
    Row("quantile-map-best", lambda: QuantileMap(on="pseudo-positives"), folds=False),
    Row("quantile-after-nnn", lambda: QuantileMap(after=NNN(k=5)), folds=False, keeps_order=False),
    Row("probability", RelevanceProbability),
    Row("probability-isotonic", lambda: RelevanceProbability(kind="isotonic"), folds=False),
    Row("probability-after-qb", lambda: RelevanceProbability(after=QBNorm()), keeps_order=False),
    Row("nnn", lambda: NNN(k=5), keeps_order=False),
    Row("nnn-none", lambda: NNN(alpha=0.0)),
    Row("csls", lambda: CSLS(k=5), folds=False, keeps_order=False),
    Row("query-centering", QueryCentering, folds=False),
    Row(
        "query-centering-after-z",
        lambda: QueryCentering(k=3, weight=1.0, after=ZScore(after=NNN(k=5))),
        folds=False,
        keeps_order=False,
    ),
    Row("query-standardisation", QueryStandardisation, folds=False),
    Row(
        "query-standardisation-after-nnn",
        lambda: QueryStandardisation(depth=12, leave_out=2, after=NNN(k=5)),
        folds=False,
        keeps_order=False,
    ),
    Row("qb-norm", QBNorm, keeps_order=False),
    Row("qb-norm-dynamic", lambda: QBNorm(dynamic=True), folds=False, keeps_order=False),
]

"""How alike tickets are across seeds and tasks: equation 4 (section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import mean
from typing import Any

from ..errors import DwtError
from ..ticket.similarity import Similarity, similarity
from . import paper
from .document import Section, Table
from .figures import (
    similarity_figure,
)
from .found import Found, K
from .structure import kinds_shown


def similarity_section(found: Sequence[Found], data: dict[str, Any]) -> Section | None:
    found = [f for f in found if f.ticket.matrices]
    pairs: dict[tuple[int, int], Similarity] = {}
    for i, j in combinations(range(len(found)), 2):
        try:
            pairs[i, j] = similarity(found[i].ticket.top(K), found[j].ticket.top(K))
        except DwtError:
            continue  # of another model
    seeds = [
        s
        for (i, j), s in pairs.items()
        if found[i].run.task == found[j].run.task and found[i].run.seed != found[j].run.seed
    ]
    tasks = [
        s for (i, j), s in pairs.items()
        if found[i].run.task != found[j].run.task and found[i].run.seed == found[j].run.seed
    ]  # fmt: skip
    rows = []
    columns = kinds_shown({kind for s in pairs.values() for kind in s.by_kind})
    data["similarity"] = {}
    for name, group, printed in (
        ("across seeds, same task", seeds, paper.JACCARD_SEEDS),
        ("across tasks, same seed", tasks, paper.JACCARD_TASKS),
    ):
        if not group:
            continue
        kinds = [[s.by_kind[kind] for s in group if kind in s.by_kind] for kind in columns]
        figures = {
            "per_matrix": mean(s.per_matrix for s in group),
            "chance": mean(s.chance for s in group),
            "pooled": mean(s.pooled for s in group),
            **{kind: mean(values) for kind, values in zip(columns, kinds) if values},
        }
        data["similarity"][name] = {"pairs": len(group), "paper": printed, **figures}
        shown = [f"{figures[key]:.2f}" if key in figures else "–"
                 for key in ("per_matrix", "chance", "pooled", *columns)]  # fmt: skip
        rows.append([name, str(len(group)), *shown, f"{printed:.2f}"])
    if not rows:
        return None
    header = ["", "pairs", "per matrix", "by chance", "pooled", *columns, "paper"]
    note = (
        f"Jaccard similarity of top-{K} tickets: the mean over matrices, what uniformly drawn "
        "tickets of the same sizes are expected to have, and the similarity of all (matrix, "
        "dimension) pairs pooled. The paper's figure is met by the mean over matrices."
    )
    values = [[1.0] * len(found) for _ in found]
    for (i, j), pair in pairs.items():
        values[i][j] = values[j][i] = pair.per_matrix
    shown_figures = []
    if len(pairs) == len(found) * (len(found) - 1) // 2:
        names = [f.name for f in found]
        shown_figures.append(similarity_figure(names, values))
    return Section(
        "Similarity across seeds and tasks (equation 4)",
        [],
        [Table("similarity_table", header, rows, note), *shown_figures],
    )

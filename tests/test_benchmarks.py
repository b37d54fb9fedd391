"""The benchmark's rows at a small size: they run, and compact training keeps what it should."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fairseq_dwt.report.runs import Run
from fairseq_dwt.ticket import Columns, Ticket

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "benchmarks")
SMALL = dict(layers=2, width=64, inner=256, heads=4, batch=4, length=16)


def script(name):
    """A benchmark, as a module."""
    sys.path.insert(0, FOLDER)
    try:
        return import_module(name)
    finally:
        sys.path.remove(FOLDER)


@pytest.fixture(scope="module")
def measured():
    """What each of fairseq's rows keeps."""
    sys.path.insert(0, FOLDER)
    try:
        import rows
        import shapes
        import worker
    finally:
        sys.path.remove(FOLDER)
    shape = shapes.Shape(**SMALL)
    ((tokens, labels),) = shapes.batches(shape)
    kept = {}
    for name, build in rows.ROWS.items():
        if "peft" not in name and "evaluation" not in name:
            row = build(shape)
            row.step(tokens, labels)
            kept[name] = worker.memory(row, tokens, labels)
    return kept


def test_compact_training_keeps_60_percent_of_the_activations(measured):
    full = measured["full, our attention, fused Adam"]["activations"]
    assert measured["ticket k=1, compact"]["activations"] < 0.6 * full
    # the mask's own gradients are dense, but frozen layer norms keep less
    assert measured["ticket k=1, masked"]["activations"] > 0.8 * full


def test_states_and_files_are_of_the_columns_alone(measured):
    columns = 2 * (4 * 64 + 256 + 64)  # k = 1: the rows of six matrices in two layers
    assert measured["ticket k=1, compact"]["trained"] == columns
    mebi = 2**20
    # gradient, two moments
    assert measured["ticket k=1, compact"]["states"] == pytest.approx(3 * 4 * columns / mebi)
    assert measured["ticket k=1, masked"]["states"] > 30 * measured["ticket k=1, compact"]["states"]
    assert measured["full, fairseq as shipped"]["trained"] > 50265 * 64


def test_stage_1_keeps_no_dense_temporary(measured):
    """θ0 aside: the same activations as full fine-tuning, less the frozen embeddings'."""
    full = measured["full, our attention, fused Adam"]["activations"]
    assert measured["stage 1 (L1), our attention, fused Adam"]["activations"] <= full


@pytest.mark.parametrize(
    ("name", "page"),
    [("words", "performance.md"), ("translation", "any-model.md"), ("why", "why.md")]
    + [("language_model", "any-model.md"), ("table2", "measured.md"), ("emergence", "why.md")]
    + [("curve", "measured.md"), ("curve_l3", "measured.md")],
)
def test_the_table_in_the_docs_is_the_one_of_the_figures(name, page):
    of_table_2 = name.startswith("curve") or name == "table2"
    module = script("table2_tables" if of_table_2 else name)
    docs = Path(FOLDER).parent / "docs"
    result = json.loads((docs / f"{name}.json").read_text(encoding="utf-8"))
    titles = ("perplexity", "perplexity") if name == "language_model" else ()
    write = {"words": "tables", "curve": "curve"}.get(name, "table")
    table = getattr(module, write)(result, *titles)
    assert table.strip() in (docs / page).read_text(encoding="utf-8")


def test_the_scores_in_the_readme_are_of_the_figures():
    root = Path(FOLDER).parent
    results = [
        json.loads((root / f"docs/{n}.json").read_text("utf-8")) for n in ("table2", "curve")
    ]
    summary = script("table2_tables").summary(*results)
    assert summary in (root / "docs/measured.md").read_text("utf-8")
    head, *_ = lines = summary.splitlines()
    readme = (root / "README.md").read_text("utf-8").splitlines()
    shown = readme[readme.index(head) :]
    shown = shown[: shown.index("")]
    assert set(shown) <= set(lines)
    assert len(shown) > 8


def test_a_search_of_rates_ends_where_the_best_is_not_at_the_edge():
    table2 = script("table2")
    asked = []
    scores = {}
    while rates := table2.next_rates("Random-1", scores):
        asked.append(rates)
        scores.update({rate: -abs(float(rate) - 0.01) for rate in rates})
    assert asked == [["1e-3", "3e-3"], ["1e-2"], ["3e-2"]]
    assert table2.next_rates("full", {"5e-5": 2.0, "1e-4": 1.0}) == ["2e-5"]
    assert table2.next_rates("full", {"1e-5": 2.0, "2e-5": 1.0}) == []
    tied = {"3e-4": 75.7, "1e-3": 76.6, "3e-3": 76.6}
    assert table2.next_rates("Random-1", tied) == ["1e-2"]


def test_one_seed_at_another_rate_does_not_beat_several():
    tables = script("table2_tables")
    runs = [bitfit(0.001, seed, best) for seed, best in ((1, 70.0), (2, 72.0))]
    assert tables.best_rate([*runs, bitfit(0.003, 1, 90.0)]) == 0.001
    assert tables.best_rate([runs[0], bitfit(0.003, 1, 90.0)]) == 0.003


def bitfit(lr, seed, best):
    return {
        "method": "BitFit",
        "task": "MRPC",
        "lr": lr,
        "seed": seed,
        "trained": 9,
        "best": best,
        "validations": [[1.0, best], [2.0, best - 1]],
    }


def test_a_run_is_kept_under_the_name_that_was_asked_for():
    """A ticket may have fewer columns than k, and the report names it by what it has."""
    run = Run("runs/MRPC/Dominant-100/lr1e-3_seed1", "Dominant-57", "MRPC", 1e-3, 1, "accuracy", [],
              9, 9, True)  # fmt: skip
    kept = script("table2").facts(run)
    assert kept["method"] == "Dominant-100"
    assert script("table2").tried([kept], "MRPC", "Dominant-100") == {"1e-3": 0.0}


def test_table_2_goes_on_from_its_file_alone(tmp_path, monkeypatch):
    """What another machine has run is not run again, and is not lost from the file."""
    table2 = script("table2")
    runs = [bitfit(0.001, 1, 70.0), bitfit(0.003, 1, 80.0), bitfit(0.01, 1, 75.0)]
    runs.append(bitfit(0.003, 2, 82.0))
    out = tmp_path / "out"
    out.mkdir()
    ticket = Ticket({"layers.0.fc1": Columns((64, 32), (1,))}).dumps()
    known = {"ticket": ticket, "runs": runs}
    (out / "table2.json").write_text(json.dumps(known), encoding="utf-8")
    launched = []
    monkeypatch.setattr(table2, "launch", lambda args, config, data, *given: launched.append(given))
    monkeypatch.setattr(table2, "call", lambda *given: None)
    monkeypatch.setattr(table2, "find_runs", lambda folders: [])  # the other machine's are gone
    argv = ["table2.py", "--model", "m.pt", "--data", "d", "--out", str(out), "--jobs", "1"]
    monkeypatch.setattr(sys, "argv", [*argv, "--tasks", "MRPC", "--methods", "BitFit"])
    table2.main()
    folders = [os.path.relpath(given[0], out / "runs") for given in launched]
    assert folders == ["MRPC/BitFit/lr3e-3_seed3"]
    assert Ticket.load(str(out / "runs" / "stage-1" / "ticket.json")) == Ticket.loads(ticket)
    kept = json.loads((out / "table2.json").read_text(encoding="utf-8"))
    assert kept["runs"] == runs and Ticket.loads(kept["ticket"]) == Ticket.loads(ticket)
    launched.clear()
    monkeypatch.setattr(sys, "argv", [*argv, "--tasks", "RTE", "--rates-of", "MRPC", "--methods",
                                      "BitFit", "--seeds", "2"])  # fmt: skip
    table2.main()
    folders = [os.path.relpath(given[0], out / "runs") for given in launched]
    assert folders == ["RTE/BitFit/lr3e-3_seed1", "RTE/BitFit/lr3e-3_seed2"]
    monkeypatch.setattr(sys, "argv", [*argv, "--tasks", "RTE", "--rates-of", "CoLA"])
    with pytest.raises(SystemExit, match="CoLA: expected runs of full there"):
        table2.main()
    row = table2.table(kept).splitlines()[2]
    assert "0.001: 70.0, 0.003: 80.0, 0.01: 75.0 | 80.0, 82.0 | 81.0 ± 1.4 | 1, 1 |" in row

from __future__ import annotations

import re

from fairseq_dwt.cli import main
from fairseq_dwt.report.runs import Run
from fairseq_dwt.report.scores import score_table, table_text


def run(method, score, lr=1e-4, seed=1, finished=True, trained=10):
    return Run("f", method, "RTE", lr, seed, "accuracy", [50.0, score], trained, 1000, finished)


def test_a_cell_is_the_mean_over_seeds_at_the_best_learning_rate():
    runs = [run("Dominant-1", s, lr, seed) for lr, seed, s in
            [(1e-4, 1, 60), (1e-4, 2, 62), (4e-4, 1, 70), (4e-4, 2, 74), (1e-3, 1, 90)]]  # fmt: skip
    (row,) = score_table(runs)
    # 1e-3 was tried with one seed only
    assert row.cells["RTE"].lr == 4e-4
    assert str(row.cells["RTE"]) == "72.0 ± 2.8"


def test_unfinished_runs_are_marked_and_methods_ordered():
    text = table_text(score_table([run("BitFit", 60), run("Full", 70, finished=False)]))
    lines = text.splitlines()
    assert lines[1].split() == ["Full", "10", "1.000%", "70.0*", "0.0001"]
    assert lines[2].split()[0] == "BitFit"
    assert "not finished" in lines[-1]


def test_report_of_real_runs(small, tmp_path, capsys):
    import os
    import subprocess
    import sys

    runs = tmp_path / "runs"
    common = [
        "task.data=data-bin/RTE",
        "checkpoint.finetune_from_model=model.pt",
        "optimization.max_update=4",
        "optimization.lr=[0.01]",
        "lr_scheduler.warmup_updates=0",
        "dataset.batch_size=16",
    ]
    for name, *overrides in (
        ("dwt_rte", "task.sigma=1e-3", f"hydra.run.dir={runs}/dwt"),
        ("ticket_rte", f"optimizer.ticket={runs}/dwt/ticket.json", f"hydra.run.dir={runs}/ticket"),
    ):
        # relative paths, from a folder that is not the project's
        command = [sys.executable, "-m", "fairseq_cli.hydra_train", "--config-name", name]
        result = subprocess.run(
            command + common + overrides, cwd=small.folder, capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-3000:]
    assert main(["report", str(runs), "-o", str(tmp_path / "report")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"Dominant-1 +\d+ +[\d.]+% +[\d.]+ +0.01", out), out
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<table>" in page and "data:image/png;base64," in page and "Ticket of RTE" in page
    assert "http" not in page  # self-contained


def test_an_interrupted_run_is_reported_as_unfinished(tmp_path):
    from fairseq_dwt.report.runs import find_runs

    folder = tmp_path / "a"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(
        "task: {_name: ticket_finetune, data: d/RTE}\n"
        "optimizer: {_name: dominant_ticket, ticket: random, k: 3}\n"
        "checkpoint: {best_checkpoint_metric: accuracy}\n"
        "optimization: {lr: [0.001]}\ncommon: {seed: 2}\n"
    )
    (found,) = find_runs([str(tmp_path)])
    assert (found.method, found.task, found.best, found.finished) == (
        "?",
        "RTE",
        None,
        False,
    )
    (folder / "hydra_train.log").write_text(
        '[2026-01-01 00:00:00,000][valid][INFO] - {"epoch": 1, "valid_accuracy": "61.5"}\n'
    )
    (found,) = find_runs([str(tmp_path)])
    assert found.best == 61.5 and not found.finished

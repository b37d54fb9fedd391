from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fairseq_dwt.cli import main
from fairseq_dwt.glue.predictions import DevPredictions
from fairseq_dwt.report.figures import _pooled, mean_line
from fairseq_dwt.report.page import write_report
from fairseq_dwt.report.runs import Run
from fairseq_dwt.report.scores import score_table, table_text
from fairseq_dwt.report.sections import make_document
from fairseq_dwt.report.structure import bias_layers, popular, skeleton
from fairseq_dwt.ticket import Columns, ElementMask, Origin, Ticket, load_ticket
from tests.processes import HYDRA_TRAIN, python


def run(method, score, lr=1e-4, seed=1, finished=True, trained=10, **known):
    validations = [(5.0, 50.0), (10.0, score)]
    given = {"metric": "accuracy", "validations": validations, "pretrained": 1000, **known}
    return Run(folder="f", method=method, task="RTE", lr=lr, seed=seed, trained=trained,
               finished=finished, **given)  # fmt: skip


def test_a_cell_is_the_mean_over_seeds_at_the_best_learning_rate():
    runs = [run("Dominant-1", s, lr, seed) for lr, seed, s in
            [(1e-4, 1, 60), (1e-4, 2, 62), (4e-4, 1, 70), (4e-4, 2, 74), (1e-3, 1, 90)]]  # fmt: skip
    (row,) = score_table(runs)
    # 1e-3 was tried with one seed only
    assert row.cells["RTE"].lr == 4e-4
    assert str(row.cells["RTE"]) == "72.0 ± 2.8†"


def test_unfinished_runs_are_marked_and_methods_ordered():
    text = table_text(score_table([run("BitFit", 60), run("Full", 70, finished=False)]))
    lines = text.splitlines()
    assert lines[1].split() == ["Full", "10", "1.000%", "70.0*†", "0.0001"]
    assert lines[2].split()[0] == "BitFit"
    assert "not finished" in lines[-2] and "as logged" in lines[-1]


def test_report_of_real_runs(small, tmp_path, capsys):

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
        python(*HYDRA_TRAIN, "--config-name", name, *common, *overrides, cwd=small.folder)
    assert main(["report", str(runs), "-o", str(tmp_path / "report")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"Dominant-1 +\d+ +[\d.]+% +[\d.]+ +0.01", out), out
    page = (tmp_path / "report" / "index.html").read_text()
    assert (
        "<table>" in page
        and "data:image/png;base64," in page
        and "Structure of the ticket of RTE" in page
    )
    assert "http" not in page  # self-contained
    data = json.loads((tmp_path / "report" / "report.json").read_text())
    (score,) = data["scores"]
    assert (score["method"], score["from_log"], score["paper"]) == ("Dominant-1", False, 87.7)
    kept = DevPredictions.load(str(runs / "ticket" / "predictions.tsv"))
    assert score["scores"] == [kept.percent(["accuracy"])["accuracy"]]
    (dominant,) = data["structure"].values()
    used = Ticket.load(str(runs / "dwt" / "ticket.json"))
    assert dominant["parameters"]["1"] == used.top(1).num_parameters
    figures = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    for name in ("figure2", "figure3", "skeleton"):
        for suffix in ("", "-dark"):
            assert {f"{name}{suffix}.png", f"{name}{suffix}.svg"} <= figures
    markdown = (tmp_path / "report" / "report.md").read_text()
    for name in re.findall(r"\]\((.*?)\)", markdown):
        assert (tmp_path / "report" / name).is_file()


def test_what_does_not_belong_together_is_not_averaged():
    small, large = run("Full", 60), run("Full", 90, pretrained=355_000_000)
    logged = run("Full", 0, metric="loss", validations=[(1, 1.5)], maximize=False)
    rows = score_table([small, large, logged])
    assert [row.method for row in rows] == [
        "Full (1,000 parameters)", "Full (355,000,000 parameters)",
    ]  # fmt: skip
    assert {task: str(cell) for task, cell in rows[0].cells.items()} == {
        "RTE": "60.0†",
        "RTE, loss": "1.50†",
    }
    (row,) = score_table([run("Full", 60), run("Full", 70), run("Full", 80, seed=2)])
    assert str(row.cells["RTE"]) == "70.0 ± 10.0†‡"
    assert "several runs of a seed" in table_text([row])


def test_methods_stand_in_the_order_of_their_table():
    names = ["Slice-1", "σ-mask 0.3 %", "One-shot-1", "Weight-norm-1", "BitFit", "Full"]
    rows = score_table([run(name, 50) for name in names])
    assert [row.method for row in rows] == [
        "Full", "σ-mask 0.3 %", "One-shot-1", "BitFit", "Weight-norm-1", "Slice-1",
    ]  # fmt: skip


def test_a_log_without_its_beginning_makes_no_stage_1():
    assert not run("Full", 50, trained=None).is_stage_1
    (row,) = score_table([run("Full", 50, trained=None)])
    assert str(row.cells["RTE"]) == "50.0†"


def test_a_score_is_computed_from_predictions_not_read_from_the_log():
    kept = DevPredictions(10, "accuracy", 99.0, 1, {0: (1, 1), 1: (0, 1), 2: (1, 1), 3: (1, 1)})
    assert run("Full", 99.0, predictions=kept).best == 75.0
    (row,) = score_table([run("Full", 99.0, predictions=kept)])
    assert str(row.cells["RTE"]) == "75.0"


def test_a_loss_is_the_logs():
    kept = DevPredictions(10, "nll_loss", 0.5, 1, {0: (1, 1)})
    logged = Run("f", "Full", "RTE", 1e-4, 1, "nll_loss", [(5, 0.5)], 10, 10, True, None, [], kept)
    assert logged.best == 0.5 and not logged.recomputed


def test_a_moved_ticket_is_named_by_its_task():
    own, moved = (run("Dominant-1", 60, source=source) for source in ("RTE", "MNLI"))
    assert [own.label, moved.label] == ["Dominant-1", "Dominant-1 (MNLI)"]
    rows = score_table([own, moved])
    assert [row.method for row in rows] == ["Dominant-1", "Dominant-1 (MNLI)"]
    table = make_document([own, moved]).sections[0].shown[0]
    header = list(table.header)
    for line in table.rows:  # both stand beside the paper's Dominant-1
        assert line[header.index("paper")] == "87.7"
        assert line[header.index("difference")] == "-27.7"


def test_no_number_of_the_paper_stands_beside_another_metric():
    table = make_document([run("Dominant-1", 60, metric="f1")]).sections[0].shown[0]
    (line,) = table.rows
    header = list(table.header)
    shown = [line[header.index(name)] for name in ("RTE", "paper", "difference")]
    assert shown == ["60.0†", "", ""]


def test_structure_of_the_papers_ticket():
    """Table 4 is the part O and FC2 of Table 1; the text names 673, 631, 474 and 106."""
    published = load_ticket("roberta.large/mnli")
    biased = bias_layers(published, 3)
    assert biased["FC2"] == [16, 18, 19, 20, 21]
    assert biased["O"] == [2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 21, 22]
    bones = skeleton(published, 3)
    assert {673, 631, 474, 106} <= set(list(bones)[:6])
    assert 1024 not in bones and 4096 not in bones
    assert popular(published, 3)["b"] == 6
    # by hand: 673 is in Q, V and FC1 of layer 0, not in K
    assert bones[673][0] == 3


def test_a_single_dominated_column_stays_visible():
    mask = torch.zeros(300, 1000, dtype=torch.bool)
    mask[::2, 777] = True
    shown = _pooled(mask)
    assert shown.shape == (96, 192)
    # by eye one line: 777 of 1000 lies in block 149 of 192
    assert (shown[:, 149] > 0.3).all() and shown[:, :148].max() == 0 and shown[:, 151:].max() == 0


def test_curves_are_means_where_all_seeds_have_a_point():
    assert mean_line([[(1, 2.0), (2, 4.0)], [(2, 6.0), (3, 1.0)]]) == ([2], [5.0])
    assert mean_line([[], [(1, 2.0)]]) == ([1], [2.0])
    assert mean_line([[]]) == ([], [])


def test_structure_of_a_model_of_two_stacks(tmp_path):
    """An encoder and a decoder: a table each, the decoder's with its attention to the encoder."""
    names = ["encoder.layers.0.fc1", "decoder.layers.0.fc1", "decoder.layers.1.encoder_attn.q_proj"]
    Ticket({n: Columns((4, 9), (5,)) for n in names}, Origin("dominant")).save(
        str(tmp_path / "ticket.json")
    )
    mask = torch.zeros(4, 10, dtype=torch.bool)
    kinds = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]
    modules = [f"encoder.layers.0.{kind}" for kind in [*kinds, "fc1", "fc2"]]
    ElementMask(dict.fromkeys(modules, mask), Origin("dominant")).save(
        str(tmp_path / "sigma_mask.safetensors")
    )
    found = run("L1", 50, saved=str(tmp_path), source=None)
    document = make_document([found])
    shown = {one.name: one for section in document.sections for one in section.shown}
    assert list(shown["table1-encoder"].rows) == [["0", *["none"] * 4, "5", "none"]]
    assert "XQ" in shown["table1-decoder"].header and len(shown["table1-decoder"].rows) == 2
    assert {"skeleton-encoder", "skeleton-decoder", "figure2"} <= set(shown)
    assert list(document.data["structure"]) == ["RTE, seed 1, decoder", "RTE, seed 1, encoder"]
    write_report(str(tmp_path / "report"), document)


def test_runs_that_were_moved_are_reported_without_figure_2(tmp_path):
    """Their last checkpoint names a pre-trained file that is not here."""
    state = {"cfg": {"checkpoint": {"finetune_from_model": "/gone/model.pt"}}, "model": {}}
    torch.save(state, tmp_path / "checkpoint_last.pt")
    Ticket({"layers.0.fc1": Columns((4, 9), (5,))}, Origin("dominant")).save(
        str(tmp_path / "ticket.json")
    )
    document = make_document([run("L1", 50, saved=str(tmp_path))])
    (section,) = [s for s in document.sections if "Figure 2" in s.title]
    assert "RTE, seed 1: not shown: " in section.text[0] and "model.pt" in section.text[0]


def test_similarity_across_seeds_and_tasks(tmp_path):
    """Three L1 fine-tunings: RTE with two seeds, MRPC with one."""
    q = "layers.0.self_attn.q_proj"
    runs = []
    for task, seed, columns in (("RTE", 1, (1, 2)), ("RTE", 2, (2, 3)), ("MRPC", 1, (1, 2))):
        folder = tmp_path / f"{task}{seed}"
        folder.mkdir()
        Ticket({q: Columns((4, 9), columns)}, Origin("dominant", task=task)).save(
            str(folder / "ticket.json")
        )
        mask = torch.zeros(4, 10, dtype=torch.bool)
        mask[:, list(columns)] = True
        names = [q, *(q.replace("q_proj", n) for n in ("k_proj", "v_proj", "out_proj"))]
        names += ["layers.0.fc1", "layers.0.fc2"]
        ElementMask(dict.fromkeys(names, mask), Origin("dominant")).save(
            str(folder / "sigma_mask.safetensors")
        )
        runs.append(
            Run(str(folder), "L1", task, 1e-5, seed, "accuracy", [(1, 50.0)], None, None, True)
        )
    document = make_document(runs)
    found = document.data["similarity"]
    assert found["across seeds, same task"]["per_matrix"] == pytest.approx(1 / 3)
    assert found["across tasks, same seed"]["per_matrix"] == 1.0
    assert {key: value["pairs"] for key, value in found.items()} == {
        "across seeds, same task": 1,
        "across tasks, same seed": 1,
    }
    # launched twice with one seed: no second seed
    twice = make_document([runs[0], replace(runs[0], folder=str(tmp_path / "RTE2"))])
    assert twice.data["similarity"] == {} and len(twice.data["structure"]) == 2
    titles = " ".join(section.title for section in document.sections)
    for name in ("Table 1", "Table 4", "Tables 5 to 10", "Figure 2", "equation 4"):
        assert name in titles
    written = write_report(str(tmp_path / "report"), document)
    again = write_report(str(tmp_path / "again"), make_document(runs))
    for one, two in zip(written, again):  # the same bytes every time
        assert Path(one).read_bytes() == Path(two).read_bytes(), one

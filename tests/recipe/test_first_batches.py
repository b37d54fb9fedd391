"""What a recipe's first batches show: by the task's own step, at θ0, with settings that were kept."""

from __future__ import annotations

import json

import pytest

from fairseq_dwt.cli import main
from fairseq_dwt.ticket import Ticket
from tests.recipe.families import FAMILIES, SMOOTHED, Family, prepare, sizes, ticket_run

STEPS = ["--lr", "0.003", "--max-update", "3"]
#: Its step goes through its pairs of languages, and its batches are one of each.
MANY = "--task multilingual_translation --lang-pairs x-y --arch multilingual_transformer".split()
MANY += [*sizes("encoder", "decoder"), *SMOOTHED]


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    family = FAMILIES["language_modeling"]
    prepare(family, folder)
    family.train(folder, "oneshot", *STEPS, *ticket_run(file="oneshot", k=1))
    return folder


@pytest.fixture
def explain(lm, tmp_path, monkeypatch, capsys):
    def command(*more, ticket="oneshot/oneshot.json"):
        monkeypatch.chdir(lm)
        given = ["--tuned", "oneshot/checkpoint_last.pt", "--ticket", ticket]
        code = main(["explain", *given, "-o", str(tmp_path / "why"), *more])
        path = tmp_path / "why" / "report.json"
        data = json.loads(path.read_text()) if path.is_file() else None
        return code, capsys.readouterr().err, data

    return command


def test_the_gradients_are_those_of_the_runs_own_ticket(lm, explain):
    number = Ticket.load(f"{lm}/oneshot/oneshot.json").origin.num_batches
    code, said, data = explain("--batches", str(number))
    assert code == 0, said
    assert data["overlaps"]["3"]["gradient (one-shot)"]["per_matrix"] == 1


def test_settings_have_the_runs_types_and_inputs_no_dropout(explain):
    found = {}
    for dropout in ("0", "0.5"):
        *_, found[dropout] = explain("--batches", "2", f"model.dropout={dropout}")
    without, much = (found[dropout]["reasons"] for dropout in ("0", "0.5"))
    assert without["inputs, tokens"] == much["inputs, tokens"]
    assert without["gradient (one-shot)"] != much["gradient (one-shot)"]
    assert explain("--batches", "1", "dataset.batch_size=2", "common.seed=5")[0] == 0


REFUSED = {
    "an unknown setting": (["dataset.bacth_size=2"], "of a setting that the run has"),
    "a value that is no YAML": (["common.seed=[1"], "common.seed=[1: expected section.name=value"),
    "a folder of configs alone": (["--config-dir", "conf"], "--config-dir: expected none without"),
    "no train data": (["dataset.train_subset=nowhere"], "nowhere"),
    "another model's ticket": (["--ticket", "roberta.large/mnli"], "another model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(explain, case):
    more, expected = REFUSED[case]
    code, said, data = explain(*more)
    assert code == 2 and data is None
    assert expected in said.splitlines()[-1] and "None" not in said


def test_a_task_whose_step_does_more_than_its_criterion(tmp_path, monkeypatch, capsys):
    family = Family(["mt-b", *MANY], ["mt-a", *MANY], 32, [])
    prepare(family, tmp_path)
    found = {}
    for word in ("oneshot", "forward"):
        family.train(tmp_path, word, *STEPS, *ticket_run(file=word, k=2))
        found[word] = Ticket.load(f"{tmp_path}/{word}/ticket.json")
        assert len(found[word].matrices) == family.matrices
    monkeypatch.chdir(tmp_path)
    given = ["--tuned", "oneshot/checkpoint_last.pt", "--ticket", "forward/ticket.json"]
    assert main(["explain", *given, "-o", "why"]) == 0, capsys.readouterr().err
    page = (tmp_path / "why" / "report.md").read_text()
    assert "decoder layer 1 XK" in page and "encoder layer 1 FC2" in page

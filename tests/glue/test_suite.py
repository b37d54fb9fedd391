from __future__ import annotations

import dataclasses

import pytest

from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue.suite import TASKS, glue_task, task_of_folder
from tests.glue.fairseq_recipe import COLUMNS, MNLI_DEV_LABEL


def test_the_eight_tasks_in_the_config_names():
    assert list(TASKS) == "mnli qnli qqp sst_2 cola mrpc rte sts_b".split()
    folders = [task.folder for task in TASKS.values()]
    assert folders == "MNLI QNLI QQP SST-2 CoLA MRPC RTE STS-B".split()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_columns_are_those_of_fairseqs_recipe(task):
    inputs, test_inputs, label = COLUMNS[task.folder]
    for split in task.splits:
        table = split.table
        numbers = tuple(table.columns.index(name) + 1 for name in table.inputs)
        assert numbers == (test_inputs if split.name.startswith("test") else inputs)
        if split.name.startswith("test"):
            assert table.label is None
        else:
            at = MNLI_DEV_LABEL if split.file.startswith("dev_") else label
            assert table.columns.index(table.label) + 1 == at


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("mnli", [12, 16, 16, 10, 10]),
        ("qnli", [4, 4, 3]),
        ("qqp", [6, 6, 3]),
        ("sst_2", [2, 2, 2]),
        ("cola", [4, 4, 2]),
        ("mrpc", [5, 5, 5]),
        ("rte", [4, 4, 3]),
        ("sts_b", [10, 10, 9]),
    ],
)
def test_number_of_fields(name, fields):
    assert [len(split.table.columns) for split in TASKS[name].splits] == fields


def test_mnli_has_two_dev_and_two_test_sets():
    assert {split.file: split.name for split in TASKS["mnli"].splits} == {
        "train.tsv": "train",
        "dev_matched.tsv": "valid",
        "dev_mismatched.tsv": "valid1",
        "test_matched.tsv": "test",
        "test_mismatched.tsv": "test1",
    }


def test_only_colas_train_and_dev_have_no_header():
    without = {
        (task.name, split.file)
        for task in TASKS.values()
        for split in task.splits
        if not split.table.has_header
    }
    assert without == {("cola", "train.tsv"), ("cola", "dev.tsv")}


def test_metrics_and_the_one_that_selects():
    assert {task.name: (task.metrics, task.best_metric) for task in TASKS.values()} == {
        "mnli": (("accuracy",), "accuracy"),
        "qnli": (("accuracy",), "accuracy"),
        "qqp": (("accuracy", "f1"), "accuracy"),
        "sst_2": (("accuracy",), "accuracy"),
        "cola": (("mcc",), "mcc"),
        "mrpc": (("accuracy", "f1"), "accuracy"),
        "rte": (("accuracy",), "accuracy"),
        "sts_b": (("pearson", "spearman"), "pearson"),
    }


def test_classes_and_sentences():
    assert {task.name: (task.num_classes, task.num_inputs) for task in TASKS.values()} == {
        "mnli": (3, 2),
        "qnli": (2, 2),
        "qqp": (2, 2),
        "sst_2": (2, 1),
        "cola": (2, 1),
        "mrpc": (2, 2),
        "rte": (2, 2),
        "sts_b": (1, 2),
    }
    assert [task.name for task in TASKS.values() if task.regression] == ["sts_b"]
    assert [task.name for task in TASKS.values() if task.drops_malformed] == ["qqp"]


@pytest.mark.parametrize("spelling", ["sst_2", "SST-2", "sst2", "SST_2", "Sst-2"])
def test_lookup_takes_any_spelling(spelling):
    assert glue_task(spelling) is TASKS["sst_2"]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_lookup_by_name_and_folder(task):
    assert glue_task(task.name) is glue_task(task.folder) is task


@pytest.mark.parametrize("name", ["wnli", "", "rte2", "sst"])
def test_lookup_of_no_task(name):
    with pytest.raises(DwtError, match="unknown GLUE task .*: use one of mnli, qnli"):
        glue_task(name)


def test_tasks_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASKS["rte"].folder = "elsewhere"


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_folders_of_fairseqs_own_recipe(task):
    for name in (task.folder, f"{task.folder}-bin", f"{task.name}_bin", f"a/b-bin/{task.folder}/"):
        assert task_of_folder(name) == task.folder
    assert glue_task(f"{task.folder}-bin") is task


def test_a_folder_of_no_task_keeps_its_name():
    assert [task_of_folder(f"x/{n}") for n in ("mine", "mine-bin", "bin")] == [
        "mine", "mine-bin", "bin",
    ]  # fmt: skip

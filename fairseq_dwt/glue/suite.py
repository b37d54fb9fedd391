"""The eight GLUE tasks: files, columns, labels, metrics.

``TASKS`` is keyed by config name (``mnli qnli qqp sst_2 cola mrpc rte sts_b``); `glue_task`
finds a task under any spelling.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ..errors import DwtError


@dataclass(frozen=True)
class Tsv:
    """The layout of one kind of TSV file.

    columns: the names of all columns, in file order; every row has exactly this many fields.
    inputs: the names of the one or two sentence columns, in model order.
    label: the name of the label column, None where there is none (test files).
    has_header: whether the first line holds the column names.
    """

    columns: tuple[str, ...]
    inputs: tuple[str, ...]
    label: str | None = None
    has_header: bool = True


@dataclass(frozen=True)
class Split:
    """One file of a task, and the name that fairseq gives to the data set made of it."""

    name: str
    file: str
    table: Tsv
    required: bool


@dataclass(frozen=True)
class GlueTask:
    """One GLUE task.

    name: config name (``sst_2``). folder: GLUE's name (``SST-2``), also the output folder.
    labels: the label strings of a classification task, () for regression. These are label
        *values*: class indices come from the label dictionary, which fairseq orders by frequency.
    metrics: names that `fairseq_dwt.glue.metrics.scores` knows. best_metric: the one of them
        that selects the checkpoint.
    drops_malformed: rows of train and dev with a wrong number of fields are dropped, not errors.
    """

    name: str
    folder: str
    splits: tuple[Split, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    best_metric: str
    drops_malformed: bool = False

    @property
    def regression(self) -> bool:
        """Whether the target is a number (STS-B) instead of a class."""
        return not self.labels

    @property
    def scale(self) -> float:
        """GLUE's score over the model's target: STS-B's 0 to 5 is learned as 0 to 1."""
        return 5.0 if self.regression else 1.0

    @property
    def num_classes(self) -> int:
        """Number of model outputs: the number of labels, 1 for regression."""
        return len(self.labels) or 1

    @property
    def num_inputs(self) -> int:
        """Sentences per example: 1 or 2."""
        return len(self.splits[0].table.inputs)


def _splits(train_and_dev: Tsv, test: Tsv) -> tuple[Split, ...]:
    return (
        Split("train", "train.tsv", train_and_dev, required=True),
        Split("valid", "dev.tsv", train_and_dev, required=True),
        Split("test", "test.tsv", test, required=False),
    )


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split())


_SENTENCES = ("sentence1", "sentence2")
_QUESTIONS = ("question1", "question2")
_MNLI_COLUMNS = _columns(
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
    "sentence1_parse sentence2_parse sentence1 sentence2"
)
_MNLI_TRAIN = Tsv(_MNLI_COLUMNS + ("label1", "gold_label"), _SENTENCES, "gold_label")
# Five annotators labelled the dev sets, one the train set: gold_label moves from 12 to 16.
_MNLI_DEV = Tsv(
    _MNLI_COLUMNS + _columns("label1 label2 label3 label4 label5 gold_label"),
    _SENTENCES,
    "gold_label",
)
_MNLI_TEST = Tsv(_MNLI_COLUMNS, _SENTENCES)
_STS_B_COLUMNS = _columns("index genre filename year old_index source1 source2 sentence1 sentence2")
_MRPC_IDS_AND_STRINGS = ("#1 ID", "#2 ID", "#1 String", "#2 String")
_MRPC_STRINGS = ("#1 String", "#2 String")
_INDEX_AND_SENTENCE = Tsv(("index", "sentence"), ("sentence",))
_ENTAILMENT = ("entailment", "not_entailment")
_BINARY = ("0", "1")

TASKS: dict[str, GlueTask] = {
    task.name: task
    for task in (
        GlueTask(
            name="mnli",
            folder="MNLI",
            splits=(
                Split("train", "train.tsv", _MNLI_TRAIN, required=True),
                Split("valid", "dev_matched.tsv", _MNLI_DEV, required=True),
                Split("valid1", "dev_mismatched.tsv", _MNLI_DEV, required=False),
                Split("test", "test_matched.tsv", _MNLI_TEST, required=False),
                Split("test1", "test_mismatched.tsv", _MNLI_TEST, required=False),
            ),
            labels=("contradiction", "entailment", "neutral"),
            metrics=("accuracy",),
            best_metric="accuracy",
        ),
        GlueTask(
            name="qnli",
            folder="QNLI",
            splits=_splits(
                Tsv(_columns("index question sentence label"), ("question", "sentence"), "label"),
                Tsv(_columns("index question sentence"), ("question", "sentence")),
            ),
            labels=_ENTAILMENT,
            metrics=("accuracy",),
            best_metric="accuracy",
        ),
        GlueTask(
            name="qqp",
            folder="QQP",
            splits=_splits(
                Tsv(
                    _columns("id qid1 qid2 question1 question2 is_duplicate"),
                    _QUESTIONS,
                    "is_duplicate",
                ),
                Tsv(_columns("id question1 question2"), _QUESTIONS),
            ),
            labels=_BINARY,
            metrics=("accuracy", "f1"),
            best_metric="accuracy",
            drops_malformed=True,
        ),
        GlueTask(
            name="sst_2",
            folder="SST-2",
            splits=_splits(Tsv(("sentence", "label"), ("sentence",), "label"), _INDEX_AND_SENTENCE),
            labels=_BINARY,
            metrics=("accuracy",),
            best_metric="accuracy",
        ),
        GlueTask(
            name="cola",
            folder="CoLA",
            splits=_splits(
                Tsv(
                    _columns("source label original_judgement sentence"),
                    ("sentence",),
                    "label",
                    has_header=False,
                ),
                _INDEX_AND_SENTENCE,
            ),
            labels=_BINARY,
            metrics=("mcc",),
            best_metric="mcc",
        ),
        GlueTask(
            name="mrpc",
            folder="MRPC",
            splits=_splits(
                Tsv(("Quality",) + _MRPC_IDS_AND_STRINGS, _MRPC_STRINGS, "Quality"),
                Tsv(("index",) + _MRPC_IDS_AND_STRINGS, _MRPC_STRINGS),
            ),
            labels=_BINARY,
            metrics=("accuracy", "f1"),
            best_metric="accuracy",
        ),
        GlueTask(
            name="rte",
            folder="RTE",
            splits=_splits(
                Tsv(_columns("index sentence1 sentence2 label"), _SENTENCES, "label"),
                Tsv(_columns("index sentence1 sentence2"), _SENTENCES),
            ),
            labels=_ENTAILMENT,
            metrics=("accuracy",),
            best_metric="accuracy",
        ),
        GlueTask(
            name="sts_b",
            folder="STS-B",
            splits=_splits(
                Tsv(_STS_B_COLUMNS + ("score",), _SENTENCES, "score"),
                Tsv(_STS_B_COLUMNS, _SENTENCES),
            ),
            labels=(),
            metrics=("pearson", "spearman"),
            best_metric="pearson",
        ),
    )
}


def glue_task(name: str) -> GlueTask:
    """Find a task by name in any spelling: ``rte``, ``SST-2``, ``sst_2``, ``sst2``, ``RTE-bin``.

    Raises:
        DwtError: no GLUE task has this name.

    >>> glue_task("SST-2").name
    'sst_2'
    """
    # fairseq's own recipe names its folders RTE-bin
    wanted = re.sub(r"[-_]bin$|[^a-z0-9]", "", name.lower())
    for task in TASKS.values():
        if task.name.replace("_", "") == wanted:
            return task
    raise DwtError(f"unknown GLUE task {name!r}: use one of {', '.join(TASKS)}")


def task_of_folder(path: str) -> str:
    """The name of the task whose data lie in a folder; of no GLUE task, the folder's own name.

    >>> task_of_folder("data/SST-2-bin/"), task_of_folder("data-bin/reviews")
    ('SST-2', 'reviews')
    """
    name = os.path.basename(os.path.abspath(path))
    try:
        return glue_task(name).folder
    except DwtError:
        return name

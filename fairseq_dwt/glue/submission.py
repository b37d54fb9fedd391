"""The GLUE server's files: one TSV for each test set, all of them in a zip.

Every file has the header ``index  prediction`` and a line for each row of the test set, in its
order. DevPredictions are the labels of the training data (``entailment``, ``0``), STS-B's a number
from 0 to 5. The server takes a zip of all :data:`FILES`; what is not predicted is not made up.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DwtError
from ..files import replacing
from .suite import GlueTask, Split, Tsv
from .tsv import read_rows

#: What the server wants in the zip.
FILES = (
    "AX.tsv", "CoLA.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "MRPC.tsv", "QNLI.tsv", "QQP.tsv",
    "RTE.tsv", "SST-2.tsv", "STS-B.tsv", "WNLI.tsv",
)  # fmt: skip
#: WNLI's test set, which neither the paper nor we learn: all of it gets the majority's label, 0.
WNLI_ROWS = 146
#: Where the diagnostic set lies in a GLUE folder.
DIAGNOSTICS = ("diagnostic/diagnostic.tsv", "AX/AX.tsv", "AX/test.tsv")
_AX = Split(
    "test",
    "diagnostic.tsv",
    Tsv(("index", "sentence1", "sentence2"), ("sentence1", "sentence2")),
    required=False,
)


def test_sets(task: GlueTask, glue_dir: str | Path) -> Iterator[tuple[str, list[list[str]]]]:
    """The test sets of a task: the submission's file name and the examples, in order.

    MNLI has three: matched, mismatched, and the diagnostic set, which is there or is left out.

    Raises:
        DwtError: a test file is missing or is not what it should be.
    """
    folder = Path(glue_dir)
    names = {"mnli": ("MNLI-m.tsv", "MNLI-mm.tsv")}.get(task.name, (f"{task.folder}.tsv",))
    tests = [split for split in task.splits if split.name.startswith("test")]
    for name, split in zip(names, tests):
        yield name, _examples(folder / task.folder / split.file, task, split)
    if task.name == "mnli":
        for where in DIAGNOSTICS:
            if (folder / where).is_file():
                yield "AX.tsv", _examples(folder / where, task, replace(_AX, file=where))
                break


def _examples(path: Path, task: GlueTask, split: Split) -> list[list[str]]:
    return [list(example) for example in zip(*read_rows(path, task, split).inputs)]


def text_of(task: GlueTask, predictions: Sequence[str | float]) -> str:
    """A file of the submission.

    Args:
        task: whose test set it is.
        predictions: a label for each row, or STS-B's score on its scale, 0 to 5.

    Raises:
        DwtError: a label that the task does not have.
    """
    lines = ["index\tprediction"]
    for index, prediction in enumerate(predictions):
        if task.regression:
            prediction = f"{min(max(float(prediction), 0.0), 5.0):.3f}"
        elif prediction not in task.labels:
            raise DwtError(
                f"{task.folder}: expected predictions among {', '.join(task.labels)}, got "
                f"{prediction!r}; name a delta whose labels are the task's"
            )
        lines.append(f"{index}\t{prediction}")
    return "\n".join(lines) + "\n"


def write_submission(path: str, files: Mapping[str, str]) -> list[str]:
    """Write the zip, whole or not at all, WNLI with its majority's label among them.

    Args:
        path: of the zip.
        files: ``{name in FILES: text}``.

    Returns:
        the files that the server wants and that are not in it.
    """
    wnli = "index\tprediction\n" + "".join(f"{index}\t0\n" for index in range(WNLI_ROWS))
    every = {"WNLI.tsv": wnli, **files}
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in sorted(every):
            archive.writestr(name, every[name])
    return [name for name in FILES if name not in every]

"""What is replaced of fairseq is what the table says, neither less nor more."""

from __future__ import annotations

import ast

import fairseq_cli.train
import pytest

from fairseq_dwt.patches import REPLACED
from tests.processes import python, start
from tests.recipe.families import USER_DIR

#: Names of fairseq's modules, and of the classes in them, whose value a call changes.
CHANGED = """
import sys
import fairseq, fairseq_cli.train, fairseq_cli.hydra_train, fairseq.trainer
import fairseq_dwt.tasks.ticket_finetune, fairseq_dwt.tasks.ticket_extract

def names():
    found = {}
    for name, module in list(sys.modules.items()):
        # fairseq knows some of its modules by old names too
        if name.split(".")[0] not in ("fairseq", "fairseq_cli") or module.__name__ != name:
            continue
        for key, value in vars(module).items():
            found[f"{name}:{key}"] = value
            if isinstance(value, type) and value.__module__ == name:
                found.update({f"{name}:{key}.{k}": v for k, v in vars(value).items()})
    return found

def is_ours(value):
    written_in = getattr(getattr(value, "__func__", value), "__globals__", {})
    return str(written_in.get("__name__")).startswith("fairseq_dwt.patches")

replaced = [name for name, value in names().items() if is_ours(value)]
print(sorted(replaced))
"""


#: As multiprocessing begins a worker of ``python -m fairseq_cli.train``.
WORKER = """
import multiprocessing.spawn, sys
multiprocessing.spawn._fixup_main_from_name("fairseq_cli.train")
main = sys.modules["__main__"].main
import fairseq_dwt
print(main.__globals__["Trainer"].__module__)
"""


def test_a_spawned_workers_own_copy_of_the_program_is_replaced_too(tmp_path):
    said = python("-c", WORKER, cwd=tmp_path).split()
    assert said[-1] == "fairseq_dwt.patches.recipes"


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (["--optimizer", "adam"], "ticket: expected a recipe that starts from a pre-trained file"),
        ([], "optimizer: expected one, got none"),
    ],
)
def test_so_is_a_program_that_is_run_by_its_file(optimizer, told, tmp_path):
    """Its flags are known, and heeded: it says what they lack."""
    flags = ["--ticket-file", "random", "--ticket-k", "1", "--user-dir", USER_DIR, *optimizer]
    data = "data --task language_modeling --arch transformer_lm --batch-size 1 --cpu".split()
    process = start(fairseq_cli.train.__file__, *data, *flags, cwd=prepared(tmp_path))
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0 and told in output


def prepared(folder):
    """``data`` of three lines of text."""
    (folder / "text").write_text("a b c\n" * 3)
    python(
        "-m", "fairseq_cli.preprocess", "--only-source", "--destdir", "data",
        "--trainpref", "text", "--validpref", "text", "--workers", "1", cwd=folder,
    )  # fmt: skip
    return folder


def test_the_table_is_what_is_replaced(tmp_path):
    found = set(ast.literal_eval(python("-c", CHANGED, cwd=tmp_path).splitlines()[-1]))
    assert found == set(REPLACED)

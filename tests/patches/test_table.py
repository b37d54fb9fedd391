"""What is replaced of fairseq is what the table says, neither less nor more."""

from __future__ import annotations

import ast

from fairseq_dwt.patches import REPLACED
from tests.processes import python

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


def test_the_table_is_what_is_replaced(tmp_path):
    found = set(ast.literal_eval(python("-c", CHANGED, cwd=tmp_path).splitlines()[-1]))
    assert found == set(REPLACED)

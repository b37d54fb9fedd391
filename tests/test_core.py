"""The core imports torch but never fairseq; bringing fairseq in registers the plugin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fairseq_dwt

PACKAGE = Path(fairseq_dwt.__file__).parent
#: What stands on fairseq; all else is the core.
SHELLS = (
    *(
        "criterions",
        "optim",
        "tasks",
        "patches",
        "model.encoder",
        "model.packed",
        "model.through_modules",
        "recipe",
        "run.batches",
        "run.data",
    ),
    *(
        "run.at_theta0",
        "run.first_batches",
        "run.progress",
        "run.resume",
        "run.same_run",
        "run.stages",
    ),
    *("serving.evaluate", "serving.model", "serving.predict"),
)
CORE = [
    name
    for path in sorted(PACKAGE.rglob("*.py"))
    for name in [".".join(path.relative_to(PACKAGE).with_suffix("").parts)]
    if not any(f"{name}.".startswith(f"{shell}.") for shell in SHELLS) and "__" not in name
]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_core_never_imports_fairseq():
    imports = "\n".join(f"import fairseq_dwt.{name}" for name in CORE)
    result = python(f"import sys\n{imports}\nprint('fairseq' in sys.modules)")
    assert result.stdout == "False\n", result.stderr


def test_a_shell_does_so_the_test_above_can_fail():
    result = python(
        "import sys\nimport fairseq_dwt.tasks.ticket_extract\nprint('fairseq' in sys.modules)"
    )
    assert result.stdout == "True\n", result.stderr


def test_importing_it_beside_fairseq_registers_everything():
    result = python(
        "import fairseq.tasks, fairseq_dwt\n"
        "from fairseq.criterions import CRITERION_REGISTRY\n"
        "from fairseq.optim import OPTIMIZER_REGISTRY\n"
        "from fairseq.tasks import TASK_REGISTRY\n"
        "print('l1_to_init' in CRITERION_REGISTRY, 'dominant_ticket' in OPTIMIZER_REGISTRY,"
        " 'ticket_extract' in TASK_REGISTRY, 'ticket_finetune' in TASK_REGISTRY)"
    )
    assert result.stdout == "True True True True\n", result.stderr

"""The config that fairseq's own examples have for RoBERTa, with two settings more."""

from __future__ import annotations

from pathlib import Path

import fairseq
import pytest

from fairseq_dwt.checkpoint import Pretrained
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.find.controls import random_columns
from fairseq_dwt.ticket import Ticket, origin_of
from tests.conftest import SIZES
from tests.processes import python
from tests.recipe.families import USER_DIR

CONFIGS = Path(fairseq.__file__).parent / "examples" / "roberta" / "config" / "finetuning"
SHAPE = [f"+model.{name}={value}" for name, value in SIZES.items()]
ON_A_CPU = ["common.fp16=false", "common.cpu=true"]
SHORT = ["optimization.max_update=3", "lr_scheduler.warmup_updates=1", "task.max_positions=20"]


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="fairseq was installed without its examples")
def test_rte_of_fairseqs_examples(small, tmp_path):
    given = ["--config-dir", str(CONFIGS), "--config-name", "rte", f"task.data={small.data}"]
    given += [f"checkpoint.restore_file={small.init}", *SHAPE, *ON_A_CPU, *SHORT]
    pretrained = Pretrained(small.init)
    origin = origin_of("random", pretrained)
    random_columns(pretrained.matrices, 1, 1, origin).save(str(tmp_path / "typed.json"))
    given += [f"common.user_dir={USER_DIR}", "+ticket.file=typed.json", "+ticket.k=1"]
    folder = tmp_path / "run"
    given += [f"hydra.run.dir={folder}", f"checkpoint.save_dir={folder}"]
    python("-m", "fairseq_cli.hydra_train", *given, cwd=tmp_path)
    ticket = Ticket.load(str(folder / "ticket.json"))
    assert {len(entry.columns) for entry in ticket.matrices.values()} == {1}
    assert moved_outside(pretrained, str(folder / "checkpoint_last.pt"), ticket) == []

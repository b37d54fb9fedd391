"""Pre-trained files saved inside a data-parallel wrapper, or without a language-model head."""

from __future__ import annotations

import shutil

import pytest
import torch
from fairseq.models.roberta import RobertaModel

from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.model.names import is_head
from fairseq_dwt.model.roberta import canonical_name

KINDS = {
    "wrapped": lambda model: {f"module.{name}": t for name, t in model.items()},
    "no LM head": lambda model: {name: t for name, t in model.items() if "lm_head" not in name},
    "both": lambda model: {f"module.{n}": t for n, t in model.items() if "lm_head" not in n},
}
RUNS = {
    "stage 1": ("dwt_rte",),
    "full": ("full_rte",),
    "bitfit": ("bitfit_rte",),
    "oneshot": ("ticket_rte", "optimizer.ticket=oneshot"),
    "average": ("bitfit_rte", "ema.store_ema=true"),
}


@pytest.fixture(params=KINDS)
def foreign(request, small, tmp_path):
    """A file of the tiny RoBERTa's weights under other names, or fewer of them."""
    state = torch.load(small.init, weights_only=False)
    state["model"] = KINDS[request.param](state["model"])
    path = str(tmp_path / "foreign.pt")
    torch.save(state, path)
    return path


@pytest.mark.parametrize("run", RUNS)
def test_a_run_from_it_is_the_run_from_the_plain_file(run, foreign, small, train, tmp_path):
    found = []
    for name, init in (("plain", small.init), ("foreign", foreign)):
        given = f"checkpoint.finetune_from_model={init}"
        folder = train(*RUNS[run], given, folder=tmp_path / name)
        found.append(load_checkpoint(f"{folder}/checkpoint_last.pt")["model"])
    own = [name for name in found[0] if canonical_name(name) or is_head(name)]
    assert [name for name in own if not torch.equal(found[0][name], found[1][name])] == []
    # stock fairseq finds every name that it looks for
    assert found[0].keys() == found[1].keys()


def test_every_command_takes_it(foreign, small, train, tmp_path, capsys):
    folder = train("bitfit_rte", f"checkpoint.finetune_from_model={foreign}")
    init, tuned = ["--init", foreign], ["--tuned", f"{folder}/checkpoint_last.pt"]
    delta, merged = str(tmp_path / "a.delta.safetensors"), str(tmp_path / "merged.pt")
    used = ["--ticket", f"{folder}/ticket.json"]
    for command in (
        ["verify", *init, *tuned, *used],
        ["export", *init, *tuned, *used, "-o", delta],
        ["apply", *init, "--delta", delta, "-o", merged],
        ["extract", *init, *tuned, "-o", str(tmp_path / "a.json")],
        ["bottom", *init, *tuned, "-k", "1", "-o", str(tmp_path / "b.json")],
        ["random", *init, "-k", "1", "-o", str(tmp_path / "r.json")],
        ["bitfit", *init, "-o", str(tmp_path / "f.json")],
        ["evaluate", merged, "--task", "mrpc", "--data", small.data],
        ["evaluate", f"{folder}/checkpoint_last.pt", "--task", "mrpc", "--data", small.data],
    ):
        assert main(command) == 0, (command, capsys.readouterr())
    # fairseq loads it, strictly: also of a base without a language-model head
    shutil.copy(f"{small.data}/input0/dict.txt", tmp_path)
    shutil.copytree(small.data, tmp_path / "data")
    RobertaModel.from_pretrained(str(tmp_path), "merged.pt", str(tmp_path / "data"), bpe="bytes")
    assert Pretrained(foreign).fingerprint == Pretrained(small.init).fingerprint

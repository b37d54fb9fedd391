"""The plugin through fairseq's own programs, each in a process of its own."""

from __future__ import annotations

import os
import re

import pytest

import fairseq_dwt
from fairseq_dwt.checkpoint import Pretrained
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.ticket import load_ticket
from tests.processes import COMMON, HYDRA_TRAIN, finish, start

PACKAGE = os.path.dirname(fairseq_dwt.__file__)


def test_hydra_train_then_stock_from_pretrained_without_the_plugin(small, tmp_path):
    finish(start(
        "-m", "fairseq_cli.hydra_train", "--config-name", "ticket_rte", "optimizer.ticket=random",
        f"hydra.run.dir={tmp_path}", *COMMON, cwd=small.folder,
    ))  # fmt: skip
    used = load_ticket(str(tmp_path / "ticket.json"))
    assert moved_outside(Pretrained(small.init), str(tmp_path / "checkpoint_best.pt"), used) == []
    code = (
        "import sys, torch\n"
        "from fairseq.models.roberta import RobertaModel\n"
        f"model = RobertaModel.from_pretrained({str(tmp_path)!r}, 'checkpoint_best.pt', "
        f"data_name_or_path={small.data!r}, bpe='bytes')\n"
        "tokens = torch.tensor([[0, 5, 6, 2, 2, 7, 2]])\n"
        "model.eval()\n"
        "print(model.predict('sentence_classification_head', tokens).shape)\n"
        "print('fairseq_dwt' in sys.modules)\n"
    )
    output = finish(start("-c", code, cwd=tmp_path))
    assert "torch.Size([1, 2])" in output
    assert output.splitlines()[-1] == "False"


def test_plain_fairseq_train_with_user_dir(small, tmp_path):
    common = [
        "-m", "fairseq_cli.train", small.data, "--user-dir", PACKAGE, "--cpu",
        "--finetune-from-model", small.init, "--save-dir", str(tmp_path), "--arch", "roberta",
        "--encoder-layers", "2", "--encoder-embed-dim", "8", "--encoder-ffn-embed-dim", "16",
        "--encoder-attention-heads", "2", "--max-positions", "20", "--num-classes", "2",
        "--init-token", "0", "--separator-token", "2", "--batch-size", "8", "--max-update", "3",
        "--lr", "0.01", "--lr-scheduler", "polynomial_decay", "--total-num-update", "3",
        "--required-batch-size-multiple", "1",
    ]  # fmt: skip
    stage_1 = [
        *common, "--task", "ticket_extract", "--criterion", "l1_to_init", "--l1-lambda", "0.01",
        "--sigma", "0.001", "--optimizer", "adam",
    ]  # fmt: skip
    larger, _ = start(*stage_1, "--encoder-layers", "3", cwd=tmp_path).communicate(timeout=300)
    assert "got 3; pass --encoder-layers 2, or the --arch of the file" in larger
    finish(start(*stage_1, cwd=tmp_path))
    ticket = str(tmp_path / "ticket.json")
    assert load_ticket(ticket).origin.l1_lambda == 0.01
    second = tmp_path / "second"
    common[common.index(str(tmp_path))] = str(second)
    finish(start(
        *common, "--task", "ticket_finetune", "--criterion", "sentence_prediction",
        "--optimizer", "dominant_ticket", "--ticket", ticket, "--k", "2", "--ticket-seed", "5",
        "--wrapped-optimizer", "{_name: adam, weight_decay: 0.1}", cwd=tmp_path,
    ))  # fmt: skip
    used = load_ticket(ticket).top(2)
    assert moved_outside(Pretrained(small.init), str(second / "checkpoint_last.pt"), used) == []


@pytest.mark.parametrize("option", ["--config-dir", "--config-path"])
def test_a_users_own_config_of_the_same_name_is_the_users(option, tmp_path):
    for name in ("base", "ticket_rte"):
        (tmp_path / f"{name}.yaml").write_text("common: {seed: 77}\n")
        output = finish(start(
            "-m", "fairseq_cli.hydra_train", option, str(tmp_path), "--config-name", name,
            "--cfg", "job", cwd=tmp_path,
        ))  # fmt: skip
        assert "seed: 77" in output and "dominant_ticket" not in output


def test_our_config_beside_a_config_dir(tmp_path):
    output = finish(start(
        "-m", "fairseq_cli.hydra_train", "--config-dir", str(tmp_path), "--config-name", "full_rte",
        "--cfg", "job", cwd=tmp_path,
    ))  # fmt: skip
    assert "_name: ticket_finetune" in output


@pytest.mark.parametrize("program", ["hydra", "plain"])
def test_an_error_is_one_sentence_and_the_exit_code_is_not_zero(program, small, tmp_path):
    command = {
        "hydra": [
            "-m", "fairseq_cli.hydra_train", "--config-name", "ticket_rte",
            "optimizer.ticket=nowhere.json", f"hydra.run.dir={tmp_path}", *COMMON,
        ],
        "plain": [
            "-m", "fairseq_cli.train", small.data, "--user-dir", PACKAGE, "--cpu", "--arch", "roberta",
            "--finetune-from-model", "nowhere.pt", "--save-dir", str(tmp_path), "--batch-size", "8",
            "--task", "ticket_finetune", "--criterion", "sentence_prediction", "--num-classes", "2",
        ],
    }[program]  # fmt: skip
    process = start(*command, cwd=small.folder)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    told = {"hydra": "nowhere.json: expected a ticket file, found none", "plain": "nowhere.pt"}
    assert told[program] in output
    assert "Traceback" not in output


def test_a_run_says_its_method_its_pace_and_what_comes_next(small, tmp_path):
    folders = {}
    for config, settings in (("dwt_rte", []), ("ticket_rte", ["optimizer.ticket=random"])):
        folders[config] = tmp_path / config
        output = finish(start(
            *HYDRA_TRAIN, "--config-name", config, f"hydra.run.dir={folders[config]}",
            "common.log_interval=2", *settings, *COMMON, cwd=small.folder,
        ))  # fmt: skip
        assert re.findall(r'"left": "(\d:\d\d:\d\d)", "ups": ', output)[-1] == "0:00:00"
        if config == "dwt_rte":
            assert "stage 1, fine-tuning with an L1 pull toward" in output
            assert f"fairseq-dwt show {folders[config]}/ticket.json" in output
        else:
            assert "ticket random: " in output
            assert f"--tuned {folders[config]}/checkpoint_best.pt -o RTE.delta" in output

"""Stage 2 by its real commands: what moves, what does not, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fairseq.optim import _build_optimizer
from omegaconf import OmegaConf

from fairseq_dwt import DwtError, register
from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.find.controls import random_columns, random_elements
from fairseq_dwt.run.wrapped import wrapped_config
from fairseq_dwt.ticket import Columns, Ticket, load_ticket, origin_of
from tests.conftest import weights, write_roberta

TICKETS = {
    "one column": ["optimizer.ticket=GIVEN", "optimizer.k=1"],
    "two columns": ["optimizer.ticket=GIVEN", "optimizer.k=2"],
    "bias only": ["optimizer.ticket=bitfit", "optimizer.k=null"],
    "random": ["optimizer.ticket=random", "optimizer.k=3"],
    "no column": ["optimizer.ticket=GIVEN", "optimizer.k=0"],
}
HARSH = [
    # everything that could move a frozen weight
    "optimizer.wrapped_optimizer.weight_decay=0.5",
    "optimization.clip_norm=0.1",
    "optimization.update_freq=[2]",
    "dataset.batch_size=4",
]


@pytest.mark.parametrize("kind", TICKETS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_outside_the_ticket_nothing_moves_and_inside_all_does(
    kind, precision, train, ticket, pretrained
):
    overrides = [o.replace("GIVEN", ticket) for o in TICKETS[kind]] + HARSH
    if precision != "fp32":
        overrides += [f"common.{precision}=true", "optimization.lr=[0.1]"]
    folder = train("ticket_rte", *overrides)
    used = load_ticket(f"{folder}/ticket.json")
    assert moved_outside(pretrained, f"{folder}/checkpoint_last.pt", used) == []
    tuned = weights(f"{folder}/checkpoint_last.pt")
    for matrix in pretrained.matrices:
        for name, part in used.parts([matrix]).items():
            changed = tuned[name] != pretrained.tensors[name].to(tuned[name].dtype)
            # decay and Adam move every trained entry; bf16 rounds some back. A softmax does not
            # see the bias of K, so only decay moves that one.
            share = part.read(changed).float().mean()
            assert share > (0.95 if precision == "fp32" else 0.3), name
    head = [name for name in tuned if "classification_heads" in name]
    assert head


@pytest.mark.parametrize(
    "node, told",
    [
        (
            "{_name: adam, betas",
            ": expected a name, or YAML such as {_name: adam}, got {_name: adam,",
        ),
        ({"_name": "sgd", "momentun": 0.9}, ": expected settings of sgd, .* got momentun"),
        ("adamw", "._name: expected one of .*adam, .*, got adamw"),
        (
            {"_name": "adam", "weight_decy": 0.1},
            ": expected settings of adam, got another .*weight_decy",
        ),
        (
            {"_name": "adam", "weight_decay": "much"},
            ": expected settings of adam, got another .*much",
        ),
    ],
)
def test_a_wrapped_optimizer_that_fairseq_does_not_know(node, told):
    register()
    with pytest.raises(DwtError, match=f"wrapped_optimizer{told}"):
        wrapped_config(OmegaConf.create({"wrapped_optimizer": node}), "wrapped_optimizer", "adam")


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adadelta", "adamax", "adafactor"])
def test_fairseqs_older_optimizers_of_flags_can_be_wrapped(name):
    register()
    settings = {"_name": name, "weight_decay": 0.25}
    cfg = OmegaConf.create({"wrapped_optimizer": settings, "lr": [0.5]})
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = _build_optimizer(wrapped_config(cfg, "wrapped_optimizer", "adam"), [weight])
    (group,) = optimizer.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    weight.grad = torch.ones(3)
    optimizer.step()
    assert not torch.equal(weight, torch.ones(3))


def test_a_run_that_its_time_ended_is_finished(train, ticket):
    given = [f"optimizer.ticket={ticket}", "optimization.stop_time_hours=1e-9"]
    for _ in range(2):
        folder = train("ticket_rte", *given)
        history = load_checkpoint(f"{folder}/checkpoint_last.pt")["optimizer_history"]
        assert history[-1]["num_updates"] == 1


def test_verify_sees_a_single_bit(train, ticket, pretrained, tmp_path):
    folder = train("ticket_rte", f"optimizer.ticket={ticket}")
    state = load_checkpoint(f"{folder}/checkpoint_last.pt")
    name = "encoder.sentence_encoder.layers.1.final_layer_norm.bias"
    tensor = state["model"][name].clone()
    tensor.view(torch.int32)[3] += 1
    state["model"][name] = tensor
    torch.save(state, tmp_path / "altered.pt")
    used = load_ticket(f"{folder}/ticket.json")
    moved = moved_outside(pretrained, str(tmp_path / "altered.pt"), used)
    assert [(m.name, m.entries) for m in moved] == [(name, 1)]


def test_an_element_mask_is_a_ticket_too(train, pretrained, tmp_path):
    path = str(tmp_path / "mask.safetensors")
    mask = random_elements(pretrained.matrices, 5, 1, origin_of("random", pretrained))
    mask.save(path)
    folder = train("ticket_rte", f"optimizer.ticket={path}", "optimizer.k=null", *HARSH)
    assert moved_outside(pretrained, f"{folder}/checkpoint_last.pt", mask) == []
    tuned = weights(f"{folder}/checkpoint_last.pt")
    changed = sum(
        int((tuned[m.weight] != pretrained.tensors[m.weight].float()).sum())
        for m in pretrained.matrices
    )
    assert changed > 0.9 * sum(int(mask.masks[m.name][:, :-1].sum()) for m in pretrained.matrices)


def test_a_ticket_of_all_columns_is_full_fine_tuning_of_the_matrices(train, pretrained, tmp_path):
    everything = Ticket(
        {m.name: Columns(m.shape, tuple(range(m.in_features + 1))) for m in pretrained.matrices},
        origin_of("all", pretrained),
    )
    everything.save(str(tmp_path / "all.json"))
    inside = train(
        "ticket_rte",
        f"optimizer.ticket={tmp_path / 'all.json'}",
        "optimizer.k=null",
        folder=tmp_path / "inside",
    )
    # the same with fairseq's own means: full fine-tuning, everything else frozen by hand
    from fairseq_dwt.tasks.ticket_finetune import TicketFinetuneTask

    matrices = {n for m in pretrained.matrices for n in (m.weight, m.bias)}
    build_model = TicketFinetuneTask.build_model

    def freeze_the_rest(self, cfg, from_checkpoint=False):
        model = build_model(self, cfg)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in matrices or "classification_heads" in name)
        return model

    TicketFinetuneTask.build_model = freeze_the_rest
    try:
        full = train("full_rte", folder=tmp_path / "full")
    finally:
        TicketFinetuneTask.build_model = build_model
    ours, theirs = (weights(f"{f}/checkpoint_last.pt") for f in (inside, full))
    for name, tensor in theirs.items():  # dW is one product of all columns or of those chosen
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("mode", ["compact", "masked"])
def test_saved_states_are_of_ticket_and_head_alone(mode, train, ticket):
    folder = train("ticket_rte", f"optimizer.ticket={ticket}", f"optimizer.mode={mode}")
    state = load_checkpoint(f"{folder}/checkpoint_last.pt")
    used = load_ticket(f"{folder}/ticket.json")
    sizes = [s["exp_avg"].numel() for s in state["last_optimizer_state"]["state"].values()]
    head = sum(t.numel() for n, t in state["model"].items() if "classification_heads" in n)
    assert sum(sizes) == used.num_parameters + head


@pytest.mark.parametrize("scheduler", ["polynomial_decay", "fixed"])
def test_a_finished_run_that_is_launched_again_stays_as_it_is(scheduler, train, ticket):
    overrides = [f"optimizer.ticket={ticket}"]
    if scheduler == "fixed":
        overrides += ["lr_scheduler._name=fixed", "~lr_scheduler.total_num_update"]
    folder = train("ticket_rte", *overrides)
    before = load_checkpoint(f"{folder}/checkpoint_last.pt")
    with open(f"{folder}/checkpoint_last.pt", "rb") as file:
        content = file.read()
    train("ticket_rte", *overrides)
    with open(f"{folder}/checkpoint_last.pt", "rb") as file:
        assert file.read() == content
    assert before["optimizer_history"][-1]["num_updates"] == 6


def test_patience_is_counted_over_a_restart(train, ticket, tmp_path):
    """Best at the first epoch, patience 2: ends after epoch 3, killed after epoch 2 or not."""
    overrides = [
        f"optimizer.ticket={ticket}",
        "optimization.lr=[1e-12]",
        "optimization.max_update=100",
        "checkpoint.patience=2",
        "checkpoint.no_epoch_checkpoints=false",
    ]
    whole = train("ticket_rte", *overrides, folder=tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(f"{whole}/checkpoint2.pt", killed / "checkpoint_last.pt")
    train("ticket_rte", *overrides, folder=killed)
    updates = [
        load_checkpoint(f"{f}/checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]
        for f in (whole, killed)
    ]
    assert updates == [36, 36]
    train("ticket_rte", *overrides, folder=killed)
    again = load_checkpoint(f"{killed}/checkpoint_last.pt")["optimizer_history"][-1]
    assert again["num_updates"] == 36


def test_refuses_to_resume_a_run_of_another_model(train, small, tmp_path):
    for name, overrides in (("dwt_rte", []), ("bitfit_rte", [])):
        folder = tmp_path / name
        train(name, *overrides, folder=folder)
        write_roberta(str(tmp_path / "other.pt"), small.data, seed=1)
        with pytest.raises(
            DwtError, match="expected the pre-trained model .* of the run that is here"
        ):
            train(name, f"checkpoint.finetune_from_model={tmp_path / 'other.pt'}", folder=folder)


def test_refuses_an_element_mask_where_a_ticket_was_trained(train, pretrained, tmp_path):
    train("bitfit_rte")
    path = str(tmp_path / "mask.safetensors")
    random_elements(pretrained.matrices, 5, 1, origin_of("random", pretrained)).save(path)
    with pytest.raises(DwtError, match="run.json: expected the ticket .* of the run that is here"):
        train("ticket_rte", f"optimizer.ticket={path}", "optimizer.k=null")


def test_the_folder_of_a_run_begun_anew_has_its_own_ticket_alone(train, pretrained, tmp_path):
    folder = Path(train("bitfit_rte"))
    for path in [*folder.glob("checkpoint*"), folder / "predictions.tsv"]:
        path.unlink()
    path = str(tmp_path / "mask.safetensors")
    random_elements(pretrained.matrices, 5, 1, origin_of("random", pretrained)).save(path)
    train("ticket_rte", f"optimizer.ticket={path}", "optimizer.k=null")
    assert {p.name for p in folder.glob("ticket.*")} == {"ticket.safetensors"}


def test_checkpoints_record_a_stock_task_and_the_shape(train, ticket):
    folder = train("ticket_rte", f"optimizer.ticket={ticket}")
    cfg = load_checkpoint(f"{folder}/checkpoint_best.pt")["cfg"]
    assert cfg["task"]["_name"] == "sentence_prediction"
    assert cfg["model"]["encoder_layers"] == 2
    assert cfg["model"]["max_positions"] == 20


# -- refusals ---------------------------------------------------------------------------------------


def test_refuses_a_ticket_of_another_model_of_the_same_shape(train, small, pretrained, tmp_path):
    write_roberta(str(tmp_path / "other.pt"), small.data, seed=1)
    other = Pretrained(str(tmp_path / "other.pt"))
    path = str(tmp_path / "other.json")
    random_columns(other.matrices, 1, 1, origin_of("random", other)).save(path)
    with pytest.raises(DwtError, match="other.json: was made for the pre-trained model"):
        train("ticket_rte", f"optimizer.ticket={path}")


def test_refuses_a_ticket_of_another_shape(train, tmp_path):
    path = str(tmp_path / "wide.json")
    Ticket({"layers.0.fc1": Columns((64, 32), (1,))}).save(path)
    with pytest.raises(DwtError, match=r"layers.0.fc1: expected shape \(16, 8\)"):
        train("ticket_rte", f"optimizer.ticket={path}")


def test_refuses_another_ticket_in_a_folder_that_would_resume(train, ticket):
    train("ticket_rte", f"optimizer.ticket={ticket}", "optimizer.k=1")
    with pytest.raises(DwtError, match="expected the ticket .* of the run that is here"):
        train("ticket_rte", f"optimizer.ticket={ticket}", "optimizer.k=2")


def test_refuses_another_ticket_where_only_scores_are_kept(train, ticket):
    given = ["ticket_rte", f"optimizer.ticket={ticket}", "checkpoint.no_save=true"]
    folder = train(*given, "optimizer.k=1")
    kept = Path(folder, "predictions.tsv").read_bytes()
    with pytest.raises(DwtError, match="expected the ticket .* of the run that is here"):
        train(*given, "optimizer.k=2")
    train(*given, "optimizer.k=1")
    assert Path(folder, "predictions.tsv").read_bytes() == kept

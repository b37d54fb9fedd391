"""What a run starts from, and settings that contradict it."""

from __future__ import annotations

import pytest

from fairseq_dwt import DwtError


@pytest.mark.parametrize(
    "override, message",
    [
        ("optimizer.ticket=nowhere.json", "nowhere.json: expected a ticket file, found none"),
        ("+model.encoder_layers=12", "model.encoder_layers: expected 2 as in"),
        ("+model.encoder_layers_to_keep='0'", "encoder_layers_to_keep: expected all layers of"),
        ("checkpoint.finetune_from_model=gone.pt", "found none at .*gone.pt"),
        ("checkpoint.finetune_from_model=null", "expected the pre-trained model's file, got none"),
        ("task.data=gone", "task.data: expected a folder that preprocess.py wrote"),
        ("task.metrics=bleu", "task.metrics: expected some of"),
        ("distributed_training.ddp_backend=fully_sharded", "ddp_backend: fully_sharded"),
        ("distributed_training.zero_sharding=os", "zero_sharding: a ticket's optimizer states"),
        ("common.quantization_config_path=q.yaml", "common.quantization_config_path: iterative"),
        ("optimization.use_bmuf=true", "optimization.use_bmuf: it averages parameters"),
        ("common.memory_efficient_fp16=true", "memory_efficient_fp16: it avoids fp32 copies"),
        ("checkpoint.checkpoint_suffix=_a", "checkpoint_suffix: it puts several runs' checkpoints"),
        ("checkpoint.restore_file=x.pt", "restore_file: expected none with .*finetune_from_model"),
        ("checkpoint.reset_meters=true", "reset_meters: expected none with .*finetune_from_model"),
    ],
)
def test_refuses_in_one_sentence(override, message, train, ticket):
    with pytest.raises(DwtError, match=message):
        train("ticket_rte", f"optimizer.ticket={ticket}", override)


def test_a_ticket_that_is_missing_is_not_the_one_in_the_runs_folder(train, ticket, tmp_path):
    """An earlier launch left its own there, under the same name, and Hydra has gone there."""
    folder = train("ticket_rte", f"optimizer.ticket={ticket}")
    for name in ("checkpoint_last.pt", "checkpoint_best.pt", "predictions.tsv"):
        (tmp_path / "run" / name).unlink()
    assert (tmp_path / "run" / "ticket.json").is_file()
    with pytest.raises(DwtError, match="ticket.json: expected a ticket file, found none"):
        train("ticket_rte", "optimizer.ticket=ticket.json", folder=folder)


def test_says_that_the_epochs_end_before_the_learning_rate(train, caplog):
    given = ["bitfit_rte", "optimization.max_epoch=1", "optimization.max_update=14"]
    train(*given, "dataset.batch_size=16")
    assert "1 epochs end after 6 updates, and the learning rate is to end after 14" in caplog.text


def test_says_that_a_ticket_has_fewer_columns_than_asked_for(train, ticket, caplog):
    train("ticket_rte", f"optimizer.ticket={ticket}", "optimizer.k=64", "optimization.max_update=1")
    assert "fewer than the 64 that were asked for; a stage 1 with task.ranked_col" in caplog.text


def test_another_runs_checkpoint_is_no_theta_0(train, ticket):
    folder = train("ticket_rte", f"optimizer.ticket={ticket}")
    with pytest.raises(DwtError, match="continue_once: it goes on from another run's weights"):
        train(
            "random_rte",
            "optimizer.k=1",
            f"checkpoint.continue_once={folder}/checkpoint_last.pt",
            folder=f"{folder}-b",
        )


def test_restore_file_is_accepted_with_a_warning(train, small, ticket, caplog):
    train(
        "ticket_rte",
        f"optimizer.ticket={ticket}",
        "checkpoint.finetune_from_model=null",
        f"checkpoint.restore_file={small.init}",
        "checkpoint.reset_optimizer=true",
        "checkpoint.reset_dataloader=true",
        "checkpoint.reset_meters=true",
    )
    assert "this run will not resume" in caplog.text

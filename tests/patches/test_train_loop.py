"""What a run says that a signal ended."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from fairseq_dwt.patches import train_loop


@pytest.mark.parametrize(
    "setting", [None, "no_save", "no_last_checkpoints", "no_save_optimizer_state"]
)
def test_it_says_saved_only_where_it_can_go_on(setting, monkeypatch, caplog):
    settings = ("no_save", "no_last_checkpoints", "no_save_optimizer_state")
    checkpoint = SimpleNamespace(save_dir="runs", **{name: name == setting for name in settings})
    trainer = SimpleNamespace(get_num_updates=lambda: 3)
    monkeypatch.setattr(train_loop, "_stock_validate_and_save", lambda *args: ([None], False))
    monkeypatch.setattr(train_loop.checkpoint_utils, "save_checkpoint", lambda *args: None)
    monkeypatch.setattr(train_loop, "_received", [signal.SIGTERM])
    with pytest.raises(SystemExit):
        train_loop.validate_and_save(SimpleNamespace(checkpoint=checkpoint), trainer, None, None)
    told = (
        "saved in runs"
        if setting is None
        else f"nothing to go on from was saved (checkpoint.{setting})"
    )
    assert f"SIGTERM: stopped after update 3, {told}" in caplog.text


@pytest.mark.parametrize(("should_stop", "max_epoch"), [(False, 0), (True, 0), (False, 1)])
def test_a_signal_after_the_epochs_last_update(should_stop, max_epoch, monkeypatch, caplog):
    """It is not lost, and a run that has come to its end has ended well."""

    def epoch(*args):
        signal.raise_signal(signal.SIGTERM)
        return [None], should_stop

    monkeypatch.setattr(train_loop, "_stock_train", epoch)
    run = (
        SimpleNamespace(optimization=SimpleNamespace(max_epoch=max_epoch)),
        SimpleNamespace(data_parallel_world_size=1),
        SimpleNamespace(stops_when_told=True),
        SimpleNamespace(next_epoch_idx=2),
    )
    if should_stop or max_epoch:
        assert train_loop.train(*run) == ([None], should_stop)
    else:
        with pytest.raises(SystemExit) as ended:
            train_loop.train(*run)
        assert ended.value.code == 128 + signal.SIGTERM
        assert "SIGTERM: stopped after the epoch" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

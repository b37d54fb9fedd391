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


def test_a_signal_after_the_epochs_last_update_is_not_lost(caplog):
    with pytest.raises(SystemExit) as ended, train_loop._signals_noted():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert "SIGTERM: stopped after the epoch" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

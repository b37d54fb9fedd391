"""fairseq's moving average of the weights (EMA), inside a ticket.

fairseq averages every weight, d · average + (1 − d) · weight, which rounds the frozen ones too.
Of a model marked by :func:`average_inside` the frozen entries are copied, not averaged. Others are
averaged as before.

An average of every n-th update (``ema.ema_update_freq``) is of the same ones after a resume.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from fairseq.models.ema import build_ema as _stock_build_ema
from fairseq.models.ema.ema import EMA
from torch import nn

from ..ticket.part import Part


class TicketEMA(EMA):  # type: ignore[misc]
    """The moving average of a model that trains inside a ticket."""

    def __init__(self, model: nn.Module, config: Any, device: Any = None):
        parts: dict[str, Part] = model.averaged_inside  # type: ignore[assignment]
        # fairseq's word for a tensor that is copied
        super().__init__(model, config, device, skip_keys=set(model.state_dict()) - set(parts))
        self._parts = {name: part for name, part in parts.items() if not part.is_whole}

    def _step_internal(self, new_model: nn.Module, updates: int | None = None) -> None:
        super()._step_internal(new_model, updates)
        now, average = new_model.state_dict(), self.model.state_dict()
        with torch.no_grad():
            for name, part in self._parts.items():
                for held in (average, self.fp32_params):
                    if name in held:
                        inside = part.read(held[name])
                        held[name].copy_(now[name])
                        part.write(held[name], inside)


def average_inside(model: nn.Module, parts: dict[str, Part]) -> None:
    """Have fairseq's trainer average only these entries of ``model``.

    Args:
        model: before any wrapper.
        parts: ``{parameter name: what trains of it}`` (``masked.trained_parts``).
    """
    model.averaged_inside = parts  # type: ignore[assignment]


def build_ema(model: nn.Module, cfg: Any, device: Any) -> EMA:
    """The average of a model, as it is marked."""
    marked = hasattr(model, "averaged_inside")
    average = TicketEMA(model, cfg, device) if marked else _stock_build_ema(model, cfg, device)
    average.step = functools.partial(_step, average, average.step)
    return average


def _step(average: EMA, step: Any, model: nn.Module, updates: int | None = None) -> None:
    if updates is not None:  # fairseq counts from each launch
        average.update_freq_counter = (updates - 1) % average.config.ema_update_freq
    step(model, updates)

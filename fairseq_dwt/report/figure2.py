"""Where the out-weighted parameters lie: Figure 2."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..checkpoint import ROUNDED, Pretrained, Tuned, load_checkpoint, section
from ..errors import DwtError
from ..find.dominant import SIGMA, Movement
from ..run.folder import CHECKPOINT_LAST, SIGMA_MASK
from ..ticket import ElementMask
from .document import Section
from .figures import (
    out_weighted_figure,
)
from .found import Found


def out_weighted_section(found: Sequence[Found]) -> Section | None:
    masks: dict[str, ElementMask] = {}
    notes: list[str] = []
    for one in found:
        if one.run.task not in masks:
            mask = _sigma_mask(one, notes)
            # of one model: those of another have other matrices
            if mask is not None and all(
                mask.masks.keys() == m.masks.keys() for m in masks.values()
            ):
                masks[one.run.task] = mask
    if not masks and not notes:
        return None
    shown = [out_weighted_figure(masks)] if masks else []
    return Section("Out-weighted parameters (Figure 2)", notes, shown)


def _sigma_mask(found: Found, notes: list[str]) -> ElementMask | None:
    """What the run wrote, or its last checkpoint against the pre-trained file; may add a note."""
    folder = found.run.saved or found.run.folder
    path = os.path.join(folder, SIGMA_MASK)
    if os.path.isfile(path):
        return ElementMask.load(path)
    checkpoint = os.path.join(folder, CHECKPOINT_LAST)
    if not os.path.isfile(checkpoint):
        return None
    try:
        state = load_checkpoint(checkpoint)
        settings = section(state, "checkpoint")
        pretrained = Pretrained(settings["finetune_from_model"] or settings["restore_file"])
        tuned, origin = Tuned(checkpoint, state), found.ticket.origin
        mask = Movement.between(pretrained, tuned, origin.sigma or SIGMA).mask(origin)
    except DwtError as error:  # the runs were moved, or are a recipe's
        notes.append(f"{found.name}: not shown: {error}.")
        return None
    if tuned.counts_rounded:
        notes.append(f"{found.run.task}: its checkpoint {ROUNDED}.")
    return mask

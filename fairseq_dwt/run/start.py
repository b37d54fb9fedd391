"""Which file a run starts from: that of θ0, at every launch."""

from __future__ import annotations

import logging
import os
from typing import Any

from omegaconf import DictConfig

from ..errors import DwtError
from .folder import CHECKPOINT_LAST

logger = logging.getLogger(__name__)


def check_start(checkpoint: DictConfig) -> None:
    """Refuse settings with which a run would start from another file than the one of θ0.

    Args:
        checkpoint: fairseq's section.

    Raises:
        DwtError: such a setting.
    """
    if "continue_once" in checkpoint and checkpoint.continue_once is not None:
        raise DwtError(
            "checkpoint.continue_once: it goes on from another run's weights, which are not θ0; "
            "name the pre-trained file with checkpoint.finetune_from_model, or continue that run "
            "in its own folder"
        )
    if checkpoint.checkpoint_suffix:
        raise DwtError(
            "checkpoint.checkpoint_suffix: it puts several runs' checkpoints into one folder, "
            "which here is one run; leave it out and choose another hydra.run.dir (of another "
            "recipe: checkpoint.save_dir)"
        )
    if checkpoint.finetune_from_model is None:
        return
    resets = [f"reset_{of}" for of in ("optimizer", "lr_scheduler", "meters", "dataloader")]
    given = [name for name in resets if checkpoint[name]]
    if checkpoint.restore_file != CHECKPOINT_LAST:
        given.append("restore_file")
    if given:
        raise DwtError(
            f"checkpoint.{given[0]}: expected none with checkpoint.finetune_from_model, which "
            "starts a run anew from that file; leave one of the two out"
        )


def check_layers(model: Any) -> None:
    """Refuse a model of fewer layers than the file's, whose numbers are not the file's.

    Args:
        model: fairseq's section of settings, of Hydra or of the command line.

    Raises:
        DwtError: such a setting.
    """
    for name in ("encoder_layers_to_keep", "decoder_layers_to_keep"):
        if getattr(model, name, None):
            raise DwtError(
                f"model.{name}: expected all layers of the pre-trained file, got "
                f"{getattr(model, name)}: the layers that are left have other numbers than those "
                "of the file, of which a ticket tells; leave it out, or save the pruned model and "
                "start from that"
            )


def pretrained_file(root: DictConfig) -> str:
    """The pre-trained file that a run starts from; an absolute path.

    Raises:
        DwtError: none is named, or it does not exist; see :func:`check_start`.
    """
    checkpoint = root.checkpoint
    check_start(checkpoint)
    path = checkpoint.finetune_from_model
    if path is None and checkpoint.restore_file != CHECKPOINT_LAST:
        path = checkpoint.restore_file
        logger.warning(
            "checkpoint.restore_file starts over at every launch: this run will not resume; "
            "name the pre-trained file with checkpoint.finetune_from_model to resume"
        )
    if path is None:
        raise DwtError(
            "checkpoint.finetune_from_model: expected the pre-trained model's file, got none; "
            "set checkpoint.finetune_from_model=path/to/model.pt"
        )
    if not os.path.isfile(path):
        raise DwtError(
            f"checkpoint.finetune_from_model: expected the pre-trained model's file, found none at "
            f"{path}; check the path (θ0 is read from it at every launch, after a resume too)"
        )
    return os.path.abspath(path)

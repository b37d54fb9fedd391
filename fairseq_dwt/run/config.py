"""What a run starts from: the paths a user typed, the pre-trained file, the model's shape.

Works on fairseq's whole config (an OmegaConf tree) before the model is built. It is edited in
place, because the same tree is what fairseq reads afterwards and saves in every checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ..checkpoint import Pretrained
from ..errors import DwtError
from ..find.methods import WORDS
from ..model.roberta import FUNCTION, SIZES
from ..ticket import PUBLISHED
from .folder import CHECKPOINT_LAST

logger = logging.getLogger(__name__)

#: Settings that hold a path which a user types relative to where they stand.
PATHS = (
    ("task", "data"),
    ("checkpoint", "finetune_from_model"),
    ("checkpoint", "restore_file"),
    ("criterion", "init"),
    ("optimizer", "ticket"),
    ("optimizer", "like"),
    ("ticket", "file"),
    ("ticket", "like"),
)
_PLUGIN = "hydra_plugins.fairseq_dwt_search_path"


def compose(name: str, overrides: Sequence[str], config_dir: str | None = None) -> DictConfig:
    """The config that ``fairseq-hydra-train --config-name NAME OVERRIDES`` hands to training.

    Args:
        name: of a config of ours, or of a file in ``config_dir``.
        overrides: as on the command line.
        config_dir: ``--config-dir``; its file comes before one of ours of the same name.

    Raises:
        DwtError: no such config, or an override that it does not take.
    """
    from fairseq.dataclass.initialize import add_defaults, hydra_init
    from fairseq.dataclass.utils import omegaconf_no_object_check
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    # hydra 1.0 calls it experimental
    hydra = import_module("hydra")
    hydra = hydra if hasattr(hydra, "compose") else import_module("hydra.experimental")
    name = name[: -len(".yaml")] if name.endswith(".yaml") else name
    ours = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs")
    folders = [os.path.abspath(config_dir), ours] if config_dir else [ours]
    found = [f for f in folders if os.path.isfile(os.path.join(f, f"{name}.yaml"))]
    if not found:
        raise DwtError(
            f"--config-name: expected a config such as ticket_mrpc, found no {name}.yaml in "
            + " or ".join(folders)
        )
    hydra_init(name)
    GlobalHydra.instance().clear()
    plugin: Any = import_module(_PLUGIN)
    own = found[0] != ours
    plugin.composed = os.path.join(found[0], f"{name}.yaml") if own else None
    try:
        # that fairseq's schema has the config's name, and that no Hydra version is asked for
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with hydra.initialize_config_dir(config_dir=os.path.realpath(found[0])):
                cfg = hydra.compose(config_name=name, overrides=list(overrides))
        if OmegaConf.is_interpolation(cfg.common, "fp16"):
            # ${dwt:fp16} asks Hydra for the config that runs, and none does
            cfg.common.fp16 = plugin.automatic_fp16(cfg.common)
        add_defaults(cfg)
        with omegaconf_no_object_check():
            plain = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
            composed = OmegaConf.create(plain)
    except (HydraException, OmegaConfBaseException) as error:
        raise DwtError(f"--config-name {name}: {str(error).splitlines()[0]}") from None
    finally:
        plugin.composed = None
    assert isinstance(composed, DictConfig)
    OmegaConf.set_struct(composed, True)
    return composed


def users_folder() -> str | None:
    """Where a run was launched, if that is not this process's folder.

    Hydra changes into the run's folder, and the workers that it spawns, one a GPU, begin there.
    """
    if HydraConfig.initialized():
        return str(HydraConfig.get().runtime.cwd)
    if "hydra" not in os.path.basename(sys.argv[0]):
        return None
    return os.environ.get("FAIRSEQ_DWT_CWD") or os.environ.get("PWD")  # the plugin's


def resolve_paths(root: DictConfig, cwd: str | None, only: str | None = None) -> None:
    """Make the paths in ``root``, or in one section, absolute against the user's ``cwd``.

    Hydra changes the working directory before fairseq reads a path. Words that are no paths
    (a built-in ticket, fairseq's own restore_file) stay as they are; so does a method's, such as
    ``bitfit``, where a file has its name (``./bitfit`` is the file).
    """
    if not cwd:
        return
    for section, key in PATHS:
        # omegaconf 2.0 raises where get() finds no key
        node = root[section] if section in root and only in (None, section) else None
        if not isinstance(node, DictConfig) or key not in node:
            continue
        if OmegaConf.is_interpolation(node, key):
            continue
        value = node[key]
        if not isinstance(value, str) or os.path.isabs(value) or value == CHECKPOINT_LAST:
            continue
        if key in ("ticket", "file") and value in WORDS:
            continue
        candidate = os.path.normpath(os.path.join(cwd, value))
        if value in PUBLISHED and not os.path.isfile(candidate):
            continue
        with open_dict(node):
            node[key] = candidate


def settle_folder(root: DictConfig, folder: str | None) -> None:
    """Give a run the folder that Hydra made for it, whether Hydra changed into it or not.

    Our configs save in ``.``; with ``hydra.job.chdir=false`` that is the folder of all jobs.
    Without Hydra, or with 1.0, which always changes into it, ``folder`` is None.
    """
    if root.checkpoint.save_dir == "." and folder is not None:
        root.checkpoint.save_dir = folder


def settle_schedule(root: DictConfig) -> None:
    """Refuse a learning rate that decays over no updates (DwtError), where fairseq asserts.

    ``optimization.max_update=0`` is no limit to fairseq, and our configs decay over that number.
    """
    scheduler = root.lr_scheduler
    if "total_num_update" in scheduler and not float(scheduler.total_num_update) > 0:
        raise DwtError(
            "lr_scheduler.total_num_update: expected the number of updates over which the learning "
            f"rate decays, got {scheduler.total_num_update:g}; with optimization.max_update=0 (no "
            "limit) set it to optimization.max_epoch times the updates of an epoch"
        )


def tell_schedule(root: DictConfig, rows: int) -> None:
    """Say where the last epoch comes long before the learning rate's end.

    Our configs count updates for batches of 16 on one GPU.

    Args:
        root: fairseq's whole config.
        rows: of the training set.
    """
    dataset, epochs = root.dataset, root.optimization.max_epoch
    counted = "total_num_update" in root.lr_scheduler and epochs > 0
    if not counted or dataset.batch_size is None or dataset.max_tokens is not None:
        return
    total = float(root.lr_scheduler.total_num_update)
    step = dataset.batch_size * root.optimization.update_freq[-1]
    step *= root.distributed_training.distributed_world_size
    updates = epochs * math.ceil(rows / step)
    if updates < 0.9 * total:
        logger.warning(
            f"optimization.max_epoch: {epochs} epochs end after {updates} updates, and the "
            f"learning rate is to end after {total:.0f}; set optimization.max_update={updates} "
            f"lr_scheduler.warmup_updates={round(0.06 * updates)} (6 %), or more epochs"
        )


def set_shape(model: DictConfig | argparse.Namespace, pretrained: Pretrained) -> None:
    """Give the model's settings the shape of the pre-trained file.

    Args:
        model: fairseq's ``cfg.model``; edited in place.
        pretrained: the file.

    Raises:
        DwtError: a setting of the user's contradicts the file.
    """
    given: dict[str, Any] = (
        vars(model)
        if isinstance(model, argparse.Namespace)
        else {str(key): model[key] for key in model}
    )
    for name in (*SIZES, *FUNCTION):
        if name not in pretrained.settings:
            continue
        value, typed = pretrained.settings[name], given.get(name)
        if typed is not None and typed != value:
            # fairseq-train's --arch has set them all
            remedy = f"pass --{name.replace('_', '-')} {value}, or the --arch of the file"
            if not isinstance(model, argparse.Namespace):
                remedy = "leave it out: the model's shape comes from the pre-trained file"
            raise DwtError(
                f"model.{name}: expected {value} as in {pretrained.path}, got {typed}; {remedy}"
            )
        if isinstance(model, argparse.Namespace):
            setattr(model, name, value)
        else:
            with open_dict(model):
                model[name] = value


def save_as(root: DictConfig, task: dict[str, Any]) -> None:
    """Have checkpoints record ``task`` as their task, so that stock fairseq can load them.

    Args:
        root: fairseq's whole config; what the trainer saves.
        task: settings of a stock fairseq task, with its ``_name``.
    """
    with open_dict(root):
        # omegaconf 2.0 refuses another type in the place of a typed node
        del root["task"]
        root["task"] = OmegaConf.create(task)

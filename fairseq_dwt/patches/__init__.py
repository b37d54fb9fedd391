"""Every name of fairseq that is replaced, and what for: fairseq has no setting or hook for these.

Each replacement acts as before but for what its file says. Beside them, :mod:`~.gpu` replaces
``torch.cuda.is_available`` while a run asks for the CPU, and :mod:`~fairseq_dwt.run.resume` resets
what fairseq keeps as attributes of its functions ``save_checkpoint`` and ``should_stop_early``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pkgutil import resolve_name
from types import FunctionType
from typing import Any

__all__ = ["REPLACED", "install"]

#: ``{name of fairseq: the file here and its function}``.
REPLACED = {
    # Ctrl-C and SIGTERM end a run with a checkpoint; its ending says what comes next
    "fairseq_cli.train:train": "train_loop:train",
    "fairseq_cli.train:validate_and_save": "train_loop:validate_and_save",
    # a checkpoint is copied whole or not at all
    "fairseq.file_io:PathManager.copy": "path_manager:copy",
    # files that were saved inside a wrapper; an average to begin with
    "fairseq.checkpoint_utils:load_checkpoint_to_cpu": "load_checkpoint:load_checkpoint_to_cpu",
    "fairseq.checkpoint_utils:load_checkpoint": "load_checkpoint:load_checkpoint",
    # a moving average of the ticket alone
    "fairseq.trainer:build_ema": "ema:build_ema",
    # ticket.* settings of any recipe
    "fairseq_cli.train:Trainer": "recipes:trainer",
    "fairseq_cli.train:MegatronTrainer": "recipes:megatron_trainer",
    "fairseq_cli.train:convert_namespace_to_omegaconf": "recipes:convert",
    "fairseq.options:add_checkpoint_args": "recipes:add_checkpoint_args",
    # a wrong setting in a sentence, and a spawned worker's error
    "fairseq_cli.train:add_defaults": "add_defaults:add_defaults",
    "fairseq.distributed.utils:call_main": "workers:call_main",
}


def install() -> None:
    """Replace them all; once more changes nothing."""
    for name, ours in REPLACED.items():
        file, _, function = ours.partition(":")
        replacement = getattr(import_module(f"{__name__}.{file}"), function)
        module, _, path = name.partition(":")
        owner_path, _, attribute = path.rpartition(".")
        owner = resolve_name(f"{module}:{owner_path}") if owner_path else import_module(module)
        if isinstance(owner, type):
            replacement = staticmethod(replacement)
        setattr(owner, attribute, replacement)
        if not owner_path:
            for names in _copies(owner):
                names[attribute] = replacement


def _copies(module: Any) -> list[dict[str, Any]]:
    """The names of ``module`` where it is the program itself, which is another copy of it.

    That is so of ``python -m fairseq_cli.train``, of its file as a script, and of the workers that
    these spawn, whose functions look into neither ``__main__`` nor the module.
    """
    main, file = sys.modules["__main__"], os.path.realpath(str(module.__file__))
    functions = [f for f in vars(main).values() if isinstance(f, FunctionType)]
    of_it = [f for f in functions if os.path.realpath(f.__code__.co_filename) == file]
    if not of_it or module is main:
        return []
    return [vars(main), *(f.__globals__ for f in of_it)]

"""fairseq_dwt: find and train the dominant winning ticket of a pre-trained language model.

checkpoint → L1 → ticket → training inside it → delta → report. The core (tickets, how they are
found, training inside them) needs torch alone; the fairseq shells are registered when fairseq
imports this package as its ``--user-dir``, or by :func:`register`.
"""

import sys
from importlib import import_module
from typing import Any

from .errors import DwtError, tell_in_a_sentence
from .version import __version__

#: Public names, each imported when it is asked for.
_HOMES = {
    "Delta": "delta",
    "DeltaHost": "serving",
    "MixedTasks": "serving",
    "Pretrained": "checkpoint",
    "Ticket": "ticket",
}
__all__ = ["DwtError", "__version__", "register", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def register() -> None:
    """Register ``l1_to_init``, ``dominant_ticket``, ``ticket_extract``, ``ticket_finetune``."""
    from . import patches
    from .classes_in_checkpoints import allow_fairseq_classes
    from .criterions import l1_to_init  # noqa: F401
    from .optim import dominant_ticket  # noqa: F401
    from .recipe.settings import import_user_dir
    from .tasks import ticket_extract, ticket_finetune  # noqa: F401

    allow_fairseq_classes()
    tell_in_a_sentence()
    patches.install()
    import_user_dir(sys.argv[1:])


if "fairseq" in sys.modules:
    register()

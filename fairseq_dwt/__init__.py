"""fairseq_dwt: find and train the dominant winning ticket of a pre-trained language model.

checkpoint → L1 → delta → ticket → training inside it → report. The core (tickets, extraction,
masks) needs torch alone; the fairseq shells are registered when fairseq imports this package as its
``--user-dir``, or by :func:`register`.
"""

import sys

from .errors import DwtError, tell_in_a_sentence
from .version import __version__

__all__ = ["DwtError", "__version__", "register"]


def register() -> None:
    """Register ``l1_to_init``, ``dominant_ticket``, ``ticket_extract``, ``ticket_finetune``."""
    from . import patches
    from .checkpoint import allow_fairseq_classes
    from .criterions import l1_to_init  # noqa: F401
    from .optim import dominant_ticket  # noqa: F401
    from .tasks import ticket_extract, ticket_finetune  # noqa: F401

    allow_fairseq_classes()
    tell_in_a_sentence()
    patches.install()


if "fairseq" in sys.modules:
    register()

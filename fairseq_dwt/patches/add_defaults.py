"""A setting of another name or type is told in a sentence, as Hydra tells its own.

Hydra does not know the settings of a user dir's classes; fairseq compares these as training begins.
Then a recipe's own user dir, which its config may name too, must be there.
"""

from typing import Any

from fairseq.dataclass import initialize
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ..errors import DwtError

_stock_add_defaults = initialize.add_defaults


def add_defaults(cfg: DictConfig) -> None:
    """fairseq's; DwtError for a setting that its class does not take."""
    ticket = cfg["ticket"] if "ticket" in cfg else None
    if isinstance(ticket, DictConfig) and "user_dir" in ticket:
        from ..recipe.settings import import_modules

        import_modules(ticket.user_dir)
    try:
        _stock_add_defaults(cfg)
    except OmegaConfBaseException as error:
        of: Any = error.object_type
        raise DwtError(
            f"{error.full_key}: expected a setting of {getattr(of, '__name__', of)}, got another "
            f"({str(error).splitlines()[0]}); correct it, or leave it out"
        ) from None

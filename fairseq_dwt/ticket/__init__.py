"""What is found: the columns, or the single entries, of each matrix that train."""

from .columns import Columns
from .element_mask import AnyTicket, ElementMask
from .load import PUBLISHED, load_ticket
from .origin import Origin, origin_of
from .ticket import Ticket

__all__ = [
    "AnyTicket",
    "Columns",
    "ElementMask",
    "Origin",
    "PUBLISHED",
    "Ticket",
    "load_ticket",
    "origin_of",
]

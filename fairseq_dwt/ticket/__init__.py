"""What is found: the columns, or the single entries, of each matrix that train."""

from .element_mask import AnyTicket, ElementMask
from .origin import Origin
from .ticket import Columns, Ticket

__all__ = ["AnyTicket", "Columns", "ElementMask", "Origin", "Ticket"]

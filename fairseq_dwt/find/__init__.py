"""How a ticket is found."""

"""Training inside a ticket."""

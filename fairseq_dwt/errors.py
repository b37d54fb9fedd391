"""The one error class of fairseq_dwt."""

__all__ = ["DwtError"]


class DwtError(ValueError):
    """Bad input: one sentence that says what, where, expected, got, and what to do."""

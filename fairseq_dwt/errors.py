"""The one error class of fairseq_dwt."""

__all__ = ["DwtError"]


class DwtError(ValueError):
    """Bad input: one line that says what, where, expected, got, and what to do."""

    def __str__(self) -> str:
        # what it quotes of a file may hold anything
        return " ".join(super().__str__().splitlines())

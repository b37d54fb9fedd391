"""The one error class of fairseq_dwt."""

import os
import sys
from typing import Any

# Under Hydra, an error of its compact class is printed as its sentence, any other with a traceback.
_hydra = sys.modules.get("hydra.errors")
_BASES = (ValueError,) if _hydra is None else (ValueError, _hydra.CompactHydraException)


class DwtError(*_BASES):  # type: ignore[misc]
    """Bad input: one line that says what, where, expected, got, and what to do."""

    def __str__(self) -> str:
        # what it quotes of a file may hold anything
        return " ".join(super().__str__().splitlines())


def tell_in_a_sentence() -> None:
    """End a process on a :class:`DwtError` with its sentence, as Hydra does; others as before.

    ``HYDRA_FULL_ERROR=1`` shows the traceback, with Hydra and without.
    """
    before = sys.excepthook

    def hook(kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, DwtError) and os.environ.get("HYDRA_FULL_ERROR") != "1":
            print(error, file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = hook

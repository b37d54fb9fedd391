"""The JSON objects of a Hugging Face folder."""

from __future__ import annotations

import json
import os
from typing import Any

from ..errors import DwtError


def read_json(folder: str, name: str, optional: bool = False) -> dict[str, Any]:
    """An object; empty where an optional file is not there.

    Raises:
        DwtError: no such file, or no JSON object in it.
    """
    path = os.path.join(folder, name)
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except FileNotFoundError:
        if optional:
            return {}
        raise DwtError(
            f"{path}: expected a file of a Hugging Face model folder, found none; check the path"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DwtError(f"{path}: expected JSON, cannot read it ({error}); fetch it again") from None
    if not isinstance(data, dict):
        raise DwtError(f"{path}: expected a JSON object, got {type(data).__name__}; fetch it again")
    return data

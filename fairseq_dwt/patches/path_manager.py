"""fairseq's copies of checkpoints are made whole or not at all.

A kill while ``checkpoint_last.pt`` is being copied would leave half of it, and nothing to resume.
"""

import shutil
from typing import Any

from fairseq.file_io import PathManager

from ..files import replacing

_stock_copy = PathManager.copy


def copy(src_path: str, dst_path: str, overwrite: bool = False) -> Any | None:
    """Copy a file."""
    if not PathManager.supports_rename(dst_path):
        return _stock_copy(src_path, dst_path, overwrite)
    with replacing(dst_path) as temporary:
        shutil.copyfile(src_path, temporary)
    return True

"""What a figure was measured on."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from typing import Any

import torch

#: The processors' instructions that decide how fast torch multiplies.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")


def machine() -> dict[str, Any]:
    """Processor, its instructions, GPU, versions, commit and date."""
    flags, model = set(), platform.processor()
    if os.path.isfile("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                flags |= set(value.split()) if key.strip() == "flags" else set()
                model = value.strip() if key.strip() == "model name" else model
    here = os.path.dirname(os.path.abspath(__file__))
    commit = subprocess.run(
        ["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": model,
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "gpus": gpus,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip() or None,
        "date": datetime.date.today().isoformat(),
    }

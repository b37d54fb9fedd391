"""The environment that `make` makes is whole."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest


def test_pip_finds_nothing_missing_or_at_odds():
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip")
    found = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_torchaudio_fits_torch_or_is_not_there():
    """fairseq requires it; transformers imports it wherever it is installed, and stops if it breaks."""
    if importlib.util.find_spec("torchaudio") is not None:
        loaded = subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True)
        assert loaded.returncode == 0, loaded.stderr.decode()

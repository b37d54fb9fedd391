"""Deltas: checkpoint = base + delta."""

from .delta import DTYPES, Delta, export, merge

__all__ = ["DTYPES", "Delta", "export", "merge"]

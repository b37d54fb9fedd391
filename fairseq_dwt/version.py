"""The version of fairseq_dwt."""

__version__ = "0.1.0"

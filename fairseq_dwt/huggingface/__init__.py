"""Hugging Face folders ↔ fairseq checkpoints: weights, sizes, heads, vocabulary.

RoBERTa, XLM-R, CamemBERT, BERT and DistilBERT are one network under several names. What differs is
said in ``families.py`` (names of tensors and settings) and ``vocabulary.py`` (numbers of tokens).
"""

from .export import export_folder
from .folder import Folder, import_folder, read_folder

__all__ = ["Folder", "export_folder", "import_folder", "read_folder"]

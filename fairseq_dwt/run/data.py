"""Do data, labels and settings fit? Asked before a model is built and anything is written."""

import glob
import logging
import math
import os
from typing import Any

import numpy as np
from fairseq.data import Dictionary, data_utils

from ..checkpoint import Pretrained
from ..errors import DwtError
from ..files import sha256
from ..glue.indexed import check_whole, load_dictionary
from ..model.roberta import num_embeddings
from .folder import RUN, launched

logger = logging.getLogger(__name__)

#: What a user sets to train on data with rows that the model has no positions for.
LONG_ROWS = (
    "+task.shorten_method=truncate cuts them, "
    "dataset.skip_invalid_size_inputs_valid_test=true leaves them out"
)


def check_data(cfg: Any, settings: Any, pretrained: Pretrained) -> None:
    """Refuse data that do not fit the pre-trained file or the task's settings.

    Args:
        cfg: the task's config; its data folder is resolved.
        settings: fairseq's ``dataset`` section: which splits are read.
        pretrained: the file that the run starts from.

    Raises:
        DwtError: see the functions below.
    """
    if not os.path.isfile(os.path.join(cfg.data, "input0", "dict.txt")):
        raise DwtError(
            "task.data: expected a folder that preprocess.py wrote (input0/dict.txt, label/…), "
            f"found none at {cfg.data}; run examples/glue/preprocess.py or check the path"
        )
    check_whole(cfg.data)
    words = check_dictionary(cfg.data, pretrained)
    labels = None if cfg.regression_target else _check_classes(cfg)
    if cfg.regression_target and cfg.num_classes < 1:
        raise DwtError(f"task.num_classes: expected 1 for regression, got {cfg.num_classes}")
    _check_split(cfg, settings, "train", settings.train_subset, words, labels)
    if settings.disable_validation:
        return
    # fairseq reads valid, valid1, … as one where they are to be combined
    combined = settings.combine_valid_subsets
    for split in ["valid"] if combined else settings.valid_subset.split(","):
        _check_split(cfg, settings, "valid", split, words, labels)


def label_names(dictionary: Dictionary) -> list[str]:
    """The label strings by class index, without fairseq's padding and ``<mask>``."""
    names = dictionary.symbols[dictionary.nspecial :]
    return [n for n in names if n != "<mask>" and not n.startswith("madeupword")]


def check_dictionary(data: str, pretrained: Pretrained, run: str | None = None) -> Dictionary:
    """Refuse text in another model's vocabulary.

    Args:
        data: the data-bin folder.
        pretrained: the model.
        run: a checkpoint of a run, whose folder may say in which vocabulary it was trained.

    Raises:
        DwtError: the vocabulary has other entries, or in another order.
    """
    path = os.path.join(data, "input0", "dict.txt")
    words = load_dictionary(path)
    record = None if run is None else os.path.join(os.path.dirname(os.path.abspath(run)), RUN)
    if record is not None and launched(record).get("dictionary", sha256(path)) != sha256(path):
        raise DwtError(
            f"{path}: expected the dictionary that {run} was trained with, got another; "
            "preprocess the data with the dict.txt of its model"
        )
    beside = os.path.join(os.path.dirname(pretrained.path), "dict.txt")
    for other in (os.path.join(data, "input1", "dict.txt"), beside):
        if os.path.isfile(other) and load_dictionary(other).symbols != words.symbols:
            raise DwtError(
                f"{path}: expected the entries of {other} in their order, got others; preprocess "
                "the data with the dict.txt of the model that the run starts from"
            )
    # as fairseq's tasks do
    words.add_symbol("<mask>")
    size = num_embeddings(pretrained.tensors)
    if len(words) != size:
        raise DwtError(
            f"{path}: expected {size} entries with <mask> as in {pretrained.path}, got "
            f"{len(words)}; preprocess the data with this model's dict.txt"
        )
    return words


def _check_classes(cfg: Any) -> Dictionary:
    """Refuse a number of classes that is not the number of labels (DwtError)."""
    path = os.path.join(cfg.data, "label", "dict.txt")
    if not os.path.isfile(path):
        if glob.glob(os.path.join(cfg.data, "label", "*.label")):
            raise DwtError(
                f"task.regression_target: expected true, because {cfg.data}/label holds numbers, "
                "got false; use a config of STS-B or name data of classes with task.data"
            )
        raise DwtError(f"{path}: expected the labels' dictionary, found none; preprocess again")
    labels = load_dictionary(path)
    names = label_names(labels)
    if cfg.num_classes != len(names):
        raise DwtError(
            f"task.num_classes: expected {len(names)}, the labels of {path} ({', '.join(names)}), "
            f"got {cfg.num_classes}; use the config of this task or set "
            f"task.num_classes={len(names)}"
        )
    return labels


def _check_split(
    cfg: Any, settings: Any, kind: str, split: str, words: Dictionary, labels: Dictionary | None
) -> None:
    """Refuse a split without rows or labels, or with rows that the run would fail at (DwtError)."""
    option, train = f"dataset.{kind}_subset", kind == "train"
    combine = train or settings.combine_valid_subsets

    def read(name: str, dictionary: Dictionary) -> Any:
        path = os.path.join(cfg.data, name, split)
        return data_utils.load_indexed_dataset(path, dictionary, combine=combine)

    first, second = read("input0", words), read("input1", words)
    if first is None or not len(first):
        raise DwtError(
            f"{option}: expected a split of {cfg.data} with rows, found none in input0/{split}; "
            "name one that is there, or preprocess again"
        )
    if labels is None:
        _check_numbers(cfg, option, split, len(first))
    else:
        _check_labels(cfg, option, split, read("label", labels), labels, len(first))
    lengths = np.asarray(first.sizes) + (cfg.init_token is not None)
    if second is not None:
        if len(second) != len(first):
            raise DwtError(
                f"{cfg.data}/input1/{split}: expected {len(first)} rows as in input0, got "
                f"{len(second)}; preprocess again"
            )
        lengths = lengths + np.asarray(second.sizes) + (cfg.separator_token is not None)
    _check_lengths(cfg, settings, option, split, lengths, train)


def _no_labels(cfg: Any, option: str, split: str) -> DwtError:
    return DwtError(
        f"{option}: expected a split with labels, got {split}, which has none in {cfg.data}/label; "
        "name a split such as valid"
    )


def _check_labels(
    cfg: Any, option: str, split: str, targets: Any, labels: Dictionary, rows: int
) -> None:
    where = f"{cfg.data}/label/{split}"
    if targets is None:
        raise _no_labels(cfg, option, split)
    if len(targets) != rows:
        raise DwtError(f"{where}: expected {rows} labels, got {len(targets)}; preprocess again")
    for row in range(rows):
        # a label and fairseq's end mark
        target = targets[row].tolist()
        if len(target) != 2 or not 0 <= target[0] - labels.nspecial < cfg.num_classes:
            raise DwtError(
                f"{where} row {row + 1}: expected one of {', '.join(label_names(labels))}, got "
                f"{labels.string(target) or 'none'!r}; repair the label and preprocess again"
            )


def _check_numbers(cfg: Any, option: str, split: str, rows: int) -> None:
    path = os.path.join(cfg.data, "label", f"{split}.label")
    if not os.path.isfile(path):
        if os.path.isfile(os.path.join(cfg.data, "label", "dict.txt")):
            raise DwtError(
                f"task.regression_target: expected false, because {cfg.data}/label holds classes, "
                "got true; use the config of this task or name data of numbers with task.data"
            )
        raise _no_labels(cfg, option, split)
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.readlines()
    for number, line in enumerate(lines, start=1):
        try:
            fits = [math.isfinite(float(value)) for value in line.split()]
        except ValueError:
            fits = [False]
        if len(fits) != cfg.num_classes or not all(fits):
            raise DwtError(
                f"{path} line {number}: expected task.num_classes = {cfg.num_classes} numbers, got "
                f"{line.strip()[:60]!r}; correct the setting or preprocess again"
            )
    if len(lines) != rows:
        raise DwtError(f"{path}: expected {rows} numbers, got {len(lines)}; preprocess again")


def _check_lengths(
    cfg: Any, settings: Any, option: str, split: str, lengths: np.ndarray, train: bool
) -> None:
    splits = cfg.shorten_data_split_list
    if str(cfg.shorten_method) != "none" and (not splits or split in splits.split(",")):
        return
    limit = cfg.max_positions
    if train and settings.max_tokens is not None:
        limit = min(limit, settings.max_tokens)
    long = int((lengths > limit).sum())
    if not long:
        return
    told = f"{long:,} of {len(lengths):,} rows are longer than {limit} tokens"
    # fairseq leaves long rows out of training by itself
    if long == len(lengths) or not (train or settings.skip_invalid_size_inputs_valid_test):
        raise DwtError(
            f"{option}: expected rows that the model has positions for, got {split}, of which "
            f"{told} (the longest {int(lengths.max())}): {LONG_ROWS}"
        )
    logger.warning(
        f"{split}: {told} and are left out; +task.shorten_method=truncate cuts them instead"
    )

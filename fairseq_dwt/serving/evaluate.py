"""The dev scores of a fine-tuned checkpoint, computed once over all rows of each dev set."""

from __future__ import annotations

import logging
import os

import torch
from fairseq.data import FairseqDataset
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from tqdm import tqdm

from ..checkpoint import Pretrained, Tuned, load_checkpoint
from ..errors import DwtError
from ..glue.indexed import check_whole
from ..glue.metrics import scores
from ..glue.suite import GlueTask
from ..model.anatomy import add_head
from ..model.names import heads_of
from ..model.products import products_in_fp32
from ..run.data import LONG_ROWS, check_dictionary, label_names
from .model import load_roberta

logger = logging.getLogger(__name__)


@torch.no_grad()
def evaluate(
    checkpoint: str,
    task: GlueTask,
    data: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 32,
    progress: bool = False,
) -> dict[str, dict[str, float]]:
    """Score a checkpoint of stage 2, of stage 1 or of full fine-tuning.

    Args:
        checkpoint: with a classification head.
        task: its metrics are computed.
        data: its data-bin folder.
        device: where to run.
        dtype: of the weights.
        batch_size: examples at once, of similar length.
        progress: whether to show a bar on stderr.

    Returns:
        ``{dev set: {metric: per cent}}``: ``valid``, for MNLI ``valid1`` (mismatched) too.

    Raises:
        DwtError: no head, no dev set, or labels that are not the checkpoint's.
    """
    state = load_checkpoint(checkpoint)
    tuned, weights = Tuned(checkpoint, state), Pretrained(checkpoint, state)
    regression = bool(tuned.settings.get("regression_target"))
    if task.regression != regression:
        raise DwtError(
            f"--task: expected a task of {'numbers' if regression else 'classes'} as {checkpoint} "
            f"was trained on, got {task.folder}; correct it"
        )
    model, name = load_roberta(weights, device, dtype), _head_name(tuned)
    head = heads_of(tuned.tensors)[name]
    add_head(model, name, head, checkpoint)
    model.eval()

    known = {"init_token", "separator_token", "regression_target", "max_positions"}
    known |= {"shorten_method", "shorten_data_split_list"}
    settings = {key: tuned.settings[key] for key in known if tuned.settings.get(key) is not None}
    settings["num_classes"] = len(head["out_proj.weight"])
    config = SentencePredictionConfig(**{**settings, "data": data, "no_shuffle": True})
    # a random crop is of the run's seed
    config.seed = int(tuned.settings.get("seed") or 1)
    if not os.path.isfile(os.path.join(data, "input0", "dict.txt")):
        raise DwtError(
            f"{data}: expected the data-bin folder of {task.folder}, found no input0/dict.txt; "
            "make it with examples/glue/preprocess.py, or correct --data"
        )
    check_whole(data)
    check_dictionary(data, weights, checkpoint)
    sentences = 1 + os.path.isfile(os.path.join(data, "input1", "dict.txt"))
    if tuned.sentences not in (None, sentences):
        raise DwtError(
            f"{data}: expected examples of {tuned.sentences} sentences, on which {checkpoint} was "
            f"trained, got {sentences}; correct --data"
        )
    reader = SentencePredictionTask.setup_task(config)
    positive = _positive(reader, tuned, task, data)
    found = {}
    for split in ("valid", "valid1"):
        if split == "valid1" and not os.path.isfile(os.path.join(data, "input0", "valid1.idx")):
            continue
        try:
            reader.load_dataset(split)
        except (FileNotFoundError, AssertionError) as error:
            raise DwtError(f"{data}: expected a dev set {split!r}, found none ({error})") from None
        rows = reader.dataset(split)
        if not len(rows) or "target" not in rows[0]:
            raise DwtError(
                f"{data}: expected rows with labels in {split}, found none; name data of a dev set"
            )
        kept = _fitting_rows(rows, reader.max_positions(), tuned, f"{data}: {split}")
        order = sorted(kept, key=lambda row: -int(rows.size(row)))
        predictions, targets = torch.empty(len(rows)), torch.empty(len(rows))
        starts = range(0, len(order), batch_size)
        for start in tqdm(starts, desc=split, unit="batch", disable=not progress):
            batch = rows.collater([rows[row] for row in order[start : start + batch_size]])
            tokens = batch["net_input"]["src_tokens"].to(device)
            with products_in_fp32(model):
                logits, _ = model(tokens, features_only=True, classification_head_name=name)
            output = logits.float().cpu()
            ids = batch["id"].view(-1)
            predictions[ids] = output.squeeze(1) if task.regression else output.argmax(1).float()
            targets[ids] = batch["target"].view(-1).float()
        result = scores(task.metrics, predictions[kept], targets[kept], positive=positive)
        found[split] = {metric: 100 * value for metric, value in result.items()}
    return found


def _fitting_rows(rows: FairseqDataset, limit: int, tuned: Tuned, where: str) -> list[int]:
    """The rows that the run validated on (DwtError where it would have failed at one)."""
    kept = [row for row in range(len(rows)) if int(rows.size(row)) <= limit]
    long = len(rows) - len(kept)
    if not long:
        return kept
    told = f"{long:,} of {len(rows):,} rows are longer than {limit} tokens"
    if not kept or not tuned.dataset_settings.get("skip_invalid_size_inputs_valid_test"):
        raise DwtError(
            f"{where}: expected rows that the model has positions for, but {told}; evaluate a "
            f"run with one of these settings: {LONG_ROWS}"
        )
    logger.warning(f"{where}: {told} and are left out, as in the run")
    return kept


def _head_name(tuned: Tuned) -> str:
    names = sorted(n for n, head in heads_of(tuned.tensors).items() if "out_proj.weight" in head)
    wanted = tuned.settings.get("classification_head_name")
    if wanted in names:
        return str(wanted)
    if len(names) != 1:
        raise DwtError(
            f"{tuned.path}: expected a checkpoint with one classification head, got "
            f"{len(names)}; name a fine-tuned checkpoint"
        )
    return names[0]


def _positive(reader: SentencePredictionTask, tuned: Tuned, task: GlueTask, data: str) -> int:
    """The class index of label ``"1"``, once the labels are those of the checkpoint."""
    if task.regression:
        return 1
    dictionary = reader.label_dictionary
    labels = label_names(dictionary)
    if sorted(labels) != sorted(task.labels):
        raise DwtError(
            f"{data}: expected the labels of {task.folder} ({', '.join(sorted(task.labels))}), got "
            f"{', '.join(labels)}; correct --task or --data"
        )
    if tuned.labels is not None and list(tuned.labels) != labels:
        raise DwtError(
            f"{data}: expected the labels of {tuned.path} in their order "
            f"({', '.join(tuned.labels)}), got {', '.join(labels)}; name the data that it was "
            "trained on"
        )
    return labels.index("1") if "1" in labels else 1

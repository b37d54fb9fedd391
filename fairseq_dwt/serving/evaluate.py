"""The dev scores of a fine-tuned checkpoint, computed once over all rows of each dev set."""

from __future__ import annotations

import os
from typing import Dict, List

import torch
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from tqdm import tqdm

from ..checkpoint import Pretrained, Tuned
from ..errors import DwtError
from ..glue.metrics import scores
from ..glue.tasks import GlueTask
from ..products import products_in_fp32
from .model import load_roberta

__all__ = ["evaluate"]


@torch.no_grad()
def evaluate(
    checkpoint: str,
    task: GlueTask,
    data: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 32,
    progress: bool = False,
) -> Dict[str, Dict[str, float]]:
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
    tuned, weights = Tuned(checkpoint), Pretrained(checkpoint)
    model, name = load_roberta(weights, device, dtype), _head_name(tuned)
    head = f"classification_heads.{name}."
    parts = {n[len(head) :]: t for n, t in tuned.tensors.items() if n.startswith(head)}
    inner, classes = parts["dense.weight"].shape[0], parts["out_proj.weight"].shape[0]
    model.register_classification_head(  # type: ignore[operator]
        name, num_classes=classes, inner_dim=inner
    )
    model.classification_heads[name].load_state_dict(parts)  # type: ignore
    model.to(device=device, dtype=dtype).eval()

    known = {"num_classes", "init_token", "separator_token", "regression_target", "max_positions"}
    settings = {key: tuned.settings[key] for key in known if tuned.settings.get(key) is not None}
    config = SentencePredictionConfig(**{**settings, "data": data, "no_shuffle": True, "seed": 1})
    if not os.path.isfile(os.path.join(data, "input0", "dict.txt")):
        raise DwtError(
            f"{data}: expected the data-bin folder of {task.folder}, found no input0/dict.txt; "
            "make it with examples/glue/preprocess.py, or correct --data"
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
        order = sorted(range(len(rows)), key=lambda row: -int(rows.size(row)))
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
        result = scores(task.metrics, predictions, targets, positive=positive)
        found[split] = {metric: 100 * value for metric, value in result.items()}
    return found


def _head_name(tuned: Tuned) -> str:
    names: List[str] = sorted(
        name.split(".")[1] for name in tuned.tensors if name.endswith(".out_proj.weight")
        and name.startswith("classification_heads.")
    )  # fmt: skip
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
    labels = [
        symbol for symbol in dictionary.symbols[dictionary.nspecial :]
        if symbol != "<mask>" and not symbol.startswith("madeupword")
    ]  # fmt: skip
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

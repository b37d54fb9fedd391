"""What a Hugging Face folder holds beside its encoder; nothing of it is dropped in silence."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import DwtError
from .families import HEAD, HEAD_PARTS, Family

#: Numbers that transformers counts itself.
_COUNTED = re.compile(r"(^|\.)embeddings\.(position_ids|token_type_ids)")
#: Heads whose loss leaves the encoder what it is: they are told.
_OTHER_HEAD = re.compile(r"(qa_outputs|cls\.seq_relationship|classifier)\.(weight|bias)")
#: Classes whose ``classifier`` judges words or choices.
_NO_SENTENCE_HEAD = ("ForTokenClassification", "ForMultipleChoice", "ForQuestionAnswering")


def head_of(
    family: Family, found: dict[str, Tensor], config: Mapping[str, Any], folder: str
) -> dict[str, Tensor] | None:
    """The classification head of sentences, removed from ``found``; None where there is none.

    Raises:
        DwtError: a part of it is missing, or it gives several labels at once.
    """
    kinds = config.get("architectures") or []
    others = [k for k in kinds if isinstance(k, str) and k.endswith(_NO_SENTENCE_HEAD)]
    last = family.head[2]
    if last not in found or others:
        return None
    missing = [name for name in family.head if name not in found]
    if missing:
        raise DwtError(
            f"{folder}: expected tensor {missing[0]} beside {last}, found none; the head is not "
            "that of a sequence classifier"
        )
    head = {
        f"classification_heads.{HEAD}.{part}": found.pop(name)
        for part, name in zip(HEAD_PARTS, family.head)
    }
    classes = len(head[f"classification_heads.{HEAD}.out_proj.weight"])
    problem = config.get("problem_type")
    if problem not in (None, "regression" if classes == 1 else "single_label_classification"):
        raise DwtError(
            f"{os.path.join(folder, 'config.json')}: problem_type: expected "
            f"{'regression of one value' if classes == 1 else 'single_label_classification'} for a "
            f"head of {classes}, got {problem!r}, which fairseq's sentence_prediction does not "
            "compute; take a model with one label a text"
        )
    return head


def refuse_left_over(
    family: Family, found: Mapping[str, Tensor], folder: str, notes: list[str]
) -> None:
    """Tell what was left out without loss to the encoder; refuse the rest.

    Args:
        found: the tensors that were not taken over.
        notes: a sentence is added for each kind.

    Raises:
        DwtError: a tensor whose part in the result is not known (an adapter, another layer).
    """
    told: dict[str, list[str]] = {}
    for name in sorted(found):
        plain = name[len(family.prefix) :] if name.startswith(family.prefix) else name
        if _COUNTED.fullmatch(plain):
            continue
        if re.fullmatch(r"pooler\.dense\.(weight|bias)", plain):
            told.setdefault("the pooler, which no head uses", []).append(name)
        elif _OTHER_HEAD.fullmatch(plain):
            told.setdefault("a head that fairseq's RoBERTa does not have", []).append(name)
        else:
            raise DwtError(
                f"{folder}: {name!r}: expected the tensors of a plain {family.stem}, got one more "
                f"(of {len(found)} left over); an adapter must be merged first (merge_and_unload "
                "in peft), a head of another kind left out, and the model saved again"
            )
    for what, names in told.items():
        notes.append(f"left out: {what} ({', '.join(names)})")

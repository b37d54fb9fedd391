"""From sentences to labels: a base, a delta, and the model's own tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoint import Pretrained
from ..delta.delta import SHORTEN, Delta
from ..errors import DwtError
from ..glue.bpe import Encoder
from ..glue.indexed import load_dictionary
from ..model.products import products_in_fp32
from ..model.roberta import num_embeddings
from .attach import DeltaHost
from .model import load_roberta

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """What a task's head says of one example.

    Attributes:
        label: the likeliest label; for regression the number, as text.
        scores: probabilities (classes,) in the order of the delta's labels; for regression the
            number (1,). float32.
    """

    label: str
    scores: Tensor


class Predictor:
    """Predicts with any number of tasks on one base.

    Args:
        pretrained: the base.
        encode: sentences to tokens (:mod:`fairseq_dwt.glue.bpe`).
        dictionary: path of the model's dict.txt.
        device: where to run.
        dtype: of the weights.
        batch_size: examples at once; they are grouped by length.

    Raises:
        DwtError: the dictionary has another size than the model's vocabulary.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        encode: Encoder,
        dictionary: str,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        batch_size: int = 32,
    ):
        self._encode = encode
        self._dictionary = load_dictionary(dictionary)
        # as fairseq's tasks do
        self._dictionary.add_symbol("<mask>")
        size = num_embeddings(pretrained.tensors)
        if len(self._dictionary) != size:
            raise DwtError(
                f"{dictionary}: expected {size} entries with <mask> as in {pretrained.path}, got "
                f"{len(self._dictionary)}; name the model's own dict.txt"
            )
        self.model = load_roberta(pretrained, device, dtype)
        self.host = DeltaHost(self.model, pretrained.fingerprint)
        self._max_positions = int(pretrained.settings["max_positions"])
        self._device, self._batch_size = torch.device(device), batch_size

    @torch.no_grad()
    def __call__(
        self, delta: Delta, examples: Sequence[Sequence[str]], progress: bool = False
    ) -> list[Prediction]:
        """Predict the labels of ``examples``.

        Args:
            delta: the task; attached for as long as it takes.
            examples: each one sentence, or two.
            progress: whether to show a bar on stderr.

        Raises:
            DwtError: a delta of another base; an example of no sentence or more than two.
        """
        name = "task"
        self.host.attach(name, delta)
        try:
            encoded = self.tokens(delta, examples)
            order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
            outputs: list[Tensor] = [torch.empty(0)] * len(encoded)
            starts = range(0, len(order), self._batch_size)
            for start in tqdm(starts, desc="predict", unit="batch", disable=not progress):
                rows = order[start : start + self._batch_size]
                tokens = torch.nn.utils.rnn.pad_sequence(
                    [encoded[row] for row in rows], batch_first=True, padding_value=1
                )
                with products_in_fp32(self.model):
                    logits, _ = self.model(
                        tokens.to(self._device), features_only=True, classification_head_name=name
                    )
                for row, output in zip(rows, logits.float().cpu()):
                    outputs[row] = output
        finally:
            self.host.detach(name)
        return [_prediction(delta, output) for output in outputs]

    def tokens(self, delta: Delta, examples: Sequence[Sequence[str]]) -> list[Tensor]:
        """Token indices of each example, int64 (length,), as fairseq's task builds them.

        An example that is too long for the model is cut to ``max_positions`` as the task's run cut
        it; where that cut none, it keeps its end-of-sentence mark, and a warning tells how many.
        """
        for number, example in enumerate(examples, start=1):
            if len(example) not in (1, 2):
                raise DwtError(
                    f"example {number}: expected one sentence or two, got {len(example)}"
                )
            if delta.sentences not in (None, len(example)):
                raise DwtError(
                    f"example {number}: expected {delta.sentences} sentences as in the task's "
                    f"training, got {len(example)}"
                )
        # stripped, and tokens split, as in preprocessing
        flat = [sentence.strip() for example in examples for sentence in example]
        lines = iter(self._encode(flat))
        sides = (delta.settings["init_token"], delta.settings["separator_token"])
        limit = min(int(delta.settings["max_positions"]), self._max_positions)
        for side in sides:
            if side is not None and side >= len(self._dictionary):
                raise DwtError(
                    f"delta: expected special tokens below {len(self._dictionary)}, got {side}"
                )
        index_of, unknown = self._dictionary.indices.get, self._dictionary.unk()
        end, truncate = self._dictionary.eos(), delta.settings.get(SHORTEN) == "truncate"
        encoded, cut = [], 0
        for example in examples:
            ids: list[int] = []
            for begin, _ in zip(sides, example):
                ids += [] if begin is None else [int(begin)]
                ids += [index_of(token, unknown) for token in next(lines).split()] + [end]
            if len(ids) > limit:
                ids = ids[:limit] if truncate else [*ids[: limit - 1], end]
                cut += 1
            encoded.append(torch.tensor(ids))
        if cut and not truncate:
            logger.warning(
                f"{cut:,} of {len(encoded):,} examples are longer than {limit} tokens and were "
                "cut; the task's run cut none"
            )
        return encoded


def _prediction(delta: Delta, output: Tensor) -> Prediction:
    if delta.settings["regression_target"]:
        return Prediction(f"{output.item():.6g}", output)
    scores = output.softmax(-1)
    best = int(scores.argmax())
    return Prediction(delta.labels[best] if delta.labels else str(best), scores)

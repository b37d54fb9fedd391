"""Half-precision training on a CPU as on a GPU: what fairseq does there, computed here.

On a GPU fairseq flattens the fp32 copies of fp16 training into one tensor and moves an overflow's
zero norm to the device; products sum in fp32. :func:`imitated_gpu` has fairseq do the former on a
CPU, and :mod:`fairseq_dwt.model.products` does the latter. A GPU's word is final (``make gpu``).

    python -m tests.half.imitation --config-name dwt_sst_2 common.fp16=true …

is ``fairseq-hydra-train`` under it, with ``--task …`` ``fairseq-train``. ``common.fp16_no_flatten_grads=true`` keeps the copies separate.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch

import fairseq_dwt
from fairseq_dwt.run import precision


@contextmanager
def imitated_gpu() -> Iterator[None]:
    """Let fp16 train on this machine's CPU, flattened unless the config says otherwise."""
    with ExitStack() as stack:
        for patch in (
            mock.patch.object(precision, "trains_on_gpu", lambda root: True),
            # the device of flattened copies: a CPU tensor's has no number
            mock.patch.object(torch.cuda, "current_device", lambda: None),
            mock.patch.object(torch.Tensor, "cuda", lambda self, *args, **kwargs: self),
        ):
            stack.enter_context(patch)
        yield


if __name__ == "__main__":
    from fairseq_cli import hydra_train, train

    # fairseq registers a user_dir's names when it imports it, and it is imported already
    fairseq_dwt.register()
    with imitated_gpu():
        (train if "--task" in sys.argv else hydra_train).cli_main()

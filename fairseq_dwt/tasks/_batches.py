"""Batches of examples of similar length, of which little is padding."""

import numpy as np
from fairseq.data import FairseqDataset, SortDataset, data_utils

__all__ = ["by_length"]


def by_length(dataset: FairseqDataset, seed: int) -> SortDataset:
    """The same examples in order of their length, those of one length in random order.

    fairseq cuts this order into batches once and shuffles the batches in every epoch, as it does
    with the random order of ``sentence_prediction``.

    Args:
        dataset: of one split.
        seed: of the order among examples of one length.
    """
    lengths = np.array([dataset.size(row) for row in range(len(dataset))])
    with data_utils.numpy_seed(seed):
        ties = np.random.permutation(len(dataset))
    return SortDataset(dataset, sort_order=[ties, lengths])

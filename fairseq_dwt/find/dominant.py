"""θ0 and θ → out-weighted parameters → ticket: equation 2 and Algorithm 1 (section 3.2).

Everything works one matrix at a time: memory beyond θ0 and θ is that of the largest matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..any_checkpoint import AnyPretrained, AnyTuned
from ..checkpoint import Pretrained, Tuned
from ..errors import DwtError
from ..model.names import ALL_KINDS, Matrix
from ..ticket import Columns, ElementMask, Origin, Ticket
from ..ticket.columns import RANKED_COLUMNS, ranking

#: The paper's σ.
SIGMA = 5e-5

TensorOf = Callable[[str], Tensor]


def out_weighted(init: Tensor, tuned: Tensor, sigma: float) -> Tensor:
    """The mask m_σ = 1{\\|Δθ\\| > σ} of equation 2; bool, the tensors' shape."""
    return _difference(init, tuned).abs_() > sigma


def _difference(init: Tensor, tuned: Tensor) -> Tensor:
    """Δθ = θ − θ0 in fp32, on θ's device."""
    # An fp32 θ0 against an fp16 θ is rounding noise. The difference of two fp16 numbers is exact in
    # fp32.
    init = init.to(device=tuned.device, dtype=tuned.dtype)
    return tuned.detach().float() - init.float()


def check_sigma(sigma: float, name: str = "sigma") -> None:
    """Refuse a σ that is not positive (DwtError); ``name`` is what the user calls it."""
    if not sigma > 0:
        raise DwtError(f"{name}: expected a positive threshold, got {sigma}; the paper's is 5e-5")


class Movement:
    """What moved further than σ on the way from θ0 to θ, in every ticket matrix.

    Args:
        matrices: the model's ticket matrices.
        init: gives a tensor of θ0 by its canonical name.
        tuned: gives a tensor of θ by its canonical name; θ0 is cast to its dtype.
        sigma: threshold σ > 0 on \\|Δ\\|.

    Raises:
        DwtError: σ is not positive; where the tensors are compared, one of θ has another shape than
            in θ0.
    """

    def __init__(
        self, matrices: Sequence[Matrix], init: TensorOf, tuned: TensorOf, sigma: float = SIGMA
    ):
        check_sigma(sigma)
        self.matrices, self.sigma = matrices, sigma
        self._init, self._tuned = init, tuned

    @classmethod
    def between(
        cls,
        pretrained: Pretrained | AnyPretrained,
        tuned: Tuned | AnyTuned,
        sigma: float = SIGMA,
    ) -> Movement:
        """Of two files; θ is the fp32 copies of half-precision weights, where they are kept."""
        return cls(
            pretrained.matrices,
            tensors_of(pretrained.tensors, pretrained.path, tuned.dtype),
            tensors_of(tuned.theta, tuned.path),
            sigma,
        )

    @cached_property
    def column_counts(self) -> dict[str, Tensor]:
        """Out-weighted parameters per dimension, #{i : \\|Δ_ij\\| > σ} for each column j.

        ``{matrix name: int64 (in_features + 1,)}`` on the CPU; the last is the bias.
        """
        counts = {}
        for matrix, (weight0, weight), (bias0, bias) in self._pairs():
            columns = out_weighted(weight0, weight, self.sigma).sum(dim=0)
            in_bias = out_weighted(bias0, bias, self.sigma).sum()
            counts[matrix.name] = torch.cat([columns, in_bias.view(1)]).cpu()
        return counts

    @property
    def counts(self) -> dict[str, int]:
        """Out-weighted parameters of each matrix: ``{matrix name: count}``."""
        return {name: int(counts.sum()) for name, counts in self.column_counts.items()}

    def check_any(self, where: str) -> None:
        """Refuse that no weight moved further than σ (DwtError); ``where`` names the θ file."""
        if not any(self.counts.values()):
            raise DwtError(
                f"{where}: expected weights that moved further than σ = {self.sigma:g} from θ0, "
                "got none; lower --sigma, or λ of its stage 1"
            )

    def ticket(self, origin: Origin, limit: int = RANKED_COLUMNS) -> Ticket:
        """Algorithm 1, steps 2 and 3: the ranked dominated dimensions of every matrix.

        Args:
            origin: recorded in the ticket.
            limit: columns kept per matrix.
        """
        found: dict[str, Columns] = {}
        for matrix in self.matrices:
            counts = self.column_counts[matrix.name]
            columns = ranking(counts, limit)
            if columns:
                numbers = tuple(int(counts[c]) for c in columns)
                found[matrix.name] = Columns(matrix.shape, tuple(columns), numbers)
        return Ticket(found, origin)

    def mask(self, origin: Origin) -> ElementMask:
        """m_σ of every matrix and its bias (equation 2); ``origin`` is recorded in it."""
        masks = {}
        for matrix, (weight0, weight), (bias0, bias) in self._pairs():
            moved = out_weighted(weight0, weight, self.sigma)
            in_bias = out_weighted(bias0, bias, self.sigma)
            masks[matrix.name] = torch.cat([moved, in_bias.unsqueeze(1)], dim=1).cpu()
        return ElementMask(masks, origin)

    def bottom(self, k: int, origin: Origin) -> Ticket:
        """A control: Algorithm 1 upside down, the columns that L1 held back most.

        Of each matrix as many as the dominant top k has there; ranked by out-weighted parameters,
        ascending, then by \\|Δ\\|₁ of the column, ascending, then by index.

        Args:
            k: columns per matrix, at most.
            origin: recorded in the ticket.

        Raises:
            DwtError: k is negative.
        """
        if k < 0:
            raise DwtError(f"k: expected a number of columns, 0 or more, got {k}")
        found = {}
        for matrix, (weight0, weight), (bias0, bias) in self._pairs():
            counts = self.column_counts[matrix.name]
            columns = _difference(weight0, weight).abs_().sum(dim=0)
            in_bias = _difference(bias0, bias).abs_().sum()
            distance = torch.cat([columns, in_bias.view(1)]).cpu()
            order = np.lexsort((distance.numpy(), counts.numpy()))
            number = min(k, int((counts > 0).sum()))
            if number:
                found[matrix.name] = Columns(matrix.shape, tuple(int(c) for c in order[:number]))
        return Ticket(found, origin)

    def told(self, kinds: bool = False) -> str:
        """How much moved, as a phrase; with ``kinds`` how much of each kind of matrix."""
        total, size = sum(self.counts.values()), sum(m.num_parameters for m in self.matrices)
        phrase = f"|θ − θ0| > {self.sigma:g} for {total:,} of {size:,} weights ({total / size:.4%})"
        if not kinds:
            return phrase
        known = {m.kind for m in self.matrices}
        sums = {kind: 0 for kind in ALL_KINDS if kind in known}
        for matrix in self.matrices:
            sums[matrix.kind] += self.counts[matrix.name]
        return f"{phrase}: " + ", ".join(f"{kind} {count:,}" for kind, count in sums.items())

    def _pairs(self) -> Iterator[tuple[Matrix, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
        """Each matrix, its W of θ0 and of θ, its bias of θ0 and of θ."""
        for matrix in self.matrices:
            pairs = []
            for name, shape in (
                (matrix.weight, matrix.shape),
                (matrix.bias, (matrix.out_features,)),
            ):
                init, tuned = self._init(name), self._tuned(name)
                for tensor in (init, tuned):
                    if tuple(tensor.shape) != shape:
                        raise DwtError(
                            f"{matrix.name}: expected shape {shape} as in the pre-trained model, "
                            f"got {tuple(tensor.shape)}; compare checkpoints of one model"
                        )
                pairs.append((init, tuned))
            yield matrix, pairs[0], pairs[1]


def tensors_of(
    tensors: Mapping[str, Tensor], where: str, dtype: torch.dtype | None = None
) -> TensorOf:
    """Look tensors up by canonical name; a missing or diverged one is an error that names the file.

    Args:
        tensors: ``{canonical name: tensor}``.
        where: the file, for the error.
        dtype: cast to it. θ0 must be in the dtype of the model that was trained, from whose rounded
            values fp32 copies begin; None leaves tensors as they are.
    """

    def get(name: str) -> Tensor:
        if name not in tensors:
            raise DwtError(
                f"{where}: expected tensor {name}, found none; it is a checkpoint of another model"
            )
        tensor = tensors[name].to(dtype or tensors[name].dtype)
        # one pass without a copy; a NaN is both its ends
        if tensor.numel() and not all(end.isfinite() for end in torch.aminmax(tensor.detach())):
            raise DwtError(
                f"{where}: {name}: expected finite numbers, got NaN or infinity; take a "
                "checkpoint whose training did not diverge"
            )
        return tensor

    return get

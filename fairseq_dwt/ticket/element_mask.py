"""ElementMask: a ticket of single entries (the σ-mask m_σ of equation 2, Random-p %).

Contract
    Same questions as :class:`~fairseq_dwt.ticket.Ticket`, other answer: its parts are single
    entries. Saved as safetensors, eight entries a byte, with the ticket's origin as metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch

from ..errors import DwtError
from ..files import check_checksum, checksum, read_safetensors, write_safetensors
from ..model.names import Matrix
from .origin import Origin, check_base, check_origin, check_shapes
from .part import Part
from .ticket import Ticket

FORMAT = "fairseq_dwt.element_mask"
VERSION = 1


@dataclass(frozen=True)
class ElementMask:
    """Single trained entries of each matrix.

    Attributes:
        masks: ``{matrix name: bool (out_features, in_features + 1)}``; the last column is the bias.
        origin: where the mask comes from.
    """

    unit: ClassVar[str] = "elements"
    extension: ClassVar[str] = ".safetensors"

    masks: Mapping[str, torch.Tensor]
    origin: Origin

    @property
    def num_parameters(self) -> int:
        """Trained entries."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def sparsity(self) -> float | None:
        """Trained entries / all pre-trained parameters, in [0, 1]; None if unknown."""
        total = self.origin.base_parameters
        return None if not total else self.num_parameters / total

    def top(self, k: int | None) -> ElementMask:
        """Itself: a mask has no columns to rank; k must be None.

        Raises:
            DwtError: k is a number.
        """
        if k is not None:
            raise DwtError(f"k: an element mask has no ranked columns, got k = {k}; set k=null")
        return self

    @property
    def amount(self) -> str:
        """How much of the matrices trains, in tables: ``0.3 %``."""
        entries = sum(mask.numel() for mask in self.masks.values())
        return f"{100 * self.num_parameters / entries:.2g} %"

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """``{matrix name: (out_features, in_features)}`` of the matrices that it trains in."""
        return {name: (mask.shape[0], mask.shape[1] - 1) for name, mask in self.masks.items()}

    def parts(self, matrices: Sequence[Matrix]) -> dict[str, Part]:
        """The parameters of ``matrices`` that train: ``{canonical name: their part}``."""
        parts = {}
        for matrix in matrices:
            mask = self.masks.get(matrix.name)
            if mask is None:
                continue
            weight = mask[:, :-1].reshape(-1).nonzero().squeeze(1)
            if len(weight):
                parts[matrix.weight] = Part(matrix.shape, entries=weight)
            bias = mask[:, -1].nonzero().squeeze(1)
            if len(bias):
                some = None if len(bias) == matrix.out_features else bias
                parts[matrix.bias] = Part((matrix.out_features,), entries=some)
        return parts

    def as_columns(self, where: str) -> Ticket:
        """What a ticket answers with itself.

        Raises:
            DwtError: always; ``where`` names the mask.
        """
        raise DwtError(f"{where}: expected a ticket of columns, got an element mask")

    def digest(self) -> str:
        """SHA-256 of what is trained."""
        digest = hashlib.sha256()
        for name in sorted(self.masks):
            digest.update(f"{name} {tuple(self.masks[name].shape)}\n".encode())
            digest.update(pack(self.masks[name]).numpy().data)
        return digest.hexdigest()

    def check_fits(self, matrices: Sequence[Matrix], base: str | None, where: str) -> None:
        """Refuse a model that this mask was not made for (DwtError)."""
        check_shapes(self.shapes, matrices, where)
        check_base(self.origin.base, base, self.origin.init, where)

    def packed(self) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
        """The mask as a part of another file: safetensors' metadata and tensors."""
        origin = {k: v for k, v in asdict(self.origin).items() if v is not None}
        shapes = {name: list(mask.shape) for name, mask in self.masks.items()}
        packed = {f"{name}.mask": pack(mask) for name, mask in self.masks.items()}
        return {"masks": json.dumps({"origin": origin, "shapes": shapes})}, packed

    def save(self, path: str) -> None:
        """Write the mask, bit-packed, whole or not at all."""
        shapes = {name: list(mask.shape) for name, mask in self.masks.items()}
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "origin": json.dumps({k: v for k, v in asdict(self.origin).items() if v is not None}),
            "shapes": json.dumps(shapes),
        }
        packed = {name: pack(mask) for name, mask in self.masks.items()}
        metadata["sha256"] = checksum(metadata, packed)
        write_safetensors(path, packed, metadata)

    @classmethod
    def load(cls, path: str) -> ElementMask:
        """Read a mask file.

        Raises:
            DwtError: no such file, not a mask, a newer format, or inconsistent content.
        """
        metadata, tensors = read_safetensors(path, FORMAT, VERSION)
        told = metadata.pop("sha256", None)
        check_checksum(path, told, checksum(metadata, tensors), "write it again")
        masks: dict[str, torch.Tensor] = {}
        try:
            origin = json.loads(metadata["origin"])
            shapes = json.loads(metadata["shapes"])
            check_origin(path, origin)
            for name, packed in tensors.items():
                masks[name] = unpack(packed, tuple(shapes[name]))
            return cls(masks, Origin(**origin))
        except DwtError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise DwtError(f"{path}: expected an element mask, cannot read it ({error})") from None


def pack(mask: torch.Tensor) -> torch.Tensor:
    """A bool mask as uint8 (⌈entries / 8⌉,), eight entries a byte in row-major order."""
    return torch.from_numpy(np.packbits(mask.contiguous().numpy().reshape(-1)))


def unpack(packed: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The inverse of :func:`pack`; ValueError where the bytes are not those of ``shape``."""
    if len(shape) != 2 or not all(type(size) is int and size > 0 for size in shape):
        raise ValueError(f"expected a shape (out_features, in_features + 1), got {shape}")
    count = shape[0] * shape[1]
    if packed.dtype != torch.uint8 or packed.numel() != (count + 7) // 8:
        raise ValueError(
            f"expected {(count + 7) // 8} bytes for shape {shape}, got {packed.numel()}"
        )
    bits = np.unpackbits(packed.numpy(), count=count).astype(bool)
    return torch.from_numpy(bits.reshape(shape))


#: Either kind of ticket: both answer the same questions.
AnyTicket = Ticket | ElementMask

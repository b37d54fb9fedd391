"""The settings ``ticket.*``: a section of fairseq-hydra-train, flags of fairseq-train."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from fairseq.utils import import_user_module
from omegaconf import DictConfig, OmegaConf, open_dict

from ..errors import DwtError
from ..find.dominant import SIGMA, check_sigma
from ..find.methods import WORDS
from ..run.config import users_folder

#: How stage 1 holds θ at θ0.
STEPS = ("proximal", "subgradient")
#: Settings of one stage alone.
OF_STAGE_1 = ("sigma", "step")
OF_STAGE_2 = ("k", "move_every", "mode", "seed", "like", "percent")


@dataclass(frozen=True)
class TicketSettings:
    """What a recipe adds. ``l1_lambda`` makes it stage 1, ``file`` stage 2.

    Raises:
        DwtError: neither, both, one of the other stage, or a value that it cannot have.
    """

    l1_lambda: float | None = field(
        default=None, metadata={"help": "stage 1: λ, the weight of the L1 distance from θ0"}
    )
    sigma: float = field(
        default=SIGMA, metadata={"help": "a weight is out-weighted where |θ − θ0| > σ"}
    )
    step: str = field(
        default=STEPS[0],
        metadata={
            "help": "stage 1: proximal, exact zeros at any learning rate; subgradient, the paper's"
        },
    )
    file: str | None = field(
        default=None,
        metadata={
            "help": "stage 2: ticket to train inside of: a file, a published one's name, or one of "
            + ", ".join(WORDS)
        },
    )
    k: int | None = field(default=None, metadata={"help": "columns a matrix, at most [all]"})
    move_every: int | None = field(
        default=None, metadata={"help": "slice: updates after which other columns are drawn"}
    )
    mode: str = field(default="compact", metadata={"help": "compact or masked"})
    seed: int | None = field(
        default=None, metadata={"help": "random, slice: what is drawn [common.seed]"}
    )
    like: str | None = field(
        default=None, metadata={"help": "random: a ticket whose number of columns it takes"}
    )
    percent: float | None = field(
        default=None, metadata={"help": "random: per cent of each matrix's entries"}
    )
    user_dir: str | None = field(
        default=None,
        metadata={"help": "the recipe's own user dir: its --user-dir, which is this package's now"},
    )

    def __post_init__(self) -> None:
        if (self.l1_lambda is None) == (self.file is None):
            got = "neither" if self.file is None else "both"
            raise DwtError(
                "ticket: expected ticket.l1_lambda (stage 1, finds a ticket) or ticket.file "
                f"(stage 2, trains inside one), got {got}"
            )
        if self.l1_lambda is not None and not self.l1_lambda >= 0:
            raise DwtError(f"ticket.l1_lambda: expected a number ≥ 0, got {self.l1_lambda}")
        check_sigma(self.sigma, "ticket.sigma")
        stage, others = (1, OF_STAGE_2) if self.file is None else (2, OF_STAGE_1)
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name in others and value != setting.default:
                raise DwtError(
                    f"ticket.{setting.name}: expected none in stage {stage}, got {value}, which "
                    f"is of stage {3 - stage}; leave it out"
                )
        if self.file and (self.file == "slice") != (self.move_every is not None):
            raise DwtError(
                "ticket.move_every: expected a number of updates with ticket.file=slice, and none "
                f"without, got {self.move_every} with {self.file}"
            )
        if self.seed is not None and self.file not in ("random", "slice"):
            raise DwtError(
                f"ticket.seed: expected none with ticket.file={self.file}, got {self.seed}: it is "
                "of random and slice; for other batches and another head set common.seed"
            )
        for name, allowed in (("step", STEPS), ("mode", ("compact", "masked"))):
            if getattr(self, name) not in allowed:
                raise DwtError(
                    f"ticket.{name}: expected {' or '.join(allowed)}, got {getattr(self, name)}"
                )


def take_settings(root: DictConfig) -> TicketSettings | None:
    """The section ``ticket`` of a config, which loses it: no checkpoint shall know it.

    Args:
        root: fairseq's whole config.

    Raises:
        DwtError: see :class:`TicketSettings`.
    """
    if "ticket" not in root:
        return None
    with open_dict(root):
        section = root.pop("ticket")
    given = OmegaConf.to_container(section) if OmegaConf.is_config(section) else section
    if not isinstance(given, dict):
        raise DwtError(f"ticket: expected settings such as +ticket.file=oneshot, got {given!r}")
    known = {f.name for f in fields(TicketSettings)}
    strange = sorted(set(given) - known)
    if strange:
        raise DwtError(
            f"ticket.{strange[0]}: expected one of {', '.join(sorted(known))}, got another setting"
        )
    return TicketSettings(**{str(name): _cast(str(name), v) for name, v in given.items()})


def _cast(name: str, value: Any) -> Any:
    kind = _kind(name)
    if value is None or type(value) is kind:
        return value
    try:
        if isinstance(value, bool) or (kind is int and int(value) != float(value)):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise DwtError(f"ticket.{name}: expected {kind.__name__}, got {value!r}") from None


def _kind(name: str) -> type:
    hint = get_type_hints(TicketSettings)[name]
    return next(kind for kind in (float, int, str) if kind is hint or kind in _parts(hint))


def _parts(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__args__", ())


def add_flags(parser: ArgumentParser) -> None:
    """``--ticket-file``, … of fairseq-train."""
    group = parser.add_argument_group("ticket")
    for setting in fields(TicketSettings):
        group.add_argument(
            f"--ticket-{setting.name.replace('_', '-')}",
            type=_kind(setting.name),
            help=setting.metadata["help"].replace("%", "%%"),
        )


def import_user_dir(argv: Sequence[str]) -> None:
    """Import the recipe's own user dir, before its task and model are looked for.

    Args:
        argv: of fairseq-train (``--ticket-user-dir DIR``) or fairseq-hydra-train
            (``+ticket.user_dir=DIR``).

    Raises:
        DwtError: no such folder.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ticket-user-dir")
    given, rest = parser.parse_known_args(list(argv))
    hydra = [word.partition("=") for word in rest]
    told = [value for name, _, value in hydra if name.lstrip("+") == "ticket.user_dir"]
    import_modules(given.ticket_user_dir or (told[-1] if told else None))


def import_modules(folder: str | None) -> None:
    """Import the modules of a user dir, once; DwtError where there is no such folder."""
    if folder is None:
        return
    folder = os.path.join(users_folder() or "", folder)
    try:
        import_user_module(Namespace(user_dir=folder))
    except FileNotFoundError:
        raise DwtError(
            f"ticket.user_dir: expected the folder of the recipe's own modules, got {folder}, "
            "where there is none; check the path"
        ) from None


def add_section(root: DictConfig, args: Namespace) -> DictConfig:
    """The flags that were given, as the config's section ``ticket``."""
    given = {f.name: getattr(args, f"ticket_{f.name}", None) for f in fields(TicketSettings)}
    given = {name: value for name, value in given.items() if value is not None}
    # dominant_ticket has a flag --ticket-seed too
    if given and (set(given) != {"seed"} or args.optimizer != "dominant_ticket"):
        with open_dict(root):
            root["ticket"] = OmegaConf.create(given)
    return root

"""The optimizer or criterion that one of ours wraps: its settings, checked and whole."""

from __future__ import annotations

import argparse
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import DwtError


def wrapped_config(cfg: DictConfig, key: str, default: str) -> DictConfig:
    """The nested config of what a criterion or optimizer wraps, ready to build.

    Accepts a node with ``_name``, or text as ``fairseq-train`` passes it: a name, or YAML in braces
    such as ``{_name: adam, weight_decay: 0.1}``.

    Raises:
        DwtError: no YAML, no ``_name``, or a name or settings that fairseq does not know.
    """
    from fairseq.dataclass.utils import merge_with_parent
    from fairseq.registry import REGISTRIES

    node = cfg[key]
    if node is None:
        node = default
    if isinstance(node, str):
        try:
            node = OmegaConf.create(node) if node.lstrip().startswith("{") else {"_name": node}
        except YAMLError:
            raise DwtError(
                f"{key}: expected a name, or YAML such as {{_name: {default}}}, got {node}; close "
                "its braces and write name: value"
            ) from None
    if not isinstance(node, DictConfig):
        node = OmegaConf.create(node)
    if "_name" not in node or not node._name:
        raise DwtError(f"{key}: expected a name, as in {key}._name={default}, got {node}")
    # Interpolations such as ${optimization.lr} are looked up from the tree's root.
    node._set_parent(cfg)
    registered = REGISTRIES[key.removeprefix("wrapped_")]
    if node._name not in registered["registry"]:
        known = ", ".join(sorted(registered["registry"]))
        raise DwtError(f"{key}._name: expected one of {known}, got {node._name}")
    if node._name in registered["dataclass_registry"]:
        try:
            merge_with_parent(registered["dataclass_registry"][node._name](), node)
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise DwtError(
                f"{key}: expected settings of {node._name}, got another ({reason}); correct it, or "
                "leave it out"
            ) from None
    else:
        node = _with_flags(registered["registry"][node._name], key, node, cfg)
    return node


def flags_of(kind: Any) -> dict[str, Any]:
    """The flags of one of fairseq's older classes, which has no config, and their defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    if hasattr(kind, "add_args"):
        kind.add_args(parser)
    return vars(parser.parse_args([]))


def _with_flags(kind: Any, key: str, node: DictConfig, cfg: DictConfig) -> DictConfig:
    """The settings of one of fairseq's older classes: its flags' defaults, and lr."""
    flags, given = flags_of(kind), {str(name): node[name] for name in node}
    strange = sorted(given.keys() - flags.keys() - {"_name", "lr"})
    if strange:
        raise DwtError(
            f"{key}: expected settings of {node._name}, {', '.join(sorted(flags))}, got "
            f"{strange[0]}; correct it, or leave it out"
        )
    rate = {"lr": list(cfg.lr)} if "lr" in cfg else {}
    whole = OmegaConf.create({**flags, **rate, **given})
    whole._set_parent(cfg)
    return whole

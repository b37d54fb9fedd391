"""Puts fairseq_dwt's configs on Hydra's search path, so that ``--config-name dwt_mnli`` is enough.

Hydra imports every plugin at every start, so nothing heavy is imported here.
"""

import argparse
import contextlib
import os
import sys
from importlib.util import find_spec

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf


def _package_folder() -> str:
    return list(find_spec("fairseq_dwt").submodule_search_locations)[0]


def _dwt(key: str):
    """What ``${dwt:package}`` and ``${dwt:fp16}`` in our configs stand for."""
    if key == "package":
        return os.path.abspath(_package_folder())
    if key == "fp16":
        # omegaconf 2.0 hands a resolver no config; Hydra keeps the one that it is about to run
        hydra = HydraConfig.instance().cfg
        return automatic_fp16({} if hydra is None else hydra.hydra._get_parent().common)
    raise ValueError(f"${{dwt:{key}}}: expected dwt:package or dwt:fp16")


def automatic_fp16(common) -> bool:
    """fp16, unless the machine has no GPU or ``common`` names the CPU or another precision."""
    import torch

    others = ("cpu", "tpu", "bf16", "memory_efficient_bf16", "amp")
    return torch.cuda.is_available() and not any(common.get(name) for name in others)


_register = getattr(OmegaConf, "register_new_resolver", None) or OmegaConf.register_resolver
# refused where it is registered already: a second Hydra application in this process
with contextlib.suppress(AssertionError, ValueError):
    _register("dwt", _dwt)


#: Set by fairseq_dwt.launch.compose, whose command line says nothing to Hydra.
own_config_is_composed = False


def _named_config_is_ours(configs: str) -> bool:
    """Whether ``--config-name`` names a config of ours, and ``--config-dir`` holds no such file."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-name", "-cn", default="")
    parser.add_argument("--config-dir", "-cd", default="")
    known, _ = parser.parse_known_args(sys.argv[1:])
    name = known.config_name[: -len(".yaml")] if known.config_name.endswith(".yaml") else None
    file = (name or known.config_name) + ".yaml"
    if file == "base.yaml" or not os.path.isfile(os.path.join(configs, file)):
        return False
    return not (known.config_dir and os.path.isfile(os.path.join(known.config_dir, file)))


def _own_config_is_launched() -> bool:
    """Whether ``fairseq-hydra-train`` launches a config of ``--config-dir``, which may use ours."""
    program = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    return own_config_is_composed or (
        program in ("fairseq-hydra-train", "hydra_train")
        and any(argument.split("=")[0] in ("--config-dir", "-cd") for argument in sys.argv[1:])
    )


class FairseqDwtSearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        configs = os.path.join(_package_folder(), "configs")
        # Other Hydra programs, and a user's own config of the same name, must not meet ours.
        if _named_config_is_ours(configs):
            # Prepended: fairseq stores its schema under the very name that --config-name gives,
            # and what comes first answers.
            search_path.prepend("fairseq_dwt", "file://" + configs)
        elif _own_config_is_launched():
            # Appended: base, glue/ and method/ are found unless the user has files of those names.
            search_path.append("fairseq_dwt", "file://" + configs)

"""Puts fairseq_dwt's configs on Hydra's search path, so that ``--config-name dwt_mnli`` is enough.

Hydra imports every plugin at every start, so nothing heavy is imported here.
"""

import contextlib
import os
from importlib.util import find_spec

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf


def _package_folder() -> str:
    return list(find_spec("fairseq_dwt").submodule_search_locations)[0]


def _dwt(key: str):
    """What ``${dwt:package}`` and ``${dwt:fp16}`` in our configs stand for."""
    if key == "package":
        return os.path.abspath(_package_folder())
    if key == "fp16":
        import torch

        return torch.cuda.is_available()
    raise ValueError(f"${{dwt:{key}}}: expected dwt:package or dwt:fp16")


_register = getattr(OmegaConf, "register_new_resolver", None) or OmegaConf.register_resolver
# refused where it is registered already: a second Hydra application in this process
with contextlib.suppress(AssertionError, ValueError):
    _register("dwt", _dwt)


class FairseqDwtSearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        # Prepended: fairseq stores its schema under the very name that --config-name gives, and
        # what comes first answers.
        search_path.prepend("fairseq_dwt", "file://" + os.path.join(_package_folder(), "configs"))

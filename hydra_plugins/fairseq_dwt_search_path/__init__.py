"""Puts fairseq_dwt's configs on Hydra's search path, so that ``--config-name dwt_mnli`` is enough.

Hydra imports every plugin at every start, so nothing heavy is imported here.
"""

import argparse
import contextlib
import functools
import os
import re
import sys
from importlib.util import find_spec

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf


def _package_folder(name: str = "fairseq_dwt") -> str:
    return list(find_spec(name).submodule_search_locations)[0]


def _dwt(key: str):
    """What ``${dwt:package}``, ``${dwt:fp16}`` and ``${dwt:folder}`` in our configs stand for."""
    if key == "package":
        return os.path.abspath(_package_folder())
    if key == "fp16":
        # omegaconf 2.0 hands a resolver no config; Hydra keeps the one that it is about to run
        hydra = HydraConfig.instance().cfg
        return automatic_fp16({} if hydra is None else hydra.hydra._get_parent().common)
    if key == "folder":
        hydra = HydraConfig.instance().cfg
        # hydra 1.0 has no such key
        known = hydra is not None and "output_dir" in hydra.hydra.runtime
        return hydra.hydra.runtime.output_dir if known else None
    raise ValueError(f"${{dwt:{key}}}: expected dwt:package, dwt:fp16 or dwt:folder")


def automatic_fp16(common) -> bool:
    """fp16, unless the machine has no GPU or ``common`` names the CPU or another precision."""
    import torch

    others = ("cpu", "tpu", "bf16", "memory_efficient_bf16", "amp")
    return torch.cuda.is_available() and not any(common.get(name) for name in others)


_register = getattr(OmegaConf, "register_new_resolver", None) or OmegaConf.register_resolver
# refused where it is registered already: a second Hydra application in this process
with contextlib.suppress(AssertionError, ValueError):
    _register("dwt", _dwt)


#: Where the user stands, for the workers of a run: Hydra changes into the run's folder.
CWD = "FAIRSEQ_DWT_CWD"
os.environ[CWD] = os.getcwd()

#: A user's config that fairseq_dwt.run.config.compose composes; the command line does not name it.
composed = None


def _named():
    """What ``--config-name``, ``-path`` and ``-dir`` say: a file's name, a folder or nothing."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-name", "-cn", default="")
    parser.add_argument("--config-dir", "-cd", default="")
    parser.add_argument("--config-path", "-cp", default="")
    known, _ = parser.parse_known_args(sys.argv[1:])
    name = known.config_name
    folder = known.config_dir
    if known.config_path:  # where it is relative, Hydra looks beside fairseq's program
        folder = os.path.join(_package_folder("fairseq_cli"), known.config_path)
    return (name if name.endswith(".yaml") else name + ".yaml"), folder


def _config_of_the_users():
    """The file of the user's folder that is launched, or nothing."""
    name, folder = _named()
    path = composed or (folder and os.path.join(folder, name))
    return path if path and os.path.isfile(path) else None


def _builds_on_ours(path) -> bool:
    """Whether ``- base`` is in a config's defaults list."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return re.search(r"^\s*-\s*base\s*$", file.read(), re.MULTILINE) is not None


def _lend_schema(name) -> None:
    """Let ``base`` have fairseq's schema, which fairseq stores under the launched config's name.

    Values of the schema would come over those of ``base`` where ``_self_`` stands after it.
    """
    repo = ConfigStore.instance().repo
    if name in repo:
        schema = repo.pop(name)
        # its defaults, without its types: base has a section for Hydra, which they would not let in
        schema.node = OmegaConf.create(OmegaConf.to_container(schema.node))
        repo["base.yaml"] = schema


def _tell_workers_sentences() -> None:
    """One sentence for what the workers of several GPUs could not do, as from one GPU.

    fairseq's first process, which spawns them, does not import a user dir; what they raise reaches
    it as the text of a traceback. fairseq_dwt.patches.workers does the same for fairseq-train.
    """
    utils = sys.modules.get("fairseq.distributed.utils")
    if utils is None:
        return
    stock_call_main = utils.call_main

    @functools.wraps(stock_call_main)
    def call_main(*args, **kwargs):
        try:
            return stock_call_main(*args, **kwargs)
        except Exception as error:
            ours = r"^fairseq_dwt\.errors\.DwtError: (.*)$"
            told = re.search(ours, str(error), re.MULTILINE)
            if told is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            raise CompactHydraException(told.group(1)) from None

    utils.call_main = call_main


_tell_workers_sentences()


class FairseqDwtSearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        configs = os.path.join(_package_folder(), "configs")
        own, name = _config_of_the_users(), _named()[0]
        # Other Hydra programs, and a user's own config of the same name, must not meet ours.
        if own is not None:
            if _builds_on_ours(own):
                # appended: files of the user's come before ours of the same name
                search_path.append("fairseq_dwt", "file://" + configs)
                _lend_schema(os.path.basename(own))
        elif name != "base.yaml" and os.path.isfile(os.path.join(configs, name)):
            # Prepended: fairseq stores its schema under the very name that --config-name gives,
            # and what comes first answers.
            search_path.prepend("fairseq_dwt", "file://" + configs)

from __future__ import annotations

import argparse
import collections
import pathlib
import re

import numpy as np
import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.model.roberta import canonical_name
from tests.conftest import SIZES, write_roberta


def test_shape_matrices_and_size(small):
    pretrained = Pretrained(small.init)
    assert {k: pretrained.settings[k] for k in SIZES} == SIZES
    assert len(pretrained.matrices) == 12
    assert [m.kind for m in pretrained.matrices[:6]] == ["Q", "K", "V", "O", "FC1", "FC2"]
    state = load_checkpoint(small.init)["model"]
    counted = {n for n in state if canonical_name(n) and not n.endswith(".version")}
    # the LM head's weight is the token embedding: counted once
    counted |= {n for n in state if "lm_head" in n and n != "encoder.lm_head.weight"}
    assert pretrained.num_parameters == sum(state[n].numel() for n in counted)
    # 2 layers of 4·(8·8 + 8) + 2·16·8 + 24 + 4·8, embeddings of 35 and 22, two norms, LM head
    words = state["encoder.lm_head.weight"].numel()
    assert pretrained.num_parameters == 2 * 600 + words + 22 * 8 + 2 * 8 + 72 + 16 + words // 8


def test_a_file_of_2019_is_read_as_fairseq_reads_it(small, tmp_path):
    saved = load_checkpoint(small.init)
    old = collections.OrderedDict()
    for name, tensor in saved["model"].items():
        name = name.replace("encoder.sentence", "decoder.sentence", 1)
        name = name.replace("layernorm_embedding", "emb_layer_norm")
        if ".q_proj." in name:
            parts = [saved["model"][n] for n in _qkv(name)]
            last = "in_proj_" + name.rpartition(".")[2]
            old[name.split("q_proj")[0] + last] = torch.cat(parts)
        elif ".k_proj." not in name and ".v_proj." not in name:
            old[name] = tensor
    saved["model"] = old
    path = str(tmp_path / "old.pt")
    torch.save(saved, path, _use_new_zipfile_serialization=False)
    new, now = Pretrained(small.init), Pretrained(path)
    assert set(now.tensors) == set(new.tensors)
    assert now.fingerprint == new.fingerprint


def _qkv(name):
    name = name.replace("decoder.", "encoder.", 1)
    return [name.replace("q_proj", f"{x}_proj") for x in "qkv"]


def test_the_fingerprint_is_of_values_not_of_dtype_or_path(small, tmp_path):
    saved = load_checkpoint(small.init)
    saved["model"] = {n: t.float() for n, t in saved["model"].items()}
    torch.save(saved, tmp_path / "fp32.pt")
    assert Pretrained(str(tmp_path / "fp32.pt")).fingerprint == Pretrained(small.init).fingerprint
    name = "encoder.sentence_encoder.layers.0.fc1.bias"
    saved["model"][name] = saved["model"][name] + 1e-3
    torch.save(saved, tmp_path / "changed.pt")
    assert (
        Pretrained(str(tmp_path / "changed.pt")).fingerprint != Pretrained(small.init).fingerprint
    )


def test_the_shape_comes_from_cfg_and_failing_that_from_tensors(small, tmp_path):
    saved = load_checkpoint(small.init)
    args = vars(saved.pop("args"))
    saved["cfg"] = {"model": args}
    torch.save(saved, tmp_path / "cfg.pt")
    assert Pretrained(str(tmp_path / "cfg.pt")).settings["encoder_attention_heads"] == 2
    del saved["cfg"]
    torch.save(saved, tmp_path / "bare.pt")
    with pytest.raises(DwtError, match="does not say how many attention heads"):
        Pretrained(str(tmp_path / "bare.pt"))


def test_settings_that_contradict_the_tensors_are_refused(small, tmp_path):
    saved = load_checkpoint(small.init)
    saved["args"].encoder_layers = 3
    torch.save(saved, tmp_path / "odd.pt")
    with pytest.raises(DwtError, match="settings say encoder_layers = 3 but its tensors say 2"):
        Pretrained(str(tmp_path / "odd.pt"))


class Foreign:
    pass


def test_other_classes_in_a_file_are_refused_and_not_run(small, tmp_path):
    saved = load_checkpoint(small.init)
    saved["extra_state"] = Foreign()
    torch.save(saved, tmp_path / "foreign.pt")
    with pytest.raises(
        DwtError, match="expected tensors and plain settings.*if you trust the file"
    ):
        load_checkpoint(str(tmp_path / "foreign.pt"))


def test_truncated_missing_and_foreign_files_are_refused(small, tmp_path):
    with pytest.raises(DwtError, match="nowhere.pt: expected a fairseq checkpoint, found no file"):
        load_checkpoint("nowhere.pt")
    with open(small.init, "rb") as file:
        data = file.read()
    for size in (0, 2, 100, len(data) // 2, len(data) - 10):
        path = tmp_path / "cut.pt"
        path.write_bytes(data[:size])
        with pytest.raises(DwtError, match="cut.pt"):
            load_checkpoint(str(path))
    torch.save({"a": 1}, tmp_path / "other.pt")
    with pytest.raises(DwtError, match=r"a dictionary with 'model'"):
        load_checkpoint(str(tmp_path / "other.pt"))
    torch.save({"model": {"a": torch.zeros(1)}, "args": argparse.Namespace()}, tmp_path / "gpt.pt")
    with pytest.raises(DwtError, match="expected a RoBERTa"):
        Pretrained(str(tmp_path / "gpt.pt"))


@pytest.mark.parametrize("module", ["numpy._core.multiarray", "numpy.core.multiarray"])
def test_numbers_of_numpy_are_read_as_numbers(small, tmp_path, module):
    """As which fairseq saves its own F1, Matthews and Pearson; in files of numpy 1 too."""
    saved = load_checkpoint(small.init)
    saved["extra_state"] = {"best": np.float64(87.5), "n": np.int64(3), "early": np.bool_(True)}
    path = tmp_path / "scored.pt"
    torch.save(saved, path, _use_new_zipfile_serialization=False)
    path.write_bytes(re.sub(rb"numpy\._?core\.multiarray", module.encode(), path.read_bytes()))
    assert load_checkpoint(str(path))["extra_state"] == {"best": 87.5, "n": 3, "early": True}
    assert type(load_checkpoint(str(path))["extra_state"]["best"]) is float


@pytest.mark.parametrize("value", [np.zeros(2), pathlib.PurePosixPath("a")])
def test_anything_else_is_refused_by_its_name(small, tmp_path, value):
    torch.save({**load_checkpoint(small.init), "extra_state": value}, tmp_path / "odd.pt")
    with pytest.raises(
        DwtError, match=r"got something else \(Unsupported .*(_reconstruct|PurePosi)"
    ):
        load_checkpoint(str(tmp_path / "odd.pt"))


def test_an_untied_lm_head_counts(small, tmp_path):
    saved = load_checkpoint(small.init)
    saved["args"].untie_weights_roberta = True
    torch.save(saved, tmp_path / "untied.pt")
    more = saved["model"]["encoder.lm_head.weight"].numel()
    untied, tied = Pretrained(str(tmp_path / "untied.pt")), Pretrained(small.init)
    assert untied.num_parameters == tied.num_parameters + more


def test_writing_the_fixture_is_seeded(small, tmp_path):
    write_roberta(str(tmp_path / "again.pt"), small.data)
    assert Pretrained(str(tmp_path / "again.pt")).fingerprint == Pretrained(small.init).fingerprint


def test_fairseq_0_12_2s_second_copy_of_the_weights_is_no_weight(small, tmp_path):
    saved = load_checkpoint(small.init)
    layer = "encoder.sentence_encoder.layers.0."
    qkv = [saved["model"][f"{layer}self_attn.{x}_proj.weight"] for x in "qkv"]
    saved["model"][f"{layer}in_proj_weight"] = torch.cat(qkv)
    saved["model"][f"{layer}fc1_bias"] = saved["model"][f"{layer}fc1.bias"]
    torch.save(saved, tmp_path / "copies.pt")
    copies, plain = Pretrained(str(tmp_path / "copies.pt")), Pretrained(small.init)
    assert copies.fingerprint == plain.fingerprint
    assert copies.num_parameters == plain.num_parameters

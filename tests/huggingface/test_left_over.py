"""Nothing of a Hugging Face folder is dropped in silence: refused, or told."""

from __future__ import annotations

import json
import os

import pytest
import torch

from fairseq_dwt.cli import main
from tests.huggingface.conftest import config, fast, save, save_hf, write

transformers = pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from safetensors.torch import load_file, save_file  # noqa: E402

QUERY = "roberta.encoder.layer.0.attention.self.query."


def tensors(change):
    def apply(folder):
        path = str(folder / "model.safetensors")
        save_file({n: t.clone().contiguous() for n, t in change(load_file(path)).items()}, path)

    return apply


def add(*names, rows=4):
    return tensors(lambda found: {**found, **{name: torch.ones(rows, 32) for name in names}})


def settings(name, **changes):
    """Change a JSON file of the folder, or make one."""

    def apply(folder):
        path = folder / name
        old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**old, **changes}), encoding="utf-8")

    return apply


def saved_heads(found):
    return {
        n.replace("classifier.", "classifier.modules_to_save.default."): t for n, t in found.items()
    }


def lower(found):
    found["normalizer"] = {"type": "Lowercase"}


def fewer_merges(found):
    found["model"]["merges"].pop()


def other_numbers(found):
    found["model"]["vocab"]["a"], found["model"]["vocab"]["b"] = (
        found["model"]["vocab"]["b"],
        found["model"]["vocab"]["a"],
    )


def new_token(found):
    found["added_tokens"].append({"id": 5, "content": "[user]", "special": True})


def keeps_case(found):
    found["normalizer"]["lowercase"] = False


def keeps_accents(found):
    found["normalizer"]["strip_accents"] = False


def no_chinese(found):
    found["normalizer"]["handle_chinese_chars"] = False


def other_score(found):
    found["model"]["vocab"][10][1] -= 3.0


def no_table(found):
    found["normalizer"] = None


def no_space(found):
    found["pre_tokenizer"]["pretokenizers"][1]["prepend_scheme"] = "never"


CLASSIFIER = "RobertaForSequenceClassification"
REFUSED = {
    "lora": (add(QUERY + "lora_A.default.weight", QUERY + "lora_B.default.weight"), "lora_A"),
    "bottleneck": (add("roberta.encoder.layer.1.output.adapters.a.down.weight"), "adapters.a"),
    "prefix": (add("prefix_encoder.embedding.weight"), "prefix_encoder"),
    "more layers": (add("roberta.encoder.layer.2.output.dense.weight"), "layer.2.output"),
    "head of another kind": (add("logits_proj.weight"), "logits_proj"),
    "modules to save": (tensors(saved_heads), "modules_to_save"),
    "adapter beside": (write("adapter_config.json", "{}"), "an adapter beside them"),
    "multi-label": (
        config(problem_type="multi_label_classification"),
        "problem_type: expected single_label_classification for a head of 3",
    ),
    "three values": (config(problem_type="regression"), "problem_type: expected single_label"),
    "labels": (config(id2label={"0": "a"}), "expected a label for each of the head's 3 classes"),
    "twins": (config(id2label={"0": "a", "1": "b", "2": "a"}), "expected labels that differ"),
    "positions": (config(position_embedding_type="relative_key"), "position_embedding_type"),
    "activation": (config(hidden_act="gelu_new"), "hidden_act"),
    "pruned": (config(pruned_heads={"0": [1]}), "pruned_heads: expected none"),
    "quantized": (config(quantization_config={"bits": 4}), "quantization_config: expected none"),
    "added token": (
        write("added_tokens.json", '{"[user]": 271}'),
        r"no added tokens, got '\[user\]'",
    ),
    "special token": (
        settings("special_tokens_map.json", additional_special_tokens=["<e1>"]),
        "expected no added tokens, got '<e1>'",
    ),
    "token of the tokenizer's": (fast(new_token), r"expected no added tokens, got '\[user\]'"),
    "other mark": (settings("special_tokens_map.json", cls_token="[C]"), "cls_token: expected <s>"),
    "lower": (fast(lower), "byte-level BPE without a normalizer"),
    "merges": (fast(fewer_merges), "expected the same merges as in tokenizer.json"),
    "numbers": (fast(other_numbers), "expected the same tokens as in tokenizer.json"),
}


def refused(folder, message, capsys, tmp_path):
    before = sorted(os.listdir(tmp_path))
    assert main(["import-hf", str(folder), "-o", str(tmp_path / "out" / "model.pt")]) != 0
    error = capsys.readouterr().err
    assert message in error or pytest.importorskip("re").search(message, error), error
    assert error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_change_the_result_is_refused(case, vocabulary, tmp_path, capsys):  # noqa: F811
    save_hf(tmp_path / "hf", vocabulary, CLASSIFIER, num_labels=3)
    change, message = REFUSED[case]
    change(tmp_path / "hf")
    capsys.readouterr()
    refused(tmp_path / "hf", message, capsys, tmp_path)


REFUSED_BERT = {
    "case of two minds": (fast(keeps_case), "do_lower_case: expected False as in tokenizer.json"),
    "accents": (fast(keeps_accents), "strip_accents: expected True, got False"),
    "accents set": (settings("tokenizer_config.json", strip_accents=False), "strip_accents"),
    "Chinese": (fast(no_chinese), "handle_chinese_chars: expected True, got False"),
    "words": (settings("tokenizer_config.json", do_basic_tokenize=False), "do_basic_tokenize"),
    "never split": (settings("tokenizer_config.json", never_split=["low"]), "never_split"),
    "numbers": (fast(other_numbers), "expected the same pieces as in tokenizer.json"),
    "added token": (fast(new_token), r"expected no added tokens, got '\[user\]'"),
    "epsilon": (config(layer_norm_eps=1e-3), "layer_norm_eps: expected at most 1e-05, got 0.001"),
    "half a head": (add("classifier.weight", rows=3), "expected tensor bert.pooler.dense.weight"),
}


@pytest.mark.parametrize("case", REFUSED_BERT)
def test_of_a_bert_too(case, spm, tmp_path, capsys):  # noqa: F811
    save(tmp_path / "hf", "bert", spm)
    change, message = REFUSED_BERT[case]
    change(tmp_path / "hf")
    capsys.readouterr()
    refused(tmp_path / "hf", message, capsys, tmp_path)


REFUSED_PIECES = {
    "score": (fast(other_score), "expected the same pieces and scores as in tokenizer.json"),
    "normalizer": (fast(no_table), "expected the same normalizer as in tokenizer.json"),
    "lower": (fast(lower), "expected a unigram model that puts a space before a sentence"),
    "space": (fast(no_space), "expected a unigram model that puts a space before a sentence"),
    "truncated": (
        lambda folder: (folder / "sentencepiece.bpe.model").write_bytes(b"\x0a\x7fabc"),
        "expected a SentencePiece model, cannot read it",
    ),
}


@pytest.mark.parametrize("case", REFUSED_PIECES)
def test_of_an_xlmr_too(case, spm, tmp_path, capsys):  # noqa: F811
    save(tmp_path / "hf", "xlm-roberta", spm)
    change, message = REFUSED_PIECES[case]
    change(tmp_path / "hf")
    capsys.readouterr()
    refused(tmp_path / "hf", message, capsys, tmp_path)


POOLER = ("roberta.pooler.dense.weight", "roberta.pooler.dense.bias")
TOLD = {
    "pooler": (add(*POOLER), "left out: the pooler, which no head uses (roberta.pooler.dense.bias"),
    "answers": (
        add("qa_outputs.weight"),
        "a head that fairseq's RoBERTa does not have (qa_outputs",
    ),
    "tokens": (add("classifier.weight"), "a head that fairseq's RoBERTa does not have (classifier"),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_leaves_the_encoder_as_it_is_is_told(case, vocabulary, tmp_path, capsys):  # noqa: F811
    save_hf(tmp_path / "hf", vocabulary)
    change, message = TOLD[case]
    change(tmp_path / "hf")
    assert main(["import-hf", str(tmp_path / "hf"), "-o", str(tmp_path / "out" / "model.pt")]) == 0
    assert message in capsys.readouterr().out


def test_berts_next_sentence_head_and_pooler_are_told(spm, tmp_path, capsys):  # noqa: F811
    save(tmp_path / "hf", "bert", spm)
    names = ("cls.seq_relationship.weight", "bert.pooler.dense.weight")
    add(*names)(tmp_path / "hf")
    assert main(["import-hf", str(tmp_path / "hf"), "-o", str(tmp_path / "out" / "model.pt")]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in names)


def test_choices_among_answers_are_no_regression(spm, tmp_path, capsys):  # noqa: F811
    """BertForMultipleChoice has a head of one row under a classifier's names."""
    save(tmp_path / "hf", "bert", spm, head=True, num_labels=1)
    config(architectures=["BertForMultipleChoice"])(tmp_path / "hf")
    assert main(["import-hf", str(tmp_path / "hf"), "-o", str(tmp_path / "out" / "model.pt")]) == 0
    assert "a head that fairseq's RoBERTa does not have (classifier.bias" in capsys.readouterr().out


def test_a_plain_folder_leaves_nothing_to_tell(vocabulary, tmp_path, capsys):  # noqa: F811
    """Both kinds of tokenizer files, and they agree."""
    save_hf(tmp_path / "hf", vocabulary)
    fast(lambda found: None)(tmp_path / "hf")
    capsys.readouterr()
    assert main(["import-hf", str(tmp_path / "hf"), "-o", str(tmp_path / "out" / "model.pt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("wrote ", "next: ")) for line in lines)

"""Hugging Face folders of tiny random models, saved by transformers; stock fairseq's loader."""

from __future__ import annotations

import json
import os
import string

import pytest
import torch

from fairseq_dwt.huggingface.families import FAMILIES
from fairseq_dwt.huggingface.pieces import parse
from fairseq_dwt.huggingface.vocabulary import CAMEMBERT_FIRST, SPECIAL, gpt2_ids

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

MERGES = [("l", "o"), ("lo", "w"), ("n", "e"), ("ne", "w"), ("Ġ", "l"), ("e", "s"), ("es", "t")]


SIZES = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=42,
)


@pytest.fixture(scope="module")
def vocabulary():
    """A RoBERTa's vocab.json of GPT-2 tokens in another order, with an entry that no text gives."""
    tokens = list(gpt2_ids(MERGES))
    shuffled = sorted(tokens, key=lambda token: hash(("salt", len(token), token[::-1])) % 997)
    named = ["<s>", "<pad>", "</s>", "<unk>", *shuffled, "madeupword0000", "<mask>"]
    return {token: index for index, token in enumerate(named)}


def save_hf(folder, vocabulary, kind="RobertaForMaskedLM", seed=0, **config):
    """A random-weight RoBERTa with its slow tokenizer's files, as on the hub."""
    torch.manual_seed(seed)
    settings = dict(vocab_size=len(vocabulary), type_vocab_size=1, layer_norm_eps=1e-5)
    model = getattr(transformers, kind)(
        transformers.RobertaConfig(**{"initializer_range": 0.3, **settings, **SIZES, **config})
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    model.save_pretrained(str(folder))
    with open(folder / "vocab.json", "w", encoding="utf-8") as file:
        json.dump(vocabulary, file, ensure_ascii=False)
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in MERGES), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return model


def load_fairseq(path):
    """The checkpoint as stock fairseq loads it, through its hub interface."""
    from fairseq.models.roberta import RobertaModel

    folder, name = os.path.split(path)
    data = os.path.join(folder, "data")
    os.makedirs(os.path.join(data, "input0"), exist_ok=True)
    for place in (data, os.path.join(data, "input0")):
        with open(os.path.join(folder, "dict.txt"), encoding="utf-8") as file:
            text = file.read()
        with open(os.path.join(place, "dict.txt"), "w", encoding="utf-8") as file:
            file.write(text)
    os.makedirs(os.path.join(data, "label"), exist_ok=True)
    with open(os.path.join(data, "label", "dict.txt"), "w") as file:
        file.write("a 1\nb 1\nc 1\n")
    return RobertaModel.from_pretrained(folder, name, data, bpe=None).eval()


def config(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


PIECES = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "low", "##est", "lake"]


PIECES += [*string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase), ",", "Low", "A"]


@pytest.fixture(scope="module")
def spm(tmp_path_factory):
    """A SentencePiece model of a few words, with the normalizer's table that XLM-R has."""
    folder = tmp_path_factory.mktemp("spm")
    lines = [f"{a} {b} lake, the {a} and {b}" for a in ("low", "new") for b in ("lowest", "newest")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, "The A zebra fine é"] * 20),
        model_prefix=str(folder / "m"),
        vocab_size=45,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    return folder / "m.model"


def tiny(kind, size, head=False, **more):
    """A model of random weights, its norms' epsilon as fairseq's."""
    family = FAMILIES[kind]
    sizes = dict(zip(family.size_names, (2, 32, 48, 4, 42)))
    # transformers' defaults put BERT's and RoBERTa's padding elsewhere
    settings = {"vocab_size": size, "initializer_range": 0.3, "pad_token_id": 1, **sizes, **more}
    if family.bert:
        settings["pad_token_id"] = 0
    if family.types:
        settings = {"layer_norm_eps": 1e-5, "type_vocab_size": 2, **settings}
    stem = "SequenceClassification" if head else "MaskedLM"
    torch.manual_seed(3)
    config = getattr(transformers, f"{family.stem}Config")(**settings)
    model = getattr(transformers, f"{family.stem}For{stem}")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return with_epsilon(model, 1e-5) if kind == "distilbert" else model


def with_epsilon(model, epsilon):
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = epsilon
    return model


def save_tokens(folder, kind, spm, cased=False):
    """The vocabulary as the hub has it; the number of tokens."""
    if FAMILIES[kind].bert:
        (folder / "vocab.txt").write_text("\n".join([*PIECES, ""]), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": not cased}))
        return len(PIECES)
    pieces = parse(spm.read_bytes(), str(spm))
    first = CAMEMBERT_FIRST if kind == "camembert" else SPECIAL
    scored = [*((name, 0.0) for name in first), *pieces.scored[3:], ("<mask>", 0.0)]
    name = "CamembertTokenizer" if kind == "camembert" else "XLMRobertaTokenizer"
    tokenizer = getattr(transformers, name)(vocab=scored, _spm_precompiled_charsmap=pieces.table)
    tokenizer.save_pretrained(str(folder))
    (folder / "sentencepiece.bpe.model").write_bytes(spm.read_bytes())
    return len(scored)


def save(folder, kind, spm, cased=False, **model):
    folder.mkdir(parents=True)
    size = save_tokens(folder, kind, spm, cased)
    saved = tiny(kind, size, **model)
    saved.save_pretrained(str(folder))
    return saved


def fast(change):
    """Save the tokenizer as tokenizer.json too, then change that."""

    def apply(folder):
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
        path = folder / "tokenizer.json"
        tokenizer.backend_tokenizer.save(str(path))
        found = json.loads(path.read_text(encoding="utf-8"))
        change(found)
        path.write_text(json.dumps(found), encoding="utf-8")

    return apply

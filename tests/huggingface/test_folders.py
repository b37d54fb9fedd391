"""Hugging Face folders, against the real transformers: the same logits, the same tokens."""

from __future__ import annotations

import json
import os

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.glue.bpe import gpt2_encoder
from fairseq_dwt.huggingface import export_folder, import_folder
from fairseq_dwt.huggingface.vocabulary import gpt2_ids
from fairseq_dwt.model.roberta import save_roberta
from tests.conftest import SIZES as SETTINGS
from tests.huggingface.conftest import config, load_fairseq, save_hf, write

transformers = pytest.importorskip("transformers")

TEXT = ["The low lake", "A new lake, é ☃", "newest and lowest"]


def batch(size):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, size - 1, (3, 11), generator=generator)
    tokens[:, 0], tokens[1, 7:], tokens[0, 9:] = 0, 1, 1
    return tokens


def hf_logits(model, tokens):
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=(tokens != 1).long()).logits


@pytest.mark.parametrize("types", [1, 2])
def test_import_gives_the_masked_lm_logits(types, vocabulary, tmp_path, capsys):
    model = save_hf(tmp_path / "hf", vocabulary, type_vocab_size=types)
    path = str(tmp_path / "out" / "model.pt")
    assert main(["import-hf", str(tmp_path / "hf"), "-o", path]) == 0
    assert "dict.txt" in capsys.readouterr().out
    tokens = batch(len(vocabulary))
    hub = load_fairseq(path)
    with torch.no_grad():
        ours = hub.model(tokens)[0]
    kept = tokens != 1
    torch.testing.assert_close(ours[kept], hf_logits(model, tokens)[kept], atol=1e-5, rtol=1e-5)
    assert hf_logits(model, tokens)[kept].std() > 0.1


def test_import_numbers_tokens_as_the_hugging_face_tokenizer(vocabulary, tmp_path):
    save_hf(tmp_path / "hf", vocabulary)
    import_folder(str(tmp_path / "hf"), str(tmp_path / "model.pt"))
    from fairseq.data import Dictionary

    dictionary = Dictionary.load(str(tmp_path / "dict.txt"))
    dictionary.add_symbol("<mask>")
    assert len(dictionary) == len(vocabulary)
    assert dictionary.index("<mask>") == vocabulary["<mask>"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "hf"))
    encode = gpt2_encoder(tmp_path / "encoder.json", tmp_path / "vocab.bpe")
    for sentence, line in zip(TEXT, encode(TEXT)):
        ours = dictionary.encode_line(line, add_if_not_exist=False).tolist()
        assert [0, *ours] == tokenizer(sentence)["input_ids"]


def test_import_of_a_classifier_and_back(vocabulary, tmp_path):
    labels = {0: "no", 1: "perhaps", 2: "yes"}
    kind = "RobertaForSequenceClassification"
    model = save_hf(tmp_path / "hf", vocabulary, kind, num_labels=3, id2label=labels)
    path = str(tmp_path / "model.pt")
    _, notes = import_folder(str(tmp_path / "hf"), path)
    assert notes == ["the folder has no language-model head; zeros were written in its place"]
    tokens = batch(len(vocabulary))
    expected = hf_logits(model, tokens)
    hub = load_fairseq(path)
    with torch.no_grad():
        ours, _ = hub.model(
            tokens, features_only=True, classification_head_name="sentence_classification_head"
        )
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)

    command = ["export-hf", path, "--bpe-dir", str(tmp_path), "-o", str(tmp_path / "back")]
    assert main(command) == 0
    auto = transformers.AutoModelForSequenceClassification
    back = auto.from_pretrained(str(tmp_path / "back")).eval()
    assert back.config.id2label == labels
    torch.testing.assert_close(hf_logits(back, tokens), expected, atol=1e-5, rtol=1e-5)
    tokenizers = [
        transformers.AutoTokenizer.from_pretrained(str(tmp_path / name)) for name in ("hf", "back")
    ]
    first, second = (t(TEXT, TEXT[::-1], padding=True)["input_ids"] for t in tokenizers)
    assert first == second
    assert tokenizers[1].mask_token_id == vocabulary["<mask>"]


def test_a_masked_lm_survives_the_way_there_and_back(vocabulary, tmp_path):
    model = save_hf(tmp_path / "hf", vocabulary)
    path = str(tmp_path / "model.pt")
    import_folder(str(tmp_path / "hf"), path)
    assert main(["export-hf", path, "--bpe-dir", str(tmp_path), "-o", str(tmp_path / "back")]) == 0
    back = transformers.AutoModelForMaskedLM.from_pretrained(str(tmp_path / "back")).eval()
    before, after = model.state_dict(), back.state_dict()
    assert set(before) == set(after)
    for name, tensor in before.items():
        if "token_type" not in name and "position_embeddings" not in name:
            assert torch.equal(after[name], tensor), name
    tokens = batch(len(vocabulary))
    torch.testing.assert_close(
        hf_logits(back, tokens), hf_logits(model, tokens), atol=1e-5, rtol=1e-5
    )


def test_an_imported_model_is_one_that_the_plugin_starts_from(vocabulary, tmp_path):
    save_hf(tmp_path / "hf", vocabulary)
    import_folder(str(tmp_path / "hf"), str(tmp_path / "model.pt"))
    pretrained = Pretrained(str(tmp_path / "model.pt"))
    assert len(pretrained.matrices) == 12
    assert pretrained.settings["encoder_attention_heads"] == 4
    assert pretrained.settings["max_positions"] == 40


def test_the_shape_of_roberta_large(tmp_path, vocabulary):
    """Its width, heads, inner width and positions, two of its layers; all six matrices of each."""
    sizes = dict(hidden_size=1024, num_attention_heads=16, intermediate_size=4096)
    sizes.update(max_position_embeddings=514, initializer_range=0.02)
    model = save_hf(tmp_path / "hf", vocabulary, **sizes)
    path = str(tmp_path / "model.pt")
    import_folder(str(tmp_path / "hf"), path)
    shapes = {m.shape for m in Pretrained(path).matrices}
    assert shapes == {(1024, 1024), (4096, 1024), (1024, 4096)}
    tokens = batch(len(vocabulary))
    hub = load_fairseq(path)
    with torch.no_grad():
        ours = hub.model(tokens)[0]
    kept = tokens != 1
    expected = hf_logits(model, tokens)[kept]
    torch.testing.assert_close(ours[kept], expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1


def test_shards_and_tokenizer_json(vocabulary, tmp_path):
    """The folder in the hub's other shape: sharded weights, tokenizer.json alone."""
    save_hf(tmp_path / "hf", vocabulary)
    one, many = tmp_path / "one", tmp_path / "many"
    import_folder(str(tmp_path / "hf"), str(one / "model.pt"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "hf"))
    model = transformers.AutoModelForMaskedLM.from_pretrained(str(tmp_path / "hf"))
    model.save_pretrained(str(tmp_path / "sharded"), max_shard_size="20KB")
    tokenizer.backend_tokenizer.save(str(tmp_path / "sharded" / "tokenizer.json"))
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    import_folder(str(tmp_path / "sharded"), str(many / "model.pt"))
    for name in ("dict.txt", "encoder.json", "vocab.bpe"):
        assert (one / name).read_text() == (many / name).read_text()
    first, second = (Pretrained(str(p / "model.pt")) for p in (one, many))
    assert first.fingerprint == second.fingerprint


def test_pytorch_model_bin_is_read_without_running_code(vocabulary, tmp_path):
    model = save_hf(tmp_path / "hf", vocabulary)
    import_folder(str(tmp_path / "hf"), str(tmp_path / "a.pt"))
    os.remove(tmp_path / "hf" / "model.safetensors")
    torch.save(model.state_dict(), tmp_path / "hf" / "pytorch_model.bin")
    import_folder(str(tmp_path / "hf"), str(tmp_path / "b.pt"))
    first, second = (Pretrained(str(tmp_path / f"{n}.pt")).fingerprint for n in "ab")
    assert first == second
    torch.save({"x": Evil()}, tmp_path / "hf" / "pytorch_model.bin")
    with pytest.raises(DwtError, match="pytorch_model.bin: expected tensors alone"):
        import_folder(str(tmp_path / "hf"), str(tmp_path / "c.pt"))
    assert not (tmp_path / "c.pt").exists() and not (tmp_path / "evil").exists()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


BROKEN = {
    "no folder": (lambda f: (f / "config.json").unlink(), "config.json: expected a file of"),
    "no JSON": (write("config.json", "{"), "config.json: expected JSON"),
    "gpt2": (config(model_type="gpt2"), "model_type: expected one of roberta, .* got 'gpt2'"),
    "epsilon": (config(layer_norm_eps=1e-12), "layer_norm_eps: expected 1e-05, got 1e-12"),
    "relu": (config(hidden_act="relu"), "hidden_act: expected 'gelu', got 'relu'"),
    "size": (config(hidden_size=10**12), "encoder_embed_dim: expected a size"),
    "other width": (config(hidden_size=16), r"expected shape \(540, 16\) as config.json says"),
    "other depth": (config(num_hidden_layers=3), "expected tensor roberta.encoder.layer.2"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "found neither"),
    "truncated": (
        write("model.safetensors", "123"),
        "model.safetensors: expected a file of safetensors",
    ),
    "no merges": (lambda f: (f / "merges.txt").unlink(), "merges.txt: expected it beside"),
    "merges": (write("merges.txt", "a b c\n"), "expected two symbols to merge, got 'a b c'"),
    "vocabulary": (write("vocab.json", '{"<s>": 1000}'), "'<s>': expected an index below 270"),
    "heads": (config(num_attention_heads=5), "num_attention_heads: expected a divisor"),
    "layers": (config(num_hidden_layers=200000), "encoder_layers: expected a size"),
    "prefix": (write("tokenizer_config.json", '{"add_prefix_space": true}'), "add_prefix_space"),
    "merge list": (write("vocab.json", "[]"), "vocab.json: expected a JSON object"),
    "special": (write("vocab.json", '{"<s>": 1}'), "expected <s> at index 0"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_roberta_is_refused_and_nothing_is_written(kind, vocabulary, tmp_path, capsys):
    save_hf(tmp_path / "hf", vocabulary)
    change, message = BROKEN[kind]
    change(tmp_path / "hf")
    with pytest.raises(DwtError, match=message):
        import_folder(str(tmp_path / "hf"), str(tmp_path / "out" / "model.pt"))
    assert not (tmp_path / "out").exists()


def test_shards_outside_the_folder_are_refused(vocabulary, tmp_path):
    save_hf(tmp_path / "hf", vocabulary)
    os.rename(tmp_path / "hf" / "model.safetensors", tmp_path / "x.safetensors")
    index = {"weight_map": {"a": "../x.safetensors"}}
    (tmp_path / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DwtError, match="expected names of files beside it"):
        import_folder(str(tmp_path / "hf"), str(tmp_path / "model.pt"))


def test_export_refuses_what_hugging_face_cannot_compute(small, tmp_path):
    state = load_checkpoint(small.init)
    tokens = {"encoder_json": "x", "vocab_bpe": "y"}
    dictionary = os.path.join(small.data, "input0", "dict.txt")
    for change, message in (
        ({"activation_fn": "relu"}, "activation_fn: expected 'gelu', got 'relu'"),
        ({"encoder_normalize_before": True}, "encoder_normalize_before: expected False"),
    ):
        path = str(tmp_path / "odd.pt")
        save_roberta(path, state["model"], {**SETTINGS, **change}, {"_name": "masked_lm"})
        with pytest.raises(DwtError, match=message):
            export_folder(path, str(tmp_path / "hf"), dictionary, tokens)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(DwtError, match="expected a new folder, got one with files"):
        export_folder(small.init, str(tmp_path / "full"), dictionary, tokens)
    short = tmp_path / "dict.txt"
    short.write_text("a 1\n")
    with pytest.raises(DwtError, match="expected 35 entries with <mask>.* got 6"):
        export_folder(small.init, str(tmp_path / "hf"), str(short), tokens)
    assert not (tmp_path / "hf").exists()


def test_bytes_are_numbered_as_gpt2_numbers_them():
    ids = gpt2_ids([])
    known = {"!": 0, "~": 93, "ÿ": 187, "Ā": 188, "Ċ": 198, "Ġ": 220, "<|endoftext|>": 256}
    assert {symbol: ids[symbol] for symbol in known} == known


def test_gpt2_ids_are_gpt2s(real_dir):
    """encoder.json follows from the merges, to the last id."""
    with open(os.path.join(real_dir, "bpe", "encoder.json"), encoding="utf-8") as file:
        expected = json.load(file)
    with open(os.path.join(real_dir, "bpe", "vocab.bpe"), encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1:-1]]
    assert gpt2_ids(merges) == expected


def test_import_does_not_replace_another_models_vocabulary(vocabulary, tmp_path):
    save_hf(tmp_path / "hf", vocabulary)
    (tmp_path / "dict.txt").write_text("mine 1\n")
    with pytest.raises(DwtError, match="expected no vocabulary of another model beside"):
        import_folder(str(tmp_path / "hf"), str(tmp_path / "model.pt"))
    assert (tmp_path / "dict.txt").read_text() == "mine 1\n"
    assert not (tmp_path / "model.pt").exists()


def test_import_leaves_nothing_where_the_model_cannot_be_written(vocabulary, tmp_path):
    save_hf(tmp_path / "hf", vocabulary)
    (tmp_path / "out" / "model.pt").mkdir(parents=True)
    with pytest.raises(DwtError, match="model.pt: cannot write it"):
        import_folder(str(tmp_path / "hf"), str(tmp_path / "out" / "model.pt"))
    assert os.listdir(tmp_path / "out") == ["model.pt"]


def test_export_leaves_a_file_of_that_name_alone(small, tmp_path):
    (tmp_path / "hf").write_text("mine")
    dictionary = os.path.join(small.data, "input0", "dict.txt")
    with pytest.raises(DwtError, match="expected a new folder"):
        export_folder(small.init, str(tmp_path / "hf"), dictionary, {"vocab_file": "x"})
    assert (tmp_path / "hf").read_text() == "mine"


def test_word_pieces_that_would_be_split_otherwise_are_refused(small, tmp_path):
    dictionary = os.path.join(small.data, "input0", "dict.txt")
    pieces = tmp_path / "vocab.txt"
    pieces.write_text("[UNK]\nw1\nplaying\n")
    with pytest.raises(DwtError, match="expected pieces that dict.txt lists, got 1 others"):
        export_folder(small.init, str(tmp_path / "hf"), dictionary, {"vocab_file": str(pieces)})
    assert not (tmp_path / "hf").exists()

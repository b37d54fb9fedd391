"""BERT, DistilBERT, XLM-R and CamemBERT from and to Hugging Face: the same logits and tokens."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from fairseq_dwt.cli import main
from fairseq_dwt.glue.bpe import bert_encoder, sentencepiece_encoder
from fairseq_dwt.huggingface import import_folder, read_folder
from fairseq_dwt.huggingface.families import FAMILIES
from fairseq_dwt.huggingface.pieces import Pieces, parse, serialize
from fairseq_dwt.huggingface.vocabulary import read_vocabulary
from tests.huggingface.conftest import load_fairseq, save, save_tokens, tiny, with_epsilon

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")


KINDS = ("bert", "distilbert", "xlm-roberta", "camembert")
TEXT = ["The low lake", "A new lake, é ☃ zebra", "newest and   lowest", "LOW ﬁne Ｌake"]


def encode(folder, kind, sentences, cased=False):
    """fairseq's indices of each sentence, with <s> and </s>."""
    from fairseq.data import Dictionary

    dictionary = Dictionary.load(str(folder / "dict.txt"))
    dictionary.add_symbol("<mask>")
    if FAMILIES[kind].bert:
        encoder = bert_encoder(folder / "vocab.txt", cased)
    else:
        encoder = sentencepiece_encoder(folder / "sentencepiece.bpe.model")
    lines = encoder(sentences)
    return [[0, *dictionary.encode_line(x, add_if_not_exist=False).tolist()] for x in lines]


def order_of(folder, kind):
    config = json.loads((folder / "config.json").read_text())
    return torch.tensor(read_vocabulary(str(folder), FAMILIES[kind], config["vocab_size"]).order)


def tokenizer_options(kind, folder, named=True):
    if FAMILIES[kind].bert:
        options = ["--bpe", "bert", "--vocab-file", str(folder / "vocab.txt")]
        options += ["--model-type", kind] if named else []
    else:
        model = str(folder / "sentencepiece.bpe.model")
        options = ["--bpe", "sentencepiece", "--sentencepiece-model", model]
    return [*options, "--dict", str(folder / "dict.txt")]


def hf(model, tokens, padding=None):
    mask = torch.ones_like(tokens) if padding is None else (tokens != padding).long()
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=mask).logits


@pytest.mark.parametrize("kind", KINDS)
def test_masked_lm_logits_and_tokens_there_and_back(kind, spm, tmp_path):
    model = save(tmp_path / "hf", kind, spm)
    out = tmp_path / "out"
    assert main(["import-hf", str(tmp_path / "hf"), "-o", str(out / "model.pt")]) == 0
    order = order_of(tmp_path / "hf", kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "hf"))
    ours = encode(out, kind, TEXT)
    # the numbers of fairseq's tokens, moved to Hugging Face's rows
    assert [order[row].tolist() for row in ours] == tokenizer(TEXT)["input_ids"]
    assert len(order.unique()) == len(order) == model.config.vocab_size

    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, len(order), (3, 11), generator=generator)
    tokens[:, 0], tokens[1, 7:], tokens[0, 9:] = 0, 1, 1
    kept = tokens != 1
    hub = load_fairseq(str(out / "model.pt"))
    with torch.no_grad():
        got = hub.model(tokens)[0][kept]
    expected = hf(model, order[tokens], order[1])
    torch.testing.assert_close(got, expected[..., order][kept], atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1

    command = ["export-hf", str(out / "model.pt"), *tokenizer_options(kind, out)]
    assert main([*command, "-o", str(tmp_path / "back")]) == 0
    back = transformers.AutoModelForMaskedLM.from_pretrained(str(tmp_path / "back")).eval()
    assert back.config.model_type == kind
    back = with_epsilon(back, 1e-5)
    again = hf(back, order[tokens], order[1])
    torch.testing.assert_close(again[kept], expected[kept], atol=1e-5, rtol=1e-5)
    second = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "back"))
    for pair in (TEXT,), (TEXT, TEXT[::-1]):
        assert second(*pair)["input_ids"] == tokenizer(*pair)["input_ids"]
    assert second.mask_token_id == tokenizer.mask_token_id

    # and what went out comes in again, bit for bit
    import_folder(str(tmp_path / "back"), str(tmp_path / "again" / "model.pt"))
    first, last = read_folder(str(tmp_path / "hf")), read_folder(str(tmp_path / "back"))
    assert set(first.tensors) == set(last.tensors)
    for name, tensor in first.tensors.items():
        if not name.endswith("embed_positions.weight"):
            assert torch.equal(last.tensors[name], tensor), name
    for name in first.files:
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_classifier_logits_there_and_back(kind, spm, tmp_path):
    labels = {0: "no", 1: "perhaps", 2: "yes"}
    model = save(tmp_path / "hf", kind, spm, head=True, id2label=labels, num_labels=3)
    path = str(tmp_path / "out" / "model.pt")
    import_folder(str(tmp_path / "hf"), path)
    order = order_of(tmp_path / "hf", kind)
    tokens = torch.randint(4, len(order), (3, 11), generator=torch.Generator().manual_seed(1))
    tokens[:, 0], tokens[:, 10], tokens[1, 7:] = 0, 2, 1
    expected = hf(model, order[tokens], order[1])
    with torch.no_grad():
        got, _ = load_fairseq(path).model(
            tokens, features_only=True, classification_head_name="sentence_classification_head"
        )
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert expected.std(0).min() > 0.01
    command = ["export-hf", path, *tokenizer_options(kind, tmp_path / "out")]
    assert main([*command, "-o", str(tmp_path / "back")]) == 0
    auto = transformers.AutoModelForSequenceClassification
    back = with_epsilon(auto.from_pretrained(str(tmp_path / "back")).eval(), 1e-5)
    assert back.config.id2label == labels
    torch.testing.assert_close(hf(back, order[tokens], order[1]), expected, atol=1e-5, rtol=1e-5)
    # trained with one [SEP] between two sentences, or two </s>: the exported folder knows
    before, after = (
        transformers.AutoTokenizer.from_pretrained(str(tmp_path / n))(TEXT, TEXT[::-1])
        for n in ("hf", "back")
    )
    assert before["input_ids"] == after["input_ids"]


def test_cased_pieces_are_told_and_carried(spm, tmp_path, capsys):
    save(tmp_path / "hf", "bert", spm, cased=True)
    out = tmp_path / "out"
    assert main(["import-hf", str(tmp_path / "hf"), "-o", str(out / "model.pt")]) == 0
    assert "give --bpe-cased wherever --bpe bert is given" in capsys.readouterr().out
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "hf"))
    order, text = order_of(tmp_path / "hf", "bert"), ["Low lowest A lake"]
    expected = tokenizer(text)["input_ids"]
    ours = encode(out, "bert", text, cased=True)
    assert [order[row].tolist() for row in ours] == expected
    assert [order[row].tolist() for row in encode(out, "bert", text)] != expected
    options = [*tokenizer_options("bert", out), "--bpe-cased", "-o", str(tmp_path / "back")]
    assert main(["export-hf", str(out / "model.pt"), *options]) == 0
    back = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "back"))
    assert back(text)["input_ids"] == expected


def test_what_berts_epsilon_makes_is_told_and_small(spm, tmp_path, capsys):
    model = save(tmp_path / "hf", "bert", spm, layer_norm_eps=1e-12)
    path = str(tmp_path / "out" / "model.pt")
    assert main(["import-hf", str(tmp_path / "hf"), "-o", path]) == 0
    assert "epsilon is 1e-12 in the folder and 1e-05 in fairseq" in capsys.readouterr().out
    order = order_of(tmp_path / "hf", "bert")
    tokens = torch.arange(4, len(order) - 1)[None, :30]
    with torch.no_grad():
        got = load_fairseq(path).model(tokens)[0]
    expected = hf(model, order[tokens])[..., order]
    assert 0 < (got - expected).abs().max() < 1e-3 * expected.std()


def test_berts_second_token_type_is_told(spm, tmp_path):
    save(tmp_path / "hf", "bert", spm)
    _, notes = import_folder(str(tmp_path / "hf"), str(tmp_path / "out" / "model.pt"))
    assert any("pairs give other results here, single sentences the same" in n for n in notes)


def test_names_of_2018_and_a_folder_of_the_encoder_alone(spm, tmp_path):
    from safetensors.torch import load_file, save_file

    model = save(tmp_path / "hf", "bert", spm)
    expected = read_folder(str(tmp_path / "hf")).tensors
    path = str(tmp_path / "hf" / "model.safetensors")
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): t
        for n, t in load_file(path).items()
    }
    save_file(old, path)
    found = read_folder(str(tmp_path / "hf")).tensors
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    model.bert.save_pretrained(str(tmp_path / "hf"))
    bare = read_folder(str(tmp_path / "hf"))
    assert "the folder has no language-model head; zeros were written in its place" in bare.notes
    for name, tensor in bare.tensors.items():
        if "lm_head" not in name:
            assert torch.equal(expected[name], tensor), name


@pytest.mark.parametrize("kind", ["xlm-roberta", "camembert"])
def test_tokenizer_json_alone_gives_the_sentencepiece_model(kind, spm, tmp_path):
    save(tmp_path / "hf", kind, spm)
    import_folder(str(tmp_path / "hf"), str(tmp_path / "a" / "model.pt"))
    os.remove(tmp_path / "hf" / "sentencepiece.bpe.model")
    import_folder(str(tmp_path / "hf"), str(tmp_path / "b" / "model.pt"))
    name = "dict.txt"
    assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()
    assert encode(tmp_path / "a", kind, TEXT) == encode(tmp_path / "b", kind, TEXT)


def test_a_sentencepiece_model_is_read_as_its_library_reads_it(spm):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    pieces = parse(spm.read_bytes(), str(spm))
    size = processor.get_piece_size()
    assert [p for p, _ in pieces.scored] == [processor.id_to_piece(i) for i in range(size)]
    assert [s for _, s in pieces.scored] == [processor.get_score(i) for i in range(size)]
    assert pieces.table
    assert parse(serialize(pieces), "x") == pieces == Pieces(pieces.scored, pieces.table)


def test_rows_that_no_token_uses(spm, tmp_path):
    """Embeddings filled up to a multiple of eight."""
    folder = tmp_path / "hf"
    folder.mkdir()
    size = save_tokens(folder, "bert", spm)
    tiny("bert", size + 5).save_pretrained(str(folder))
    out = tmp_path / "out"
    import_folder(str(folder), str(out / "model.pt"))
    order = order_of(folder, "bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    ours = encode(out, "bert", TEXT)
    assert [order[row].tolist() for row in ours] == tokenizer(TEXT)["input_ids"]
    options = [*tokenizer_options("bert", out), "-o", str(tmp_path / "back")]
    assert main(["export-hf", str(out / "model.pt"), *options]) == 0


def test_the_real_minilm(tmp_path):
    """Hidden states of a real BERT; its folder lies where DWT_MINILM_HF says."""
    folder = os.environ.get("DWT_MINILM_HF")
    if not folder:
        pytest.skip("DWT_MINILM_HF is not set: the real MiniLM is not here")
    import_folder(folder, str(tmp_path / "model.pt"))
    hub = load_fairseq(str(tmp_path / "model.pt"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    order = order_of(Path(folder), "bert")
    text = ["The bird sang, naïvely.", "Two ships – none of them 東京 – passed 10,000 nights!"]
    models = {
        epsilon: transformers.AutoModel.from_pretrained(folder, layer_norm_eps=epsilon).eval()
        for epsilon in (1e-5, 1e-12)
    }
    for sentence, row in zip(text, encode(tmp_path, "bert", text)):
        inputs = tokenizer(sentence, return_tensors="pt")
        assert order[row].tolist() == inputs["input_ids"][0].tolist()
        with torch.no_grad():
            ours = hub.model(torch.tensor([row]), features_only=True)[0]
            theirs = {e: model(**inputs).last_hidden_state for e, model in models.items()}
        torch.testing.assert_close(ours, theirs[1e-5], atol=1e-5, rtol=1e-5)
        assert (ours - theirs[1e-12]).abs().max() < 5e-3
        kept = torch.cosine_similarity(ours.mean(1), theirs[1e-12].mean(1))
        assert kept.item() > 0.99999


@pytest.mark.parametrize("cased", [False, True])
def test_word_pieces_in_a_roberta_come_in_again(cased, spm, tmp_path):
    """What export-hf writes of fairseq's ``--bpe bert`` where no --model-type is named."""
    save(tmp_path / "hf", "bert", spm, cased=cased)
    out, back = tmp_path / "out", tmp_path / "back"
    import_folder(str(tmp_path / "hf"), str(out / "model.pt"))
    options = ["--bpe", "bert", "--vocab-file", str(out / "vocab.txt")]
    options += ["--dict", str(out / "dict.txt"), "-o", str(back), *["--bpe-cased"] * cased]
    assert main(["export-hf", str(out / "model.pt"), *options]) == 0
    _, notes = import_folder(str(back), str(tmp_path / "again" / "model.pt"))
    assert any("--bpe-cased" in note for note in notes) == cased
    assert (out / "dict.txt").read_text() == (tmp_path / "again" / "dict.txt").read_text()
    first, last = (read_folder(str(folder)).tensors for folder in (tmp_path / "hf", back))
    assert all(torch.equal(last[name], tensor) for name, tensor in first.items())


def test_a_model_type_of_other_tokens_is_refused(spm, tmp_path, capsys):
    save(tmp_path / "hf", "xlm-roberta", spm)
    out = tmp_path / "out"
    import_folder(str(tmp_path / "hf"), str(out / "model.pt"))
    options = [*tokenizer_options("xlm-roberta", out), "--model-type", "bert"]
    assert main(["export-hf", str(out / "model.pt"), *options, "-o", str(tmp_path / "back")]) != 0
    assert (
        "--model-type: expected xlm-roberta for this vocabulary, got bert"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "back").exists()

from __future__ import annotations

import json
import random
from argparse import Namespace
from pathlib import Path

import pytest

from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue.bpe import bert_encoder, gpt2_encoder, sentencepiece_encoder
from tests.glue.fixture_data import ODD_SENTENCES, sentence

BERT_PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "dog",
    "##s",
    "bark",
    "##ed",
    "caf",
] + ["##e", "na", "##ive", ",", "'", "!", "日", "本", "Dog"]


def _odd_text(count: int, seed: int) -> list[str]:
    """Random code points of every plane and category, white space often."""
    rng = random.Random(seed)
    spaces = "  \t\x0b\x0c\x1c\x1f\u0085\u00a0\u1680\u2003\u2028\u3000\u200b"
    result = []
    for _ in range(count):
        kinds = [
            lambda: rng.choice(spaces),
            lambda: chr(rng.randint(0x20, 0x7E)),
            lambda: chr(rng.choice([rng.randint(0xA0, 0xD7FF), rng.randint(0xE000, 0x1FFFF)])),
        ]
        result.append("".join(rng.choice(kinds)() for _ in range(rng.randint(0, 30))))
    return result


def _fairseq_gpt2(folder: Path):
    from fairseq.data.encoders.gpt2_bpe import GPT2BPE

    return GPT2BPE(
        Namespace(
            gpt2_encoder_json=str(folder / "encoder.json"), gpt2_vocab_bpe=str(folder / "vocab.bpe")
        )
    )


def _same_as_fairseq_gpt2(folder: Path, sentences: list[str]) -> None:
    encode = gpt2_encoder(folder / "encoder.json", folder / "vocab.bpe")
    reference = _fairseq_gpt2(folder)
    assert encode(sentences) == [reference.encode(text) for text in sentences]


def test_gpt2_equals_fairseq_on_generated_text(bpe_dir):
    rng = random.Random(1)
    generated = [sentence(rng) for _ in range(300)]
    _same_as_fairseq_gpt2(bpe_dir, ODD_SENTENCES + generated + _odd_text(500, seed=2))


def test_gpt2_equals_fairseq_on_real_text(real_dir):
    sentences = []
    for file in ("CoLA/dev.tsv", "MNLI/dev_matched.tsv", "MRPC/dev.tsv", "QQP/dev.tsv"):
        text = (real_dir / "glue" / file).read_text(encoding="utf-8")
        sentences += [field for line in text.split("\n")[:2500] for field in line.split("\t")]
    assert len(sentences) > 20000
    _same_as_fairseq_gpt2(real_dir / "bpe", sentences + ODD_SENTENCES + _odd_text(5000, seed=3))


def test_gpt2_merges_are_read_as_fairseq_reads_them(bpe_dir, tmp_path):
    """fairseq skips the first line whatever it says, and what follows the last line break."""
    lines = (bpe_dir / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    text = "\n".join(["d o", *lines[1:40]])
    (tmp_path / "vocab.bpe").write_text(text, encoding="utf-8")
    made = {line.replace(" ", "") for line in lines[1:39]}
    vocabulary = json.loads((bpe_dir / "encoder.json").read_text(encoding="utf-8"))
    kept = {token: index for token, index in vocabulary.items() if len(token) == 1 or token in made}
    (tmp_path / "encoder.json").write_text(json.dumps(kept), encoding="utf-8")
    _same_as_fairseq_gpt2(tmp_path, ["the dog saw the old city , because"])


def test_gpt2_special_tokens_are_ordinary_text(bpe_dir):
    encode = gpt2_encoder(bpe_dir / "encoder.json", bpe_dir / "vocab.bpe")
    (line,) = encode(["<|endoftext|>"])
    assert len(line.split()) > 1


def test_empty_batch_and_empty_sentence(bpe_dir):
    encode = gpt2_encoder(bpe_dir / "encoder.json", bpe_dir / "vocab.bpe")
    assert encode([]) == []
    assert encode([""]) == [""]


@pytest.fixture
def broken_bpe(bpe_dir, tmp_path):
    for name in ("encoder.json", "vocab.bpe"):
        (tmp_path / name).write_bytes((bpe_dir / name).read_bytes())
    return tmp_path


def test_merges_that_are_cut_short_are_refused(broken_bpe):
    """The rest of a sentence would be split into other tokens, without a word."""
    path = broken_bpe / "vocab.bpe"
    whole = path.read_bytes()
    for cut in (whole[:-1], whole[: len(whole) // 2], b""):
        path.write_bytes(cut)
        with pytest.raises(DwtError, match="vocab.bpe: expected merges that make each token"):
            gpt2_encoder(broken_bpe / "encoder.json", path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("encoder.json", None, "encoder.json: no such file"),
        ("vocab.bpe", None, "vocab.bpe: no such file"),
        ("encoder.json", b'{\n"a": 1,\n', "encoder.json line 3: expected GPT-2's encoder.json"),
        ("encoder.json", b"[1]", "expected GPT-2's encoder.json, an object of token to id"),
        ("encoder.json", b'{"a": "b"}', "an object of token to id"),
        ("encoder.json", b'{"a": 0}', "each of the 256 byte symbols, 255 are missing"),
        ("encoder.json", b'{"\xff": 0}', "expected UTF-8 text, got byte 0xff at offset 2"),
        ("vocab.bpe", b"#version\na b\na b c\n", "vocab.bpe line 3: expected two symbols"),
        ("vocab.bpe", b"#version\n\xc4\xa0q zzz\n", "vocab.bpe does not fit .*encoder.json"),
    ],
)
def test_gpt2_errors(broken_bpe, file, content, message):
    if content is None:
        (broken_bpe / file).unlink()
    else:
        (broken_bpe / file).write_bytes(content)
    with pytest.raises(DwtError, match=message):
        gpt2_encoder(broken_bpe / "encoder.json", broken_bpe / "vocab.bpe")


@pytest.fixture
def bert_vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(piece + "\n" for piece in BERT_PIECES), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The dogs barked!", "the dog ##s bark ##ed !"),
        ("Café, naïve", "caf ##e , na ##ive"),
        ("日本 dog's", "日 本 dog ' s".replace(" s", " [UNK]")),
        ("the\u2028dog\u00a0\x0bbarks", "the dog bark ##s"),
        ("zzz the", "[UNK] the"),
        ("the [SEP] dog", "the [SEP] dog"),
        ("the " * 600, " ".join(["the"] * 600)),
        ("", ""),
    ],
)
def test_bert_pieces(bert_vocabulary, text, pieces):
    assert bert_encoder(bert_vocabulary)([text]) == [pieces]


def test_bert_cased(bert_vocabulary):
    assert bert_encoder(bert_vocabulary, cased=True)(["Dog dog Caf\u00e9"]) == ["Dog dog [UNK]"]


def test_bert_equals_the_real_tokenizer(real_dir):
    from tokenizers import Tokenizer

    reference = Tokenizer.from_file(str(real_dir / "minilm" / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    text = (real_dir / "glue" / "MNLI" / "dev_matched.tsv").read_text(encoding="utf-8")
    sentences = [field for line in text.split("\n") for field in line.split("\t")[8:10]]
    sentences += ODD_SENTENCES + _odd_text(5000, seed=4) + ["a long sentence " * 200]
    expected = reference.encode_batch(sentences, add_special_tokens=False)
    got = bert_encoder(real_dir / "minilm" / "vocab.txt")(sentences)
    assert got == [" ".join(encoding.tokens) for encoding in expected]


@pytest.mark.parametrize("mark", ["[UNK]", "[CLS]", "[SEP]"])
def test_bert_vocabulary_without_its_marks(mark, bert_vocabulary):
    text = bert_vocabulary.read_text(encoding="utf-8").replace(mark, "x")
    bert_vocabulary.write_text(text, encoding="utf-8")
    message = rf"vocab.txt: expected a BERT vocab.txt .* \{mark[:-1]}\] among them, got 20 lines"
    with pytest.raises(DwtError, match=message):
        bert_encoder(bert_vocabulary)


def test_bert_vocabulary_missing(tmp_path):
    with pytest.raises(DwtError, match="vocab.txt: no such file"):
        bert_encoder(tmp_path / "vocab.txt")


@pytest.mark.parametrize("normalization", ["nmt_nfkc", "identity"])
def test_sentencepiece_equals_fairseq(tmp_path, normalization):
    library = pytest.importorskip("sentencepiece")
    from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE

    rng = random.Random(5)
    library.SentencePieceTrainer.train(
        sentence_iterator=iter([sentence(rng) for _ in range(400)]),
        model_prefix=str(tmp_path / "m"),
        vocab_size=60,
        hard_vocab_limit=False,
        character_coverage=0.98,
        normalization_rule_name=normalization,
        minloglevel=2,
    )
    model = str(tmp_path / "m.model")
    reference = SentencepieceBPE(
        Namespace(
            sentencepiece_model=model,
            sentencepiece_enable_sampling=False,
            sentencepiece_alpha=None,
        )
    )
    sentences = ODD_SENTENCES + _odd_text(300, seed=6)
    expected = [reference.encode(text) for text in sentences]
    assert sentencepiece_encoder(model)(sentences) == expected
    assert sentencepiece_encoder(model, workers=2)(sentences) == expected


def test_sentencepiece_errors(tmp_path):
    with pytest.raises(DwtError, match="m.model: no such file"):
        sentencepiece_encoder(tmp_path / "m.model")
    pytest.importorskip("sentencepiece")
    (tmp_path / "m.model").write_bytes(b"no model")
    with pytest.raises(DwtError, match="m.model: expected a SentencePiece model"):
        sentencepiece_encoder(tmp_path / "m.model")


@pytest.mark.parametrize("library", ["tokenizers", "sentencepiece"])
def test_a_missing_library_is_named(library, bpe_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    (tmp_path / "m.model").write_bytes(b"")
    with pytest.raises(DwtError, match=f"needs the library {library}: pip install {library}"):
        if library == "tokenizers":
            gpt2_encoder(bpe_dir / "encoder.json", bpe_dir / "vocab.bpe")
        else:
            sentencepiece_encoder(tmp_path / "m.model")

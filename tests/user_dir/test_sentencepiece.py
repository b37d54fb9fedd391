"""XLM-R and CamemBERT: SentencePiece vocabularies from text to predictions.

A tiny one of each is trained on the spot with fairseq's own tasks, then goes through
preprocessing, stage 1, its ticket, stage 2, a delta and the leaderboard's file.
"""

from __future__ import annotations

import importlib.util
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.glue.suite import TASKS
from fairseq_dwt.ticket import Ticket
from tests.glue.fixture_data import sentence, write_task
from tests.processes import python

sentencepiece = pytest.importorskip("sentencepiece")
SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "glue" / "preprocess.py"


def fairseq(module: str, *options: object) -> None:
    python("-m", f"fairseq_cli.{module}", *map(str, options), cwd=".")


def foreign(text: str) -> str:
    """The same words in another script."""
    return text.translate({ord(a): ord(a) + 0x430 - 0x61 for a in "abcdefghijklmnopqrstuvwxyz"})


@pytest.fixture(scope="module", params=["xlmr", "camembert"])
def model(request, tmp_path_factory) -> SimpleNamespace:
    """Paths of ``model.pt``, ``dict.txt`` and ``sentencepiece.bpe.model``."""
    work = tmp_path_factory.mktemp(request.param)
    rng = random.Random(1)
    texts = {"en": [sentence(rng) for _ in range(300)]}
    if request.param == "xlmr":
        texts["ru"] = [foreign(text) for text in texts["en"]]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for some in texts.values() for text in some]),
        model_prefix=str(work / "m"),
        vocab_size=150,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(work / "m.model"))
    pieces = [processor.id_to_piece(i) for i in range(3, processor.get_piece_size())]
    (work / "dict.txt").write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    # XLM-R's data are a folder for each language beside the dictionary, the others' one folder
    data = work / "data-bin"
    for language, lines in texts.items():
        encoded = [" ".join(line) for line in processor.encode(lines, out_type=str)]
        (work / language).write_text("\n".join(encoded) + "\n", encoding="utf-8")
        target = data / language if request.param == "xlmr" else data
        fairseq(
            "preprocess", "--only-source", "--srcdict", work / "dict.txt", "--trainpref",
            work / language, "--validpref", work / language, "--destdir", target,
        )  # fmt: skip
    (data / "dict.txt").write_bytes((work / "dict.txt").read_bytes())
    task = {"xlmr": "multilingual_masked_lm", "camembert": "masked_lm"}[request.param]
    fairseq(
        "train", data, "--task", task, "--criterion", "masked_lm", "--arch", "roberta",
        "--encoder-layers", 2, "--encoder-embed-dim", 16, "--encoder-ffn-embed-dim", 32,
        "--encoder-attention-heads", 2, "--max-positions", 128, "--tokens-per-sample", 128,
        "--sample-break-mode", "complete_doc", "--optimizer", "adam", "--lr", 1e-3,
        "--max-update", 20, "--max-tokens", 512, "--cpu", "--num-workers", 0,
        "--no-epoch-checkpoints", "--disable-validation", "--save-dir", work, "--log-format", "none",
    )  # fmt: skip
    return SimpleNamespace(
        init=str(work / "checkpoint_last.pt"),
        dict=str(work / "dict.txt"),
        pieces=str(work / "m.model"),
        languages=sorted(texts),
    )


def test_from_text_to_the_leaderboard(model, train, tmp_path, capsys):
    task = TASKS["rte"]
    write_task(tmp_path / "glue" / "RTE", task, 40)
    tokens = ["--bpe", "sentencepiece", "--sentencepiece-model", model.pieces, "--dict", model.dict]
    spec = importlib.util.spec_from_file_location("glue_preprocess", SCRIPT)
    preprocess = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(preprocess)
    folders = ["--glue-dir", str(tmp_path / "glue"), "--out", str(tmp_path / "data-bin")]
    assert preprocess.main(["--task", "RTE", *folders, *tokens]) == 0
    data = str(tmp_path / "data-bin" / "RTE")

    own = [f"task.data={data}", f"checkpoint.finetune_from_model={model.init}"]
    stage_1 = train("dwt_rte", *own, "optimization.max_update=20", folder=tmp_path / "one")
    ticket = Ticket.load(f"{stage_1}/ticket.json")
    stage_2 = train(
        "ticket_rte", *own, f"optimizer.ticket={stage_1}/ticket.json", "optimizer.k=1",
        "optimization.max_update=20", folder=tmp_path / "two",
    )  # fmt: skip
    before, after = Pretrained(model.init), load_checkpoint(f"{stage_2}/checkpoint_best.pt")
    moved = 0
    for name, old in before.tensors.items():
        if "lm_head" in name or name not in after["model"]:
            continue
        new = after["model"][name]
        assert new.shape == old.shape  # the vocabulary is the model's
        moved += int((new != old).sum())
    assert 0 < moved <= ticket.top(1).num_parameters

    delta = str(tmp_path / "rte.delta.safetensors")
    best = f"{stage_2}/checkpoint_best.pt"
    assert main(["evaluate", best, "--task", "rte", "--data", data]) == 0
    assert main(["export", "--init", model.init, "--tuned", best, "-o", delta]) == 0
    archive = str(tmp_path / "submission.zip")
    command = ["predict", "--init", model.init, "--delta", delta, "--glue-test"]
    assert main([*command, str(tmp_path / "glue"), *tokens, "-o", archive]) == 0
    with zipfile.ZipFile(archive) as content:
        rows = content.read("RTE.tsv").decode().splitlines()[1:]
    assert len(rows) == 40 and {row.split("\t")[1] for row in rows} <= set(task.labels)
    assert torch.isfinite(next(iter(after["model"].values()))).all()

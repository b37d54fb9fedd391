"""Deltas of three real tasks on one real encoder (DWT_REAL_DIR): swapped, mixed, merged, exported."""

from __future__ import annotations

import os
import random
from types import SimpleNamespace

import pytest
import torch

from fairseq_dwt.checkpoint import Pretrained
from fairseq_dwt.cli import main
from fairseq_dwt.delta import Delta
from fairseq_dwt.glue.bpe import bert_encoder
from fairseq_dwt.glue.suite import TASKS
from fairseq_dwt.glue.tsv import read_rows
from fairseq_dwt.serving import DeltaHost, MixedTasks
from fairseq_dwt.serving.model import load_roberta
from fairseq_dwt.serving.predict import Predictor
from tests.processes import python

NAMES = {"mrpc": "MRPC", "cola": "CoLA", "sst_2": "SST-2"}


@pytest.fixture(scope="module")
def trained(stand, stage_1, tmp_path_factory):
    """A delta and a merged checkpoint of each task, after 12 updates inside stage 1's ticket."""
    folder = tmp_path_factory.mktemp("deltas")
    for name, data in NAMES.items():
        run, delta = str(folder / name), str(folder / f"{name}.delta.safetensors")
        python(
            "-m", "fairseq_cli.hydra_train", "--config-name", f"ticket_{name}",
            f"task.data=data-bin/{data}", f"checkpoint.finetune_from_model={stand.init}",
            "optimization.max_update=12", "lr_scheduler.warmup_updates=2",
            "optimization.lr=[3e-3]", f"hydra.run.dir={run}", "optimizer.ticket=dwt/ticket.json",
            cwd=stand.folder,
        )  # fmt: skip
        tuned = os.path.join(run, "checkpoint_last.pt")
        assert main(["export", "--init", stand.init, "--tuned", tuned, "-o", delta]) == 0
        merged = os.path.join(run, "merged.pt")
        assert main(["apply", "--init", stand.init, "--delta", delta, "-o", merged]) == 0
    deltas = {name: Delta.load(str(folder / f"{name}.delta.safetensors")) for name in NAMES}
    return SimpleNamespace(folder=folder, deltas=deltas, pretrained=Pretrained(stand.init))


@pytest.fixture(scope="module")
def dev(real_dir):
    """The whole dev sets: ``{task: (examples, gold labels)}``."""
    read = {}
    for name, folder in NAMES.items():
        split = TASKS[name].splits[1]
        rows = read_rows(os.path.join(real_dir, "glue", folder, split.file), TASKS[name], split)
        read[name] = list(zip(*rows.inputs)), rows.labels
    return read


@pytest.fixture(scope="module")
def predictor(stand, trained):
    encode = bert_encoder(os.path.join(stand.minilm, "vocab.txt"))
    return Predictor(trained.pretrained, encode, os.path.join(stand.minilm, "dict.txt"))


def test_a_task_is_a_small_file(stand, trained):
    for name, delta in trained.deltas.items():
        path = trained.folder / f"{name}.delta.safetensors"
        head = sum(t.numel() * 4 for t in delta.head.values())
        assert os.path.getsize(path) < 4 * delta.ticket.num_parameters + head + 12_000
        assert os.path.getsize(path) < os.path.getsize(stand.init) / 50


def test_1000_random_swaps_leave_every_bit(trained):
    model = load_roberta(trained.pretrained)
    before = {n: t.detach().clone() for n, t in model.state_dict().items()}
    host = DeltaHost(model)
    generator = random.Random(0)
    names = [generator.choice(sorted(trained.deltas)) for _ in range(1000)]
    for name in names:
        host.switch("task", trained.deltas[name])
    host.detach("task")
    after = model.state_dict()
    assert list(after) == list(before)
    for name, tensor in before.items():
        assert torch.equal(after[name].view(torch.int32), tensor.view(torch.int32)), name


def test_a_mixed_batch_gives_each_row_its_own_models_logits(trained, dev, predictor):
    examples, tasks = [], []
    for i in range(30):
        name = sorted(NAMES)[i % 3]
        examples.append(dev[name][0][i])
        tasks.append(name)
    tokens = torch.nn.utils.rnn.pad_sequence(
        [
            predictor.tokens(trained.deltas[name], [example])[0]
            for name, example in zip(tasks, examples)
        ],
        batch_first=True,
        padding_value=1,
    )
    mixed = MixedTasks(load_roberta(trained.pretrained))
    for name, delta in trained.deltas.items():
        mixed.add(name, delta)
    logits = mixed(tokens, tasks)
    alone = load_roberta(trained.pretrained)
    host = DeltaHost(alone)
    base = None
    for name, delta in trained.deltas.items():
        host.switch("task", delta)
        with torch.no_grad():
            expected = alone(tokens, features_only=True, classification_head_name="task")[0]
        for row in [i for i, task in enumerate(tasks) if task == name]:
            torch.testing.assert_close(logits[row], expected[row], atol=1e-4, rtol=1e-4)
        assert base is None or not torch.allclose(base, expected, atol=1e-2)
        base = expected


def test_predictions_merged_checkpoint_and_hugging_face_agree(stand, trained, dev, predictor):
    """All of MRPC's dev set: our predict, stock fairseq without the plugin, transformers."""
    pairs, _ = dev["mrpc"]
    ours = predictor(trained.deltas["mrpc"], pairs)
    assert len(ours) == 408
    run = trained.folder / "mrpc"

    code = f"""
import sys, torch
from fairseq.models.roberta import RobertaModel
hub = RobertaModel.from_pretrained({str(run)!r}, 'merged.pt', {str(stand.folder / "data-bin/MRPC")!r}, bpe=None)
tokens = torch.load({str(run / "tokens.pt")!r})
hub.eval()
scores = [hub.predict('sentence_classification_head', t[None]).exp()[0] for t in tokens]
torch.save(torch.stack(scores), {str(run / "scores.pt")!r})
assert 'fairseq_dwt' not in sys.modules
"""
    torch.save(predictor.tokens(trained.deltas["mrpc"], pairs), run / "tokens.pt")
    python("-c", code, cwd=str(run))
    stock = torch.load(run / "scores.pt")
    expected = torch.stack([prediction.scores for prediction in ours])
    torch.testing.assert_close(stock, expected, atol=1e-5, rtol=0)
    assert len({prediction.label for prediction in ours}) == 2

    transformers = pytest.importorskip("transformers")
    folder = str(run / "hf")
    export = [
        "export-hf", str(run / "merged.pt"), "-o", folder, "--bpe", "bert", "--vocab-file",
        os.path.join(stand.minilm, "vocab.txt"), "--dict", os.path.join(stand.minilm, "dict.txt"),
    ]  # fmt: skip
    assert main(export) == 0
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for start in range(0, len(pairs), 24):
        rows = [tuple(sentence.strip() for sentence in pair) for pair in pairs[start : start + 24]]
        inputs = tokenizer(
            [a for a, _ in rows], [b for _, b in rows], padding=True, return_tensors="pt"
        )
        with torch.no_grad():
            theirs = model(**inputs).logits.softmax(-1)
        wanted = expected[start : start + 24]
        torch.testing.assert_close(theirs, wanted, atol=1e-5, rtol=0)
        named = [model.config.id2label[i] for i in theirs.argmax(-1).tolist()]
        assert named == [prediction.label for prediction in ours[start : start + 24]]

    # and back: the folder is a checkpoint again
    back = str(run / "back" / "model.pt")
    assert main(["import-hf", folder, "-o", back]) == 0
    first, second = (Pretrained(path).fingerprint for path in (str(run / "merged.pt"), back))
    assert first == second

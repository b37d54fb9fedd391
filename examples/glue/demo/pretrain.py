"""Pre-trains the demo's tiny RoBERTa from nothing: text, vocabulary, masked language modelling.

    python examples/glue/demo/pretrain.py --work build/pretraining

Generates the text (``grammar.py``), trains a SentencePiece vocabulary on it, binarises it with
``fairseq-preprocess``, trains with fairseq's own ``masked_lm`` task and writes ``model/``: the
model as half-precision tensors without optimizer state, in the layout of
``roberta.large/model.pt``, its vocabulary and its loss curve. One seed fixes text and training.
Needs sentencepiece; matplotlib for the figure.
"""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from grammar import write_corpus

HERE = Path(__file__).resolve().parent
SHAPE = {"layers": 4, "embed-dim": 128, "ffn-embed-dim": 512, "attention-heads": 4}
MAX_POSITIONS = 128
# Everything a loader asks of a RoBERTa checkpoint's args; paths of this machine stay out.
KEPT_ARGS = (
    "arch task criterion optimizer lr_scheduler encoder_layers encoder_embed_dim "
    "encoder_ffn_embed_dim encoder_attention_heads max_positions tokens_per_sample "
    "sample_break_mode activation_fn pooler_activation_fn dropout attention_dropout "
    "activation_dropout pooler_dropout mask_prob leave_unmasked_prob random_token_prob "
    "adam_betas adam_eps weight_decay clip_norm lr warmup_updates total_num_update max_update seed"
).split()


def train_vocabulary(work: Path, pieces: int) -> None:
    """Train SentencePiece (byte-pair encoding, caseless); write fairseq's ``dict.txt`` too."""
    import sentencepiece

    trained = io.BytesIO()  # reading and writing by name would store the names in the model
    with open(work / "corpus.train.txt", encoding="utf-8") as lines:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line.rstrip("\n") for line in lines),
            model_writer=trained,
            model_type="bpe",  # frequent words stay whole; unigram split "that" here
            vocab_size=pieces,
            character_coverage=1.0,
            normalization_rule_name="nmt_nfkc_cf",  # "The" and "the" are one piece
            input_sentence_size=100_000,
            shuffle_input_sentence=False,
            num_threads=1,  # the sums, hence the vocabulary, depend on it
            minloglevel=1,
        )
    (work / "sentencepiece.model").write_bytes(trained.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_file=str(work / "sentencepiece.model"))
    counts: Counter = Counter()
    for split in ("train", "valid"):
        source = (work / f"corpus.{split}.txt").read_text(encoding="utf-8").split("\n")[:-1]
        with open(work / f"pieces.{split}.txt", "w", encoding="utf-8") as target:
            for pieces_of_line in model.encode(source, out_type=str):
                counts.update(pieces_of_line)
                target.write(" ".join(pieces_of_line) + "\n")
    # fairseq brings its own <unk>, <s> and </s>, so the first three pieces are left out.
    with open(work / "dict.txt", "w", encoding="utf-8") as target:
        for index in range(3, model.get_piece_size()):
            piece = model.id_to_piece(index)
            target.write(f"{piece} {counts[piece]}\n")


def run_fairseq(module: str, *options: str, log: Path, threads: int) -> None:
    """Run one of fairseq's commands with this Python; its output goes to a file."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    with open(log, "w", encoding="utf-8") as output:
        command = [sys.executable, "-m", f"fairseq_cli.{module}", *options]
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=env)
    if status.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:])
        raise SystemExit(f"fairseq_cli.{module} failed; the end of {log}:\n{tail}")


def binarise(work: Path, threads: int) -> None:
    """Pieces to fairseq's binary format."""
    run_fairseq(
        "preprocess",
        "--only-source",
        *("--srcdict", str(work / "dict.txt")),
        *("--trainpref", str(work / "pieces.train.txt")),
        *("--validpref", str(work / "pieces.valid.txt")),
        *("--destdir", str(work / "data-bin")),
        *("--workers", "1"),
        log=work / "preprocess.log",
        threads=threads,
    )


def train(work: Path, args: argparse.Namespace) -> None:
    """RoBERTa's masked language modelling, post-norm as there, without gradient clipping."""
    shape = [option for k, v in SHAPE.items() for option in (f"--encoder-{k}", str(v))]
    run_fairseq(
        "train",
        str(work / "data-bin"),
        *("--task", "masked_lm", "--criterion", "masked_lm", "--arch", "roberta"),
        *shape,
        *("--max-positions", str(MAX_POSITIONS), "--tokens-per-sample", str(MAX_POSITIONS)),
        *("--sample-break-mode", "complete_doc", "--mask-prob", str(args.mask_prob)),
        *("--dropout", "0.0", "--attention-dropout", "0.0", "--activation-dropout", "0.0"),
        *("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-6"),
        *("--weight-decay", "0.01", "--clip-norm", "0.0"),
        *("--lr", str(args.lr), "--lr-scheduler", "polynomial_decay"),
        *("--warmup-updates", str(args.updates // 15), "--total-num-update", str(args.updates)),
        *("--max-update", str(args.updates), "--max-tokens", str(args.max_tokens)),
        *("--max-tokens-valid", "8192", "--skip-invalid-size-inputs-valid-test"),
        *("--validate-interval-updates", str(max(1, args.updates // 12))),
        *("--save-dir", str(work / "checkpoints"), "--no-epoch-checkpoints"),
        *("--save-interval-updates", "0", "--log-format", "json", "--log-interval", "50"),
        *("--seed", str(args.seed), "--num-workers", "0"),
        *([] if args.gpu else ["--cpu"]),
        log=work / "train.log",
        threads=args.threads,
    )


def loss_curve(log: Path) -> dict[str, list[dict[str, float]]]:
    """Training and held-out losses (bits per masked piece) from fairseq's JSON log."""
    curve: dict[str, list[dict[str, float]]] = {"train": [], "valid": []}
    for line in log.read_text(encoding="utf-8").splitlines():
        kind = "train" if "| train_inner |" in line else "valid" if "| valid |" in line else ""
        if not kind:
            continue
        entry: dict[str, Any] = json.loads(line[line.index("{") :])
        prefix = "" if kind == "train" else "valid_"
        curve[kind].append(
            {
                "updates": int(entry[prefix + "num_updates"]),
                "loss": float(entry[prefix + "loss"]),
                "ppl": float(entry[prefix + "ppl"]),
            }
        )
    return curve


def export(work: Path, out: Path) -> None:
    """The trained model in half precision, as fairseq publishes its RoBERTas."""
    import torch

    # This file was written a moment ago by the run above; hence the full unpickler.
    state = torch.load(
        work / "checkpoints" / "checkpoint_last.pt", map_location="cpu", weights_only=False
    )
    trained = state["cfg"]["model"]
    kept = {key: getattr(trained, key) for key in KEPT_ARGS if hasattr(trained, key)}
    model = {
        key: value.half() if value.is_floating_point() else value
        for key, value in state["model"].items()
    }
    history = {
        "criterion_name": "MaskedLmLoss",
        "optimizer_name": "FairseqAdam",
        "lr_scheduler_state": {},
        "num_updates": state["optimizer_history"][-1]["num_updates"],
    }
    published = {
        "args": argparse.Namespace(**kept),
        "model": model,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }
    out.mkdir(parents=True, exist_ok=True)
    torch.save(published, out / "model.pt")
    for name in ("dict.txt", "sentencepiece.model"):
        (out / name).write_bytes((work / name).read_bytes())


def draw(curve: dict[str, list[dict[str, float]]], path: Path) -> None:
    """The loss curve as a figure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.2))
    for kind, style in (("train", "-"), ("valid", "o-")):
        points = curve[kind]
        label = "training" if kind == "train" else "held out"
        axes.plot([p["updates"] for p in points], [p["loss"] for p in points], style, label=label)
    axes.set_xlabel("updates")
    axes.set_ylabel("loss (bits per masked piece)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for intermediate files")
    parser.add_argument("--out", type=Path, default=HERE / "model")
    parser.add_argument("--sentences", type=int, default=300_000)
    parser.add_argument("--pieces", type=int, default=2000)
    parser.add_argument("--updates", type=int, default=3600)
    parser.add_argument("--max-tokens", type=int, default=2048, help="pieces per batch")
    parser.add_argument("--mask-prob", type=float, default=0.2)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", action="store_true", help="train on a GPU instead of the CPU")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    start = time.time()

    def step(what: str) -> None:
        print(f"[{time.time() - start:6.1f} s] {what}", flush=True)

    step(f"generating {args.sentences} sentences")
    write_corpus(args.work, args.sentences, args.seed)
    step(f"training a vocabulary of {args.pieces} pieces")
    train_vocabulary(args.work, args.pieces)
    step("binarising")
    binarise(args.work, args.threads)
    step(f"training for {args.updates} updates; watch {args.work / 'train.log'}")
    train(args.work, args)
    step(f"writing {args.out}")
    export(args.work, args.out)
    curve = loss_curve(args.work / "train.log")
    record = {
        "sentences": args.sentences,
        "pieces": args.pieces,
        "shape": SHAPE,
        "updates": args.updates,
        "max_tokens": args.max_tokens,
        "mask_prob": args.mask_prob,
        "lr": args.lr,
        "seed": args.seed,
        "device": "gpu" if args.gpu else f"cpu, {args.threads} threads",
        "python": platform.python_version(),
        "wall_seconds": round(time.time() - start),
        "final": {kind: points[-1] for kind, points in curve.items()},
        "curve": curve,
    }
    (args.out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(curve, args.out / "loss.png")
    step(f"held-out loss {curve['valid'][-1]['loss']} bits per masked piece")


if __name__ == "__main__":
    main()

"""When in pre-training do the columns of a ticket separate, and with what?

    python benchmarks/emergence.py --glue-dir glue_data --out emergence
    python benchmarks/emergence.py --table docs/emergence.json
    python benchmarks/emergence_figure.py docs/emergence.json docs/figures

A RoBERTa of 4 layers, width 192, is pre-trained from nothing on the sentences of
``language_model.py`` and kept at twenty moments. Of each: the loss of MLM, what its inputs and
norms are like, its forward and one-shot tickets on SST-2; of every second one, what SST-2 learns
inside its one-shot ticket, a random one and without one. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from adapt import call
from fairseq.data import Dictionary, data_utils
from language_model import prepare
from machine import machine
from torch import Tensor
from tqdm import tqdm

from fairseq_dwt import register
from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.files import replacing
from fairseq_dwt.find.explain import overlaps, reasons
from fairseq_dwt.find.oneshot import rank
from fairseq_dwt.report.runs import read_run
from fairseq_dwt.run.config import compose
from fairseq_dwt.run.first_batches import look_with_config
from fairseq_dwt.serving.model import load_roberta
from fairseq_dwt.ticket import Origin, Ticket
from fairseq_dwt.ticket.similarity import similarity

MOMENTS: tuple[int, ...]
MOMENTS = (1, 30, 60, 100, 150, 200, 300, 400, 500, 600, 800, 1000, 1250, 1500, 2000, 2500, 3000)
MOMENTS += (4000, 5000, 6000)
MODEL = (
    "--task masked_lm --criterion masked_lm --arch roberta --encoder-layers 4 "
    "--encoder-embed-dim 192 --encoder-ffn-embed-dim 768 --encoder-attention-heads 6 "
    "--max-positions 128 --tokens-per-sample 128 --sample-break-mode complete --mask-prob 0.15 "
    "--dropout 0 --attention-dropout 0 --optimizer adam --adam-betas (0.9,0.98) --adam-eps 1e-6 "
    "--weight-decay 0.01 --clip-norm 0 --lr 1e-3 --lr-scheduler polynomial_decay "
    "--warmup-updates 400 --batch-size 16 --seed 1 --cpu --num-workers 0 --log-format json "
    "--skip-invalid-size-inputs-valid-test --log-interval 50 --no-epoch-checkpoints"
).split()
TASK, ROWS, BATCHES = "SST-2", 400, 32
#: What SST-2 is trained by: config, settings, learning rate.
METHODS = {
    "full": ("full_sst_2", [], "5e-4"),
    "One-shot-1": ("ticket_sst_2", ["optimizer.ticket=oneshot", "optimizer.k=1"], "3e-3"),
    "Random-1": ("random_sst_2", ["optimizer.k=1"], "3e-3"),
}
UPDATES = 400


def pretrain(out: str) -> None:
    """One pre-training, launched again at every moment, at which its weights are kept."""
    os.makedirs(f"{out}/moments", exist_ok=True)
    last = f"{out}/pre/checkpoint_last.pt"
    for moment in tqdm(MOMENTS, desc="pre-training"):
        kept, log = f"{out}/moments/{moment}.pt", f"{out}/pre-{moment}.log"
        if os.path.isfile(kept):
            continue
        # fairseq would make one update more of a run that is at its end
        if not os.path.isfile(last) or _updates(torch.load(last, weights_only=False)) < moment:
            schedule = ["--total-num-update", str(MOMENTS[-1]), "--max-update", str(moment)]
            given = [f"{out}/bin-all", *MODEL, *schedule, "--save-dir", f"{out}/pre"]
            call("fairseq-train", *given, log=log)
        state = torch.load(last, weights_only=False)
        assert _updates(state) == moment, f"{last}: remove {out}/pre and {out}/moments"
        with open(log, encoding="utf-8") as file:
            loss = re.findall(r'"valid_loss": "([\d.]+)"', file.read())[-1]
        state.update(last_optimizer_state=None, extra_state={"mlm": float(loss)})
        with replacing(kept) as path:
            torch.save(state, path)


def _updates(state: dict[str, Any]) -> int:
    return int(state["optimizer_history"][-1]["num_updates"])


def binarise(out: str, glue: str) -> None:
    """SST-2 in the model's vocabulary."""
    if os.path.isfile(f"{out}/data-bin/{TASK}/label/dict.txt"):
        return
    script = os.path.join(os.path.dirname(__file__), "..", "examples", "glue", "preprocess.py")
    given = ["--glue-dir", glue, "--task", TASK, "--out", f"{out}/data-bin"]
    given += ["--bpe", "sentencepiece", "--sentencepiece-model", f"{out}/spm.model"]
    call("python", script, *given, "--dict", f"{out}/dict.txt", plugin=True)


def settings(model: str, data: str) -> list[str]:
    """What all runs on a model have in common."""
    given = [f"task.data={os.path.abspath(data)}", "common.cpu=true", "common.fp16=false"]
    return [*given, f"checkpoint.finetune_from_model={os.path.abspath(model)}"]


def of_moment(out: str, moment: int) -> list[str]:
    """Of a moment's model."""
    return settings(f"{out}/moments/{moment}.pt", f"{out}/data-bin/{TASK}")


def look(given: list[str]) -> tuple[dict[str, Any], dict[str, Ticket]]:
    """How far the columns of a model have separated, and its tickets."""
    cfg = compose("ticket_sst_2", [*given, "optimizer.ticket=oneshot", "task.cwd=/"])
    seen = look_with_config(cfg, BATCHES)
    found, gradients = reasons(seen), seen.gradients
    shapes = {m.name: m.shape for m in seen.pretrained.matrices}
    tickets = {
        word: rank(found[reason], shapes, Origin(word))
        for word, reason in (
            ("oneshot", "gradient (one-shot)"),
            ("forward", "means and <s> (forward)"),
        )
    }
    by_k = {k: overlaps(found, tickets["oneshot"], k) for k in (1, 3)}
    measured = {
        "largest over median": {r: _spread(values) for r, values in found.items()},
        "share of the gradient": {k: _share(gradients, k) for k in (1, 3)},
        "names one-shot's": {
            reason: [by_k[k][reason].per_matrix for k in (1, 3)] for reason in found
        },
    }
    return measured, tickets


def _spread(values: dict[str, Tensor]) -> float:
    """The largest over the median column, the bias left out: the median of matrices."""
    ratios = [float(v[:-1].max() / v[:-1].median().clamp_min(1e-12)) for v in values.values()]
    return statistics.median(ratios)


def _share(gradients: Mapping[str, Tensor], k: int) -> float:
    """Which share of ‖∂L/∂W‖² is in the k columns with the largest: the mean of matrices."""
    return statistics.mean(float(g.topk(k).values.sum() / g.sum()) for g in gradients.values())


def skeleton(ticket: Ticket) -> list[int]:
    """The three dimensions that most of the matrices that read the residual stream name."""
    named: Counter[int] = Counter()
    for name, entry in ticket.top(3).matrices.items():
        if name.endswith(("q_proj", "k_proj", "v_proj", "fc1")):
            named.update(c for c in entry.columns if c < entry.shape[1])
    return [dimension for dimension, _ in named.most_common(3)]


def goes_with(out: str, moment: int, dimensions: list[int]) -> dict[str, list[float]]:
    """What a dimension of the residual stream goes with: mean over ``dimensions``, and over all.

    R² of the inputs of each layer's Q, over tokens that are not ``<s>``, with the logarithm of the
    token's frequency and with its position; root mean square at ``<s>`` over that elsewhere.
    """
    model = load_roberta(Pretrained(f"{out}/moments/{moment}.pt"))
    words = Dictionary.load(f"{out}/dict.txt")
    text = data_utils.load_indexed_dataset(f"{out}/data-bin/{TASK}/input0/valid", words)
    counts = Counter(int(t) for i in range(len(text)) for t in text[i])
    seen: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        if name.endswith("q_proj"):
            module.register_forward_pre_hook(
                lambda _m, inputs, name=name: seen.setdefault(name, []).append(inputs[0])
            )
    frequency, position = [], []
    with torch.no_grad():
        for i in range(min(ROWS, len(text))):
            row = torch.cat([torch.tensor([words.bos()]), text[i].long()])
            model(row[None], features_only=True)
            frequency += [float(counts[int(t)] or 1) for t in row]
            position += list(range(len(row)))
    place, often = torch.tensor(position), torch.tensor(frequency).log()
    found = []
    for inputs in seen.values():
        x = torch.cat([one.reshape(-1, one.shape[-1]) for one in inputs])
        rest = place > 0
        first = x[~rest].square().mean(0).sqrt() / x[rest].square().mean(0).sqrt()
        rows = [_r2(x[rest], often[rest]), _r2(x[rest], place[rest].float()), first]
        found.append(torch.stack(rows))
    mean = torch.stack(found).mean(0)
    names = ("frequency", "position", "<s>")
    return {n: [float(r[dimensions].mean()), float(r.mean())] for n, r in zip(names, mean)}


def _r2(x: Tensor, y: Tensor) -> Tensor:
    """R² of every column of x (tokens, dimensions) with y (tokens,)."""
    x, y = x - x.mean(0), y - y.mean()
    return (x.t() @ y).square() / (x.square().sum(0) * y.square().sum()).clamp_min(1e-12)


def train(out: str, moment: int) -> dict[str, float]:
    """SST-2's dev accuracy by every method, best of the validations, per cent."""
    found = {}
    for method, (config, own, rate) in METHODS.items():
        folder = os.path.abspath(f"{out}/runs/{method}-{moment}")
        if not (os.path.isdir(folder) and read_run(folder).finished):
            given = ["--config-name", config, *of_moment(out, moment), *own]
            given += [f"optimization.lr=[{rate}]", f"optimization.max_update={UPDATES}"]
            given += [f"lr_scheduler.warmup_updates={UPDATES // 16}", f"hydra.run.dir={folder}"]
            given += ["dataset.validate_interval_updates=200", "checkpoint.no_save=true"]
            call("fairseq-hydra-train", *given, plugin=True)
        found[method] = read_run(folder).best or 0.0
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All moments; the last one's ticket is what the others are compared with."""
    register()
    looked = {m: look(of_moment(args.out, m)) for m in tqdm(MOMENTS, desc="looking")}
    last = looked[MOMENTS[-1]][1]
    dimensions = skeleton(last["oneshot"])
    moments = []
    for number, moment in enumerate(tqdm(MOMENTS, desc="training")):
        row, tickets = looked[moment]
        kept = load_checkpoint(f"{args.out}/moments/{moment}.pt")
        row["mlm"] = kept["extra_state"]["mlm"]
        row["like the last"] = {
            word: [similarity(ticket.top(k), last[word].top(k)).per_matrix for k in (1, 3)]
            for word, ticket in tickets.items()
        }
        row["goes with"] = goes_with(args.out, moment, dimensions)
        if number % 2:
            row[TASK] = train(args.out, moment)
        moments.append({"updates": moment, **row})
    result = {"machine": machine(), "skeleton": dimensions, "moments": moments}
    if args.beside:
        result["beside"] = look(settings(*args.beside))[0]
    return result


def table(result: dict[str, Any]) -> str:
    """Markdown: a moment a row."""
    text = "| updates | MLM loss | <s>: largest / median | gradient's share, k = 1 | one-shot like "
    text += "the last, k = 1, 3 | forward names one-shot's, k = 1, 3 | <s> / others, skeleton | "
    text += "full | One-shot-1 | Random-1 |\n|" + "---:|" * 10 + "\n"
    for row in result["moments"]:
        cells = [f"{row['updates']:,}", f"{row['mlm']:.2f}"]
        cells.append(f"{row['largest over median']['inputs, <s>']:.1f}")
        cells.append(f"{row['share of the gradient']['1']:.2f}")
        pairs = row["like the last"]["oneshot"], row["names one-shot's"]["means and <s> (forward)"]
        cells += [", ".join(f"{one:.2f}" for one in pair) for pair in pairs]
        cells.append(f"{row['goes with']['<s>'][0]:.1f}")
        cells += [f"{row[TASK][m]:.1f}" if TASK in row else "" for m in METHODS]
        text += "| " + " | ".join(cells) + " |\n"
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glue-dir", default="glue_data", help="GLUE's tables [%(default)s]")
    parser.add_argument("--out", default="emergence", help="folder of data and runs [%(default)s]")
    parser.add_argument(
        "--beside", nargs=2, metavar=("MODEL", "DATA"), help="another model, to compare with"
    )
    parser.add_argument("--table", metavar="FILE", help="print a file's table; run nothing")
    args = parser.parse_args()
    if args.table is None:
        prepare(args.out, args.glue_dir)
        binarise(args.out, args.glue_dir)
        pretrain(args.out)
        with replacing(f"{args.out}/emergence.json") as path, open(path, "w") as file:
            json.dump(measure(args), file, indent=1)
        args.table = f"{args.out}/emergence.json"
    with open(args.table, encoding="utf-8") as file:
        print(table(json.load(file)))


if __name__ == "__main__":
    main()

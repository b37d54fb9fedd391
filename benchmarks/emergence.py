"""When in pre-training do the columns of a ticket separate, and with what?

    python benchmarks/emergence.py --glue-dir glue_data --out emergence
    python benchmarks/emergence.py --table docs/emergence.json

A RoBERTa of 4 layers, width 192, is pre-trained from nothing on the sentences of
``language_model.py`` and kept at twenty moments. Of each: the loss of MLM, what its inputs and
norms are like, its tickets on SST-2 (forward, one-shot, L1), and what SST-2 learns inside them.
Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
import re

import torch
from adapt import call
from language_model import prepare
from tqdm import tqdm

from fairseq_dwt.files import replacing

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


def pretrain(out: str, moments: tuple[int, ...]) -> None:
    """One pre-training, launched again at every moment, at which its weights are kept."""
    for moment in tqdm(moments, desc="pre-training"):
        kept = f"{out}/moments/{moment}.pt"
        if os.path.isfile(kept):
            continue
        os.makedirs(f"{out}/moments", exist_ok=True)
        schedule = ["--total-num-update", str(moments[-1]), "--max-update", str(moment)]
        given = [f"{out}/bin-all", *MODEL, *schedule, "--save-dir", f"{out}/pre"]
        said = call("fairseq-train", *given, log=f"{out}/pre-{moment}.log")
        state = torch.load(f"{out}/pre/checkpoint_last.pt", weights_only=False)
        loss = re.findall(r'"valid_loss": "([\d.]+)"', said)[-1]
        state.update(last_optimizer_state=None, extra_state={"mlm": float(loss)})
        with replacing(kept) as path:
            torch.save(state, path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glue-dir", default="glue_data", help="GLUE's tables [%(default)s]")
    parser.add_argument("--out", default="emergence", help="folder of data and runs [%(default)s]")
    args = parser.parse_args()
    prepare(args.out, args.glue_dir)
    pretrain(args.out, MOMENTS)


if __name__ == "__main__":
    main()

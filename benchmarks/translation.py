"""Is a ticket worth it in translation? A small transformer, adapted to another domain.

    python benchmarks/translation.py --out translation            all of it: an hour of one core
    python benchmarks/translation.py --table docs/translation.json

Real text: the message catalogues (``.mo``) that a Debian's packages install, English to French. The
transformer is pre-trained on all packages but one, and adapted to that one (git): full
fine-tuning, tickets of L1, one-shot and random columns, BitFit; BLEU of the adapted domain's test
set by sacrebleu, through fairseq-generate, which knows nothing of tickets. Goes on where it was
stopped: what is there is not made again.
"""

from __future__ import annotations

import argparse
import gettext
import glob
import json
import os
import random
import re

from adapt import add_settings, call, encode, measure, table, vocabulary, write

#: The domain that is adapted to; in no sentence of the pre-training.
DOMAIN = "git"
MODEL = (
    "--task translation --arch transformer --encoder-layers 3 --decoder-layers 3 "
    "--encoder-embed-dim 128 --decoder-embed-dim 128 --encoder-ffn-embed-dim 512 "
    "--decoder-ffn-embed-dim 512 --encoder-attention-heads 4 --decoder-attention-heads 4 "
    "--share-all-embeddings --dropout 0.1 --attention-dropout 0.1 "
    "--criterion label_smoothed_cross_entropy --label-smoothing 0.1 --optimizer adam "
    "--adam-betas (0.9,0.98) --clip-norm 1.0 --max-tokens 2000 --cpu --num-workers 0 "
    "--log-format json --log-interval 50 --no-epoch-checkpoints --no-last-checkpoints"
).split()


def pairs(language: str) -> dict[str, list[tuple[str, str]]]:
    """``{package: its messages and their translations}``, of three to forty words."""
    found: dict[str, list[tuple[str, str]]] = {}
    seen = set()
    for path in sorted(glob.glob(f"/usr/share/locale/{language}/LC_MESSAGES/*.mo")):
        with open(path, "rb") as file:
            try:
                catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            except (OSError, UnicodeDecodeError, ValueError):
                continue
        kept = []
        for source, target in catalog.items():
            if not isinstance(source, str) or source == target or source in seen:
                continue
            one, other = (" ".join(text.split()) for text in (source, target))
            if 3 <= len(one.split()) <= 40 and 1 <= len(other.split()) <= 60:
                seen.add(source)
                kept.append((one, other))
        found[os.path.basename(path)[: -len(".mo")]] = kept
    return found


def prepare(out: str, language: str) -> None:
    """Both domains as fairseq's data, of one vocabulary."""
    if os.path.isdir(f"{out}/bin-{DOMAIN}"):
        return
    found, shuffle = pairs(language), random.Random(1)
    domain = found.pop(DOMAIN)
    others = [pair for package in found.values() for pair in package]
    os.makedirs(f"{out}/text", exist_ok=True)
    for name, rows in (("all", others), (DOMAIN, domain)):
        shuffle.shuffle(rows)
        parts = {"test": rows[:300], "valid": rows[300:600], "train": rows[600:]}
        for split, part in parts.items():
            for side, lang in ((0, "en"), (1, language)):
                with open(f"{out}/text/{name}.{split}.{lang}", "w", encoding="utf-8") as file:
                    file.writelines(row[side] + "\n" for row in part)
    pieces = vocabulary(out, [f"{out}/text/all.train.en", f"{out}/text/all.train.{language}"], 4000)
    for name in ("all", DOMAIN):
        for path in glob.glob(f"{out}/text/{name}.*"):
            split, lang = path.split(".")[-2:]
            encode(pieces, path, f"{out}/text/{split}.spm-{name}.{lang}")
        prefix = {split: f"{out}/text/{split}.spm-{name}" for split in ("train", "valid", "test")}
        call(
            "fairseq-preprocess",
            *("-s", "en", "-t", language, "--destdir", f"{out}/bin-{name}"),
            *("--trainpref", prefix["train"], "--validpref", prefix["valid"]),
            *("--testpref", prefix["test"]),
            *("--srcdict", f"{out}/dict.txt", "--tgtdict", f"{out}/dict.txt"),
        )


def bleu(out: str, checkpoint: str) -> float:
    """Of the domain's test set."""
    kept = f"{checkpoint}.bleu"
    if not os.path.isfile(kept):
        given = [f"{out}/bin-{DOMAIN}", "--path", checkpoint, "--gen-subset", "test", "--beam", "4"]
        given += ["--remove-bpe", "sentencepiece", "--scoring", "sacrebleu", "--cpu"]
        said = call("fairseq-generate", *given, "--max-tokens", "4000")
        score = re.findall(r"Generate test with beam=\d+: BLEU\S* = ([\d.]+)", said)
        with open(kept, "w", encoding="utf-8") as file:
            file.write(score[-1])
    with open(kept, encoding="utf-8") as file:
        return float(file.read())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_settings(parser, "translation", pre_updates=3000)
    parser.add_argument("--language", default="fr", help="translated to [%(default)s]")
    args = parser.parse_args()
    if args.table:
        with open(args.table, encoding="utf-8") as file:
            print(table(json.load(file)))
        return
    prepare(args.out, args.language)
    methods = measure(args, MODEL, "all", DOMAIN, "bleu", bleu)
    print(table(write(args, methods, "translation")))


if __name__ == "__main__":
    main()

"""Is a ticket worth it in a language model? A small decoder, adapted to another domain.

    python benchmarks/language_model.py --glue-dir glue_data --out language_model
    python benchmarks/language_model.py --table docs/language_model.json

Real text: sentences of Wikipedia (QNLI), of many genres (MNLI) and of questions (QQP), on which a
transformer_lm is pre-trained, and of film reviews (SST-2), to which it is adapted. Score: the
perplexity of a piece of SST-2's dev set by fairseq-eval-lm, which knows nothing of tickets. Goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re

from adapt import add_settings, call, encode, measure, table, vocabulary, write

#: Columns of GLUE's tables that hold text.
PRETRAINED_ON = {
    "QNLI": ("question", "sentence"),
    "MNLI": ("sentence1", "sentence2"),
    "QQP": ("question1", "question2"),
}
DOMAIN = "SST-2"
TASK = "--task language_modeling --sample-break-mode none --tokens-per-sample 128".split()
MODEL = (
    "--arch transformer_lm --decoder-layers 4 --decoder-embed-dim 192 --decoder-ffn-embed-dim 768 "
    "--decoder-attention-heads 6 --share-decoder-input-output-embed --dropout 0.1 "
    "--attention-dropout 0.1 --optimizer adam --adam-betas (0.9,0.98) --clip-norm 1.0 "
    "--batch-size 16 --cpu --num-workers 0 --log-format json --log-interval 50 "
    "--no-epoch-checkpoints --no-last-checkpoints"
).split()


def column(path: str, *names: str) -> list[str]:
    """Some columns of a table of GLUE's, one text after another, each once."""
    with open(path, encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        texts = [row[name] for row in rows for name in names if row.get(name)]
    return list(dict.fromkeys(" ".join(text.split()) for text in texts))


def prepare(out: str, glue: str) -> None:
    """Both domains as fairseq's data, of one vocabulary of 6,000 pieces."""
    if os.path.isdir(f"{out}/bin-{DOMAIN}"):
        return
    general = [
        text
        for task, names in PRETRAINED_ON.items()
        for text in column(f"{glue}/{task}/train.tsv", *names)
    ]
    reviews = column(f"{glue}/{DOMAIN}/train.tsv", "sentence")
    # phrases of the training set are pieces of its sentences: the long ones are enough
    reviews = [text for text in reviews if len(text.split()) >= 8]
    parts = {"all": general, DOMAIN: reviews}
    os.makedirs(f"{out}/text", exist_ok=True)
    for name, texts in parts.items():
        random.Random(1).shuffle(texts)
        held = texts[:1000] if name == "all" else column(f"{glue}/{DOMAIN}/dev.tsv", "sentence")
        for split, rows in (
            ("train", texts[1000:]),
            ("valid", held[: len(held) // 2]),
            ("test", held[len(held) // 2 :]),
        ):
            with open(f"{out}/text/{name}.{split}", "w", encoding="utf-8") as file:
                file.writelines(row.lower() + "\n" for row in rows)
    pieces = vocabulary(out, [f"{out}/text/all.train"], 6000)
    for name in parts:
        for split in ("train", "valid", "test"):
            encode(pieces, f"{out}/text/{name}.{split}", f"{out}/text/{name}.spm.{split}")
        given = ["--only-source", "--srcdict", f"{out}/dict.txt", "--destdir", f"{out}/bin-{name}"]
        for flag, split in (("--trainpref", "train"), ("--validpref", "valid")):
            given += [flag, f"{out}/text/{name}.spm.{split}"]
        call("fairseq-preprocess", *given, "--testpref", f"{out}/text/{name}.spm.test")


def perplexity(out: str, checkpoint: str) -> float:
    """Of the domain's test set, a piece of a word at a time."""
    kept = f"{checkpoint}.ppl"
    if not os.path.isfile(kept):
        given = [f"{out}/bin-{DOMAIN}", "--path", checkpoint, "--gen-subset", "test", "--cpu"]
        said = call("fairseq-eval-lm", *given, *TASK[2:], "--batch-size", "16")
        score = re.findall(r"Perplexity: ([\d.]+)", said)
        with open(kept, "w", encoding="utf-8") as file:
            file.write(score[-1])
    with open(kept, encoding="utf-8") as file:
        return float(file.read())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_settings(parser, "language_model", pre_updates=2000)
    parser.add_argument("--glue-dir", default="glue_data", help="GLUE's tables [%(default)s]")
    args = parser.parse_args()
    if args.table:
        with open(args.table, encoding="utf-8") as file:
            print(table(json.load(file), "perplexity", "perplexity"))
        return
    glue = vars(args).pop("glue_dir")
    prepare(args.out, glue)
    methods = measure(args, TASK + MODEL, "all", DOMAIN, "perplexity", perplexity)
    print(table(write(args, methods, "language_model"), "perplexity", "perplexity"))


if __name__ == "__main__":
    main()

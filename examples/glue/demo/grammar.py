"""Writes the demo's three tasks in GLUE's own layouts, and the text its model was pre-trained on.

    python examples/glue/demo/grammar.py --out glue_data            # CoLA/, SST-2/, RTE/
    python examples/glue/demo/grammar.py --out DIR --corpus 300000   # and its text

Everything comes from the grammar in ``toy_english/``; the same seed gives the same bytes on every
machine and Python version. The tasks borrow the layouts and the questions of CoLA, SST-2 and RTE,
not a single sentence.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from toy_english.acceptability import sister_sentences
from toy_english.corpus import documents
from toy_english.entailment import pair
from toy_english.sentiment import BAD, GOOD, Reviewer

# A row without its label, and the label.
Row = tuple[tuple[str, ...], int]
SIZES = {"train": 4000, "dev": 800, "test": 100}
# Seeds of the splits and of the corpus lie apart, so that changing a size changes nothing else.
OFFSETS = {"train": 1, "dev": 2, "test": 3, "corpus.train": 4, "corpus.valid": 5}


def cola_row(rng: random.Random, split: str, label: int) -> Row:
    """One sentence; 1 is acceptable."""
    _, good, bad = sister_sentences(rng)
    return (good if label else bad,), label


def sst_row(rng: random.Random, split: str, label: int) -> Row:
    """One sentence of a review; 1 is positive. Training never sees the held-out words."""
    reviewer = Reviewer(rng, held_out=split != "train", hiding=0.5)
    return (reviewer.sentence(GOOD if label else BAD),), label


def rte_row(rng: random.Random, split: str, label: int) -> Row:
    """Premise and hypothesis; 1 is entailed."""
    return pair(rng, entailed=bool(label)), label


MAKERS: dict[str, Callable[[random.Random, str, int], Row]] = {
    "CoLA": cola_row,
    "SST-2": sst_row,
    "RTE": rte_row,
}


def task_rows(task: str, seed: int = 1) -> dict[str, list[Row]]:
    """Rows of every split of a task, half of each label, no row twice in any split."""
    seen: set[tuple[str, ...]] = set()
    rows: dict[str, list[Row]] = {}
    for split in ("dev", "test", "train"):  # dev first: a larger training set leaves it as it is
        rng = random.Random(1000 * seed + 10 * sorted(MAKERS).index(task) + OFFSETS[split])
        rows[split] = []
        while len(rows[split]) < SIZES[split]:
            row = MAKERS[task](rng, split, len(rows[split]) % 2)
            if row[0] not in seen:
                seen.add(row[0])
                rows[split].append(row)
        rng.shuffle(rows[split])
    return rows


def _lines(task: str, split: str, rows: list[Row]) -> list[str]:
    """The lines of a TSV file as GLUE lays them out."""
    if split == "test":
        header = "index\tsentence1\tsentence2" if task == "RTE" else "index\tsentence"
        return [header] + ["\t".join((str(i),) + row) for i, (row, _) in enumerate(rows)]
    if task == "CoLA":
        return [f"toy\t{label}\t{'' if label else '*'}\t{row[0]}" for row, label in rows]
    if task == "SST-2":
        return ["sentence\tlabel"] + [f"{row[0]}\t{label}" for row, label in rows]
    names = ("not_entailment", "entailment")
    return ["index\tsentence1\tsentence2\tlabel"] + [
        f"{i}\t{row[0]}\t{row[1]}\t{names[label]}" for i, (row, label) in enumerate(rows)
    ]


def write_rows(out: Path, task: str, splits: dict[str, list[Row]]) -> None:
    """Write ``out/TASK/{train,dev,test}.tsv``."""
    folder = out / task
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        text = "\n".join(_lines(task, split, rows)) + "\n"
        (folder / f"{split}.tsv").write_text(text, encoding="utf-8")


def write_tasks(out: Path, seed: int = 1) -> None:
    """Write ``out/{CoLA,SST-2,RTE}/{train,dev,test}.tsv``."""
    for task in MAKERS:
        write_rows(out, task, task_rows(task, seed))


def corpus_lines(count: int, seed: int = 1, split: str = "train") -> list[str]:
    """At least ``count`` sentences of running text, an empty line after each document."""
    rng = random.Random(1000 * seed + 900 + OFFSETS["corpus." + split])
    lines: list[str] = []
    sentences = 0
    for document in documents(rng):
        lines += document + [""]
        sentences += len(document)
        if sentences >= count:
            break
    return lines


def write_corpus(out: Path, sentences: int, seed: int = 1) -> None:
    """Write ``out/corpus.train.txt`` and a held-out ``out/corpus.valid.txt``."""
    out.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", sentences), ("valid", max(100, sentences // 100))):
        text = "\n".join(corpus_lines(count, seed, split)) + "\n"
        (out / f"corpus.{split}.txt").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=int, default=0, help="sentences of pre-training text")
    args = parser.parse_args()
    write_tasks(args.out, args.seed)
    print(f"wrote {', '.join(MAKERS)} to {args.out}")
    if args.corpus:
        write_corpus(args.out, args.corpus, args.seed)
        print(f"wrote {args.corpus} sentences of text to {args.out}")


if __name__ == "__main__":
    main()

"""Turns rated sentences into three tasks in SST-2's layout: is a sentence positive?

    python examples/glue/demo/ratings.py --ratings demo/ratings --out demo/sentences

A sentence's mean rating lies between −4 and 4; its sign is the label, and sentences within 0.5 of 0
are left out. Each task gets ``train.tsv`` and, of 500 sentences, ``dev.tsv``.
"""

import argparse
import html
import random
from pathlib import Path

#: The demo's names of the files.
SOURCES = {
    "tweets": "tweets_GroundTruth.txt",
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
}
NEUTRAL = 0.5
DEV = 500


def labelled(path: Path) -> dict[str, int]:
    """Each sentence once, and 1 where it is positive, 0 where negative.

    Args:
        path: lines of id, mean rating and sentence, separated by tabs.
    """
    labels = {}
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        _, rating, sentence = line.split("\t")
        if abs(float(rating)) > NEUTRAL:
            labels[html.unescape(sentence).strip()] = int(float(rating) > 0)
    return labels


def write_task(path: Path, folder: Path, seed: int = 1) -> None:
    """Write ``folder/train.tsv`` and ``folder/dev.tsv`` from one file of ratings."""
    rows = list(labelled(path).items())
    random.Random(seed).shuffle(rows)
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in (("dev", rows[:DEV]), ("train", rows[DEV:])):
        text = "sentence\tlabel\n" + "".join(f"{sentence}\t{label}\n" for sentence, label in part)
        (folder / f"{split}.tsv").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ratings", type=Path, required=True, help="folder of the files")
    parser.add_argument("--out", type=Path, required=True, help="writes OUT/TASK/SST-2")
    args = parser.parse_args()
    for task, file in SOURCES.items():
        write_task(args.ratings / file, args.out / task / "SST-2")
    print(f"wrote {', '.join(SOURCES)} to {args.out}")


if __name__ == "__main__":
    main()

"""A small GLUE of all eight tasks and a tiny byte-level BPE, generated: nothing is downloaded."""

from __future__ import annotations

import json
import random
from pathlib import Path

from fairseq_dwt.glue.suite import TASKS, GlueTask, Split

# Everything that text readers, tokenizers and csv parsers treat differently from one another.
# (No lone \r: there fairseq's text-mode reading would cut one sentence into two lines.)
ODD_SENTENCES = [
    "",
    " ",
    "  two  spaces   and a trailing one ",
    'He said "no", then ""yes"" and left an open quote " here',
    "'tis the cat's; they'll, we'd, I'M, don't",
    "next\u0085line, line\u2028separator, para\u2029graph",
    "vertical\x0btab, form\x0cfeed, file\x1cseparator, unit\x1fseparator",
    "\u00a0no-break\u00a0space\u3000ideographic\u3000space\u00a0",
    "zero\u200bwidth, soft\u00adhyphen, bom\ufeffinside",
    "naïve café Ünïcode ½ ² Ⅷ ٣ 10000",
    "日本語 中文 한국어 العربية हिन्दी ไทย",
    "emoji 😀👩‍👩‍👧 and combining e\u0301",
    "<s> </s> <unk> <pad> <mask> <|endoftext|> [SEP] [UNK] [MASK]",
    "Mr. O'Neill paid $3.50 (50%) #hash @at a_b \\ / | ~ `",
]
_WORDS = "the a dog cat saw heard old quickly city river , . because they it was not 1984".split()


def sentence(rng: random.Random) -> str:
    """A sentence, one in six of them an odd one."""
    if rng.random() < 1 / 6:
        return rng.choice(ODD_SENTENCES)
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 12)))


def write_task(folder: Path, task: GlueTask, rows: int = 40) -> None:
    """Write every file of a task in GLUE's layout."""
    folder.mkdir(parents=True)
    for split in task.splits:
        write_split(folder / split.file, task, split, rows, random.Random(task.name + split.name))


def write_split(path: Path, task: GlueTask, split: Split, rows: int, rng: random.Random) -> None:
    table = split.table
    lines = ["\t".join(table.columns)] if table.has_header else []
    for number in range(rows):
        if task.drops_malformed and table.label and number % 9 == 4:
            lines.append("1\t2\ta question that lost its\ttabs")
        fields = []
        for column in table.columns:
            if column in table.inputs:
                fields.append(sentence(rng))
            elif column == table.label:
                fields.append(_label(task, number, rng))
            else:
                fields.append(f"{column}-{number}" if number % 3 else "")
        lines.append("\t".join(fields))
    start = "\ufeff" if task.name == "mrpc" and table.label else ""
    path.write_bytes((start + "\n".join(lines) + "\n").encode("utf-8"))


def _label(task: GlueTask, number: int, rng: random.Random) -> str:
    if task.regression:
        return rng.choice(
            ["0.000", "5.000", "5", "2.5", "3.333", "1.267", "4.75", "0.001", "3.3333333"]
        )
    # Even numbers of each label first: MRPC gets a tie, the others a clear order.
    if task.name == "mrpc" or number < len(task.labels):
        return task.labels[number % len(task.labels)]
    return rng.choice(task.labels[1:] + task.labels)


def write_glue(folder: Path) -> Path:
    """Write all eight tasks."""
    for task in TASKS.values():
        write_task(folder / task.folder, task)
    return folder


def write_bpe(folder: Path) -> Path:
    """Write encoder.json, vocab.bpe and a dict.txt that lacks some of the ids."""
    from tokenizers import ByteLevelBPETokenizer

    folder.mkdir(parents=True)
    rng = random.Random(0)
    tokenizer = ByteLevelBPETokenizer(add_prefix_space=False)
    tokenizer.train_from_iterator(
        [sentence(rng) for _ in range(400)], vocab_size=400, min_frequency=2, show_progress=False
    )
    vocabulary_file, merges_file = tokenizer.save_model(str(folder))
    Path(merges_file).rename(folder / "vocab.bpe")
    Path(vocabulary_file).rename(folder / "encoder.json")
    ids = sorted(json.loads((folder / "encoder.json").read_text(encoding="utf-8")).values())
    rng.shuffle(ids)
    known = [f"{index} {1000 - place}\n" for place, index in enumerate(ids) if index % 10 != 3]
    (folder / "dict.txt").write_text("".join(known) + "madeupword0000 0\n", encoding="utf-8")
    return folder

"""The reference: fairseq's GLUE recipe, with coreutils, fairseq's encoder and fairseq's command.

Written after ``examples/roberta/preprocess_GLUE_tasks.sh`` from its columns and its order of
steps, independently of ``fairseq_dwt.glue`` (column numbers included).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# folder: (input columns, input columns of test, label column); columns count from 1, as cut's do
COLUMNS = {
    "QQP": ((4, 5), (2, 3), 6),
    "MNLI": ((9, 10), (9, 10), 12),
    "QNLI": ((2, 3), (2, 3), 4),
    "MRPC": ((4, 5), (4, 5), 1),
    "RTE": ((2, 3), (2, 3), 4),
    "STS-B": ((8, 9), (8, 9), 10),
    "SST-2": ((1,), (2,), 2),
    "CoLA": ((4,), (2,), 2),
}
MNLI_DEV_LABEL = 16
MNLI_SPLITS = ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched")

# One process for all commands: importing fairseq takes longer than the work.
RUN_COMMANDS = """
import json, sys
from fairseq_cli.preprocess import cli_main
for arguments in json.load(sys.stdin):
    sys.argv = ["fairseq-preprocess"] + arguments
    cli_main()
"""


def recipe(glue_dir: Path, folders: list[str], bpe_dir: Path, work: Path, out: Path) -> Path:
    """Run the recipe for some tasks; the output is OUT/FOLDER/{input0,input1,label}.

    Splits without a file are left out.
    """
    from fairseq.data.encoders.gpt2_bpe_utils import get_encoder

    encoder = get_encoder(str(bpe_dir / "encoder.json"), str(bpe_dir / "vocab.bpe"))
    commands = []
    for folder in folders:
        commands += _prepare(glue_dir / folder, folder, encoder, bpe_dir, work / folder, out)
    done = subprocess.run(
        [sys.executable, "-c", RUN_COMMANDS],
        input=json.dumps(commands),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return out


def _prepare(source, folder, encoder, bpe_dir, work, out):
    work.mkdir(parents=True)
    columns, test_columns, label_column = COLUMNS[folder]
    names = MNLI_SPLITS if folder == "MNLI" else ("train", "dev", "test")
    names = [name for name in names if (source / f"{name}.tsv").exists()]
    for name in names:
        test = name.startswith("test")
        header = not (folder == "CoLA" and not test)
        _shell(f"tail -n +{1 + header}", source / f"{name}.tsv", work / f"{name}.rows")
        if folder == "QQP" and not test:
            _shell(r"awk -F '\t' 'NF == 6'", work / f"{name}.rows", work / f"{name}.kept")
            (work / f"{name}.kept").rename(work / f"{name}.rows")
        for side, column in enumerate(test_columns if test else columns):
            _shell(f"cut -f{column}", work / f"{name}.rows", work / f"{name}.raw{side}")
            with open(work / f"{name}.raw{side}", encoding="utf-8") as lines:
                encoded = [" ".join(map(str, encoder.encode(line.strip()))) for line in lines]
            target = work / f"{name}.input{side}"
            target.write_text("".join(line + "\n" for line in encoded), encoding="utf-8")
        if not test:
            column = MNLI_DEV_LABEL if name.startswith("dev_") else label_column
            _shell(f"cut -f{column}", work / f"{name}.rows", work / f"{name}.label")
    if folder == "STS-B":
        (out / folder / "label").mkdir(parents=True)
        for name, written in (("train", "train"), ("dev", "valid")):
            target = out / folder / "label" / f"{written}.label"
            _shell("awk '{print $1 / 5.0}'", work / f"{name}.label", target)

    def prefixes(start: str, kind: str) -> str:
        return ",".join(str(work / f"{name}.{kind}") for name in names if name.startswith(start))

    commands = []
    kinds = [f"input{side}" for side in range(len(columns))]
    for kind in kinds if folder == "STS-B" else [*kinds, "label"]:
        command = ["--only-source", "--trainpref", prefixes("train", kind)]
        command += ["--validpref", prefixes("dev", kind), "--destdir", str(out / folder / kind)]
        if kind != "label":
            command += ["--srcdict", str(bpe_dir / "dict.txt")]
            if prefixes("test", kind):
                command += ["--testpref", prefixes("test", kind)]
        commands.append(command)
    return commands


def _shell(command: str, source: Path, target: Path) -> None:
    with open(source, "rb") as stdin, open(target, "wb") as stdout:
        subprocess.run(command, shell=True, stdin=stdin, stdout=stdout, check=True)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder but ``preprocess.log``, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "preprocess.log"
    }

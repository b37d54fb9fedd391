"""GLUE to fairseq data sets: our command beside fairseq's own recipe, whole processes.

    python benchmarks/preprocess.py --glue-dir glue_data --bpe-dir gpt2_bpe [--full-size]

The recipe is that of fairseq's ``preprocess_GLUE_tasks.sh``: cut, ``multiprocessing_bpe_encoder``
and ``fairseq-preprocess``, a process each, with the same number of workers, its columns read from
our tables. The two take turns and must write the same bytes; tasks are those whose folders exist.
``--full-size`` repeats the training rows of QQP and MNLI until there are as many as GLUE has, and
measures our command's time and peak memory on them and on a tenth. Prints Markdown.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fairseq_dwt.glue.suite import TASKS, GlueTask

HERE = Path(__file__).resolve().parent
OURS = HERE.parent / "examples" / "glue" / "preprocess.py"
FULL_SIZE = {"QQP": 363_849, "MNLI": 392_702}  # training rows of GLUE


def shell(command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(f"{command}\n{done.stdout[-2000:]}")


def ours(glue: Path, tasks: list[GlueTask], bpe: Path, out: Path, workers: int) -> None:
    names = " ".join(task.folder for task in tasks)
    shell(
        f"{sys.executable} {OURS} --glue-dir {glue} --task {names} --bpe-dir {bpe} --out {out} "
        f"--workers {workers}"
    )


def fairseqs(glue: Path, tasks: list[GlueTask], bpe: Path, out: Path, workers: int) -> None:
    for task in tasks:
        with tempfile.TemporaryDirectory() as work:
            _fairseqs(glue / task.folder, task, bpe, out / task.folder, Path(work), workers)


def _fairseqs(source: Path, task: GlueTask, bpe: Path, out: Path, work: Path, workers: int) -> None:
    import fairseq

    encoder = Path(fairseq.__file__).parent / "examples/roberta/multiprocessing_bpe_encoder.py"
    splits = [split for split in task.splits if (source / split.file).exists()]
    for split in splits:
        table, rows = split.table, work / f"{split.name}.rows"
        keep = f"awk -F '\\t' 'NF=={len(table.columns)}{{print}}{{}}'"
        rest = keep if task.drops_malformed and table.label else "cat"
        shell(f"tail -n +{1 + table.has_header} {source / split.file} | {rest} > {rows}")
        for side, column in enumerate(table.inputs):
            raw = f"{rows}.{side}"
            shell(f"cut -f{table.columns.index(column) + 1} {rows} > {raw}")
            shell(
                f"{sys.executable} {encoder} --encoder-json {bpe}/encoder.json --vocab-bpe "
                f"{bpe}/vocab.bpe --inputs {raw} --outputs {work}/{split.name}.input{side} "
                f"--workers {workers} --keep-empty"
            )
        if table.label:
            shell(
                f"cut -f{table.columns.index(table.label) + 1} {rows} > {work / split.name}.label"
            )
    program = f"{Path(sys.executable).parent / 'fairseq-preprocess'} --only-source"
    for kind in [f"input{side}" for side in range(task.num_inputs)] + ["label"]:
        prefixes = []
        for part in ("train", "valid", "test"):
            files = [f"{work}/{s.name}.{kind}" for s in splits if s.name.startswith(part)]
            files = [file for file in files if os.path.exists(file)]
            if files:
                prefixes.append(f"--{part}pref {','.join(files)}")
        dictionary = f"--srcdict {bpe}/dict.txt" if kind != "label" else ""
        shell(
            f"{program} {' '.join(prefixes)} --destdir {out / kind} --workers {workers} "
            f"{dictionary}"
        )


def files_of(folder: Path) -> list[Path]:
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "preprocess.log"
    )


def check_same(ours_out: Path, theirs: Path) -> int:
    """The number of files, which are the same byte for byte."""
    files = files_of(ours_out)
    if files != files_of(theirs):
        sys.exit(f"{ours_out} and {theirs} hold other files")
    for file in files:
        if not filecmp.cmp(ours_out / file, theirs / file, shallow=False):
            sys.exit(f"{file} differs between {ours_out} and {theirs}")
    return len(files)


def seconds(run: Callable[..., None], *arguments: object) -> float:
    start = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - start


def tiled(glue: Path, task: GlueTask, rows: int, target: Path) -> None:
    """A copy of the task of which the training set is repeated to so many rows."""
    shutil.copytree(glue / task.folder, target / task.folder)
    with open(glue / task.folder / "train.tsv", "rb") as file:
        header, *lines = file.readlines()
    with open(target / task.folder / "train.tsv", "wb") as file:
        file.write(header)
        for _ in range(rows // len(lines)):
            file.writelines(lines)
        file.writelines(lines[: rows % len(lines)])


def peak_of(glue: Path, task: GlueTask, bpe: Path, out: Path, workers: int) -> tuple[float, int]:
    """Seconds, and peak resident bytes of our command."""
    # of the children of a process of its own, that of one run alone
    program = (
        "import resource, subprocess, sys, time; start = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL); print(time.perf_counter() - start, "
        "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, str(OURS), "--glue-dir", str(glue), "--task", task.folder]
    command += ["--bpe-dir", str(bpe), "--out", str(out), "--workers", str(workers)]
    done = subprocess.run(
        [sys.executable, "-c", program, *command], stdout=subprocess.PIPE, check=True, text=True
    )
    taken, kilobytes = done.stdout.split()
    return float(taken), int(kilobytes) * 1024


def full_size(glue: Path, bpe: Path, work: Path, workers: int) -> Iterator[str]:
    yield "| task | training rows | seconds | peak memory |"
    yield "|---|---|---|---|"
    for folder, rows in FULL_SIZE.items():
        task = next(task for task in TASKS.values() if task.folder == folder)
        for count in (rows // 10, rows):
            source = work / f"{folder}-{count}"
            tiled(glue, task, count, source)
            taken, peak = peak_of(source, task, bpe, source / "out", workers)
            yield f"| {folder} | {count:,} | {taken:.0f} | {peak / 2**20:.0f} MiB |"
            shutil.rmtree(source)


def main() -> None:
    parser = argparse.ArgumentParser(description="Preprocessing beside fairseq's recipe.")
    parser.add_argument("--glue-dir", required=True, type=Path, help="folder with CoLA/, MRPC/, …")
    parser.add_argument("--bpe-dir", required=True, type=Path, help="GPT-2 BPE and dict.txt")
    parser.add_argument("--workers", type=int, default=2, help="of both [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--full-size", action="store_true", help="measure memory instead")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.full_size:
            for line in full_size(args.glue_dir, args.bpe_dir, work, args.workers):
                print(line, flush=True)
            return
        tasks = [task for task in TASKS.values() if (args.glue_dir / task.folder).is_dir()]
        times: list[tuple[float, float]] = []
        for number in range(args.rounds):
            outs = work / "ours", work / "fairseq"
            settings = args.glue_dir, tasks, args.bpe_dir
            taken = seconds(ours, *settings, outs[0], args.workers)
            times.append((taken, seconds(fairseqs, *settings, outs[1], args.workers)))
            count = check_same(*outs)
            for out in outs:
                shutil.rmtree(out)
            print("round {}: {:.1f} s, fairseq {:.1f} s".format(number + 1, *times[-1]), flush=True)
        ratios = [theirs / our for our, theirs in times]
        print(
            f"\n{', '.join(task.folder for task in tasks)}; {count} files, the same bytes; "
            f"{args.workers} workers: {statistics.median(ratios):.1f} times as fast as fairseq's "
            f"recipe (median of {args.rounds} rounds, {min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()

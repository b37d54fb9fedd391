"""GLUE to fairseq data sets, as fairseq's own recipe makes them, in one command.

    python examples/glue/preprocess.py --download --task all
    python examples/glue/preprocess.py --glue-dir glue_data --task RTE \
        --bpe-dir gpt2_bpe --out data-bin

See examples/glue/README.md.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path

from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue.binarize import check_output, preprocess_task
from fairseq_dwt.glue.bpe import add_encoder_options, make_encoder
from fairseq_dwt.glue.download import by_hand, download_bpe, download_task
from fairseq_dwt.glue.indexed import load_dictionary
from fairseq_dwt.glue.official import OFFICIAL
from fairseq_dwt.glue.suite import TASKS, GlueTask, glue_task


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="GLUE TSV files to fairseq data sets.")
    parser.add_argument(
        "--glue-dir", default="glue_data", help="folder with RTE/, SST-2/, … [%(default)s]"
    )
    parser.add_argument(
        "--task", required=True, nargs="+", help=f"one or more of {', '.join(TASKS)}; or all"
    )
    parser.add_argument("--out", default="data-bin", help="output folder [%(default)s]")
    parser.add_argument(
        "--download", action="store_true", help="fetch what is missing of the data and the BPE"
    )
    parser.add_argument(
        "--mirror", metavar="ADDRESS", help=f"fetch from here, http or file, not from {OFFICIAL}"
    )
    parser.add_argument(
        "--list-downloads",
        action="store_true",
        help="list the files to fetch by hand, with sizes, checksums and where to put them",
    )
    add_encoder_options(parser)
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="encoding threads (all cores)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing output")
    return parser.parse_args(argv)


def chosen_tasks(args: argparse.Namespace) -> list[GlueTask]:
    """The tasks named by ``--task``; for ``all``, those whose folder exists or is downloaded."""
    if [name.lower() for name in args.task] != ["all"]:
        return list({task.name: task for task in map(glue_task, args.task)}.values())
    if args.download or args.list_downloads:
        return list(TASKS.values())
    present = [task for task in TASKS.values() if (Path(args.glue_dir) / task.folder).is_dir()]
    missing = [task.folder for task in TASKS.values() if task not in present]
    if not present:
        raise DwtError(
            f"{args.glue_dir}: expected at least one of the folders {', '.join(missing)}, "
            "got none; correct --glue-dir, or --download"
        )
    if missing:
        print(f"not in {args.glue_dir}, left out: {', '.join(missing)}")
    return present


def run(args: argparse.Namespace) -> None:
    if args.workers < 1:
        raise DwtError(f"--workers: expected 1 or more, got {args.workers}; correct it")
    # Read by the tokenizers library when it first encodes.
    os.environ["RAYON_NUM_THREADS"] = str(args.workers)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    if args.mirror and not (args.download or args.list_downloads):
        raise DwtError("--mirror: expected it beside --download; add that")
    if args.mirror and not re.match(r"(https?://[^\[\]]+|file:)", args.mirror):
        raise DwtError(
            f"--mirror: expected an address, http://…, https://… or file:///…, got {args.mirror}"
        )
    if args.bpe == "gpt2" and args.bpe_dir is None:
        args.bpe_dir = "gpt2_bpe"
    bpe_dir = args.bpe_dir if args.bpe == "gpt2" else None
    base = args.mirror or OFFICIAL
    tasks = chosen_tasks(args)
    if args.list_downloads:
        print(by_hand(tasks, args.glue_dir, bpe_dir, base))
        return
    for task in tasks:  # before any work is done
        check_output(task, args.out, args.overwrite)
    if args.download:
        if bpe_dir:
            download_bpe(bpe_dir, base)
        for task in tasks:
            download_task(task, args.glue_dir, base)
    encode, dictionary_path = make_encoder(args, args.workers)
    dictionary = load_dictionary(dictionary_path)
    for task in tasks:
        reports = preprocess_task(
            task, args.glue_dir, args.out, encode, dictionary, overwrite=args.overwrite
        )
        for report in reports:
            print(report)
        print(f"wrote {Path(args.out) / task.folder}", flush=True)
    data = Path(args.out) / tasks[0].folder
    print(
        f"next: fairseq-hydra-train --config-name dwt_{tasks[0].name} task.data={data} "
        "checkpoint.finetune_from_model=model.pt"
    )


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    # As after Ctrl-C, the unfinished folder is removed.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(args)
    except (DwtError, OSError) as error:
        print(f"preprocess.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "preprocess.py: interrupted; unfinished output removed, downloads kept to go on from",
            file=sys.stderr,
        )
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The whole method in five minutes: ``make demo``.

The ticket of a real encoder (MiniLM, 6 layers of 384) is found on tweets that people rated, and
used on their reviews of movies and of products, by the commands that a user would type. Model and
sentences come from two packages (``fetch.py``). Where those cannot be had, or with ``--offline``, a
smoke test of the mechanics runs instead: text of our own grammar, and a RoBERTa so small that it
has no skeleton. Killed and started again, it goes on with the runs that have not finished.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fetch import fetch
from tqdm import tqdm

from fairseq_dwt import cli
from fairseq_dwt.errors import DwtError
from fairseq_dwt.report.runs import read_run
from fairseq_dwt.run.folder import LOG

HERE = os.path.dirname(os.path.abspath(__file__))
PREPROCESS = os.path.join(os.path.dirname(HERE), "preprocess.py")
TICKET = "runs/stage_1/ticket.json"
#: Methods of stage 2: the config's prefix, and what it is told.
WITHOUT_TICKET = {
    "full": ("full", []),
    "bitfit": ("bitfit", []),
    "oneshot": ("ticket", ["optimizer.ticket=oneshot", "optimizer.k=1"]),
}
WITH_TICKET = {
    "dominant": ("ticket", [f"optimizer.ticket={TICKET}", "optimizer.k=1"]),
    "random": ("random", [f"optimizer.like={TICKET}", "optimizer.k=1"]),
}
#: So few updates need no regularisation.
_NO_DROPOUT = [f"model.{name}=0" for name in ("dropout", "attention_dropout", "pooler_dropout")]
#: Runs at the same time: threads would only get into each other's way.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", **os.environ}
_NUM_UPDATES = re.compile(r'"num_updates": "(\d+)"')


@dataclass(frozen=True)
class Study:
    """What a demo shows the method on; paths start in ``folder``.

    Attributes:
        folder: everything is written here.
        model: the pre-trained checkpoint.
        vocabulary: options of ``preprocess.py`` and of ``fairseq-dwt predict``.
        tasks: folder below data-bin → the task's name in the configs; stage 1's comes first.
        updates: of each run of a task.
        rates: learning rate of stage 1, of full fine-tuning, of the other methods.
        settings: of every run.
        stage_1: settings of stage 1.
        sentence: to be judged at the end, by the second task's ticket.
    """

    folder: str
    model: str
    vocabulary: list[str]
    tasks: dict[str, str]
    updates: dict[str, int]
    rates: dict[str, str]
    sentence: str
    settings: list[str] = field(default_factory=list)
    stage_1: list[str] = field(default_factory=list)

    def path(self, *names: str) -> str:
        """A path below the folder."""
        return os.path.join(self.folder, *names)

    def command(self, *words: str) -> None:
        """Run a Python command in the folder, and show it."""
        print("   $ " + shlex.join(["python", *words]), flush=True)
        subprocess.run([sys.executable, *words], cwd=self.folder, check=True)


def real(folder: str) -> Study:
    """MiniLM, and the signs of people's ratings."""
    minilm = ["--bpe", "bert", "--vocab-file", "minilm/vocab.txt", "--dict", "minilm/dict.txt"]
    study = Study(
        folder=folder,
        model="minilm/model.pt",
        vocabulary=minilm,
        tasks={"tweets": "sst_2", "movies": "sst_2", "products": "sst_2"},
        updates={"tweets": 200, "movies": 150, "products": 120},
        rates={"stage 1": "1e-4", "full": "1e-4", "other": "5e-3"},
        settings=["task.batch_by_length=true", *_NO_DROPOUT],
        sentence="A charming film, never dull, and over too soon.",
    )
    if not os.path.isfile(study.path(study.model)):
        study.command("-m", "fairseq_dwt", "import-hf", "huggingface", "-o", study.model)
    if not os.path.isdir(study.path("sentences")):
        study.command(f"{HERE}/ratings.py", "--ratings", "ratings", "--out", "sentences")
    for task in study.tasks:
        if not os.path.isdir(study.path("data-bin", task)):
            folders = ["--glue-dir", f"sentences/{task}", "--out", "data-bin", "--overwrite"]
            study.command(PREPROCESS, "--task", "SST-2", *folders, *minilm)
            print(f"   $ mv data-bin/SST-2 data-bin/{task}")
            os.rename(study.path("data-bin", "SST-2"), study.path("data-bin", task))
    return study


def smoke(folder: str) -> Study:
    """Three tasks of our own grammar, and a RoBERTa that was pre-trained on its text."""
    model = os.path.join(HERE, "model")
    pieces = ["--bpe", "sentencepiece", "--dict", f"{model}/dict.txt"]
    pieces += ["--sentencepiece-model", f"{model}/sentencepiece.model"]
    tasks = {"SST-2": "sst_2", "CoLA": "cola", "RTE": "rte"}
    study = Study(
        folder=folder,
        model=f"{model}/model.pt",
        vocabulary=pieces,
        tasks=tasks,
        updates=dict.fromkeys(tasks, 120),
        rates={"stage 1": "1e-3", "full": "7e-4", "other": "5e-3"},
        settings=["dataset.batch_size=32", *_NO_DROPOUT],
        stage_1=["criterion.l1_lambda=1e-4"],  # a model this small has larger gradients
        sentence="the doctor sees the bird",
    )
    if not all(os.path.isdir(study.path("data-bin", task)) for task in tasks):
        study.command(f"{HERE}/grammar.py", "--out", "glue_data")
        folders = ["--glue-dir", "glue_data", "--out", "data-bin", "--overwrite"]
        study.command(PREPROCESS, "--task", *tasks, *folders, *pieces)
    return study


class Training:
    """Runs ``fairseq-hydra-train``, some at a time; what has finished before is not run again."""

    def __init__(self, study: Study, jobs: int) -> None:
        self.study, self.jobs = study, jobs
        self.folders: list[str] = []

    def command(self, name: str, config: str, task: str, lr: str, *settings: str) -> list[str]:
        """The words after ``python``; the last is the run's folder."""
        study, updates = self.study, self.study.updates[task]
        return [
            *("-m", "fairseq_cli.hydra_train", "--config-name", f"{config}_{study.tasks[task]}"),
            *(f"task.data=data-bin/{task}", f"checkpoint.finetune_from_model={study.model}"),
            *(f"optimization.max_update={updates}", f"optimization.lr=[{lr}]"),
            *(f"lr_scheduler.warmup_updates={round(0.06 * updates)}", "common.log_interval=10"),
            *(f"dataset.validate_interval_updates={updates // 2}", *study.settings, *settings),
            f"hydra.run.dir=runs/{name}",
        ]

    def stage_1(self) -> list[str]:
        """Stage 1, on the first task."""
        settings = ["task.save_sigma_mask=true", "checkpoint.no_save=true", *self.study.stage_1]
        task, rate = next(iter(self.study.tasks)), self.study.rates["stage 1"]
        return self.command("stage_1", "dwt", task, rate, *settings)

    def stage_2(self, methods: dict[str, tuple], seeds: Sequence[int]) -> list[list[str]]:
        """The methods, on the other tasks."""
        commands = []
        for task in list(self.study.tasks)[1:]:
            for method, (config, settings) in methods.items():
                rate = self.study.rates["full" if method == "full" else "other"]
                # of full fine-tuning nothing is used later, and its checkpoints are large
                saved = ["checkpoint.no_save=true"] if method == "full" else []
                commands += [
                    self.command(
                        f"{method}_{task}_seed{seed}", config, task, rate, f"common.seed={seed}",
                        *settings, *saved,
                    )
                    for seed in seeds
                ]  # fmt: skip
        return commands

    def __call__(self, commands: Sequence[list[str]]) -> None:
        """Run them all, and show how far they are."""
        for command in commands:
            print("   $ " + shlex.join(["python", *command]), flush=True)
        totals = [int(word.split("=")[1]) for c in commands for word in c if "max_update" in word]
        with tqdm(
            total=sum(totals), unit="update", desc="   training", smoothing=0.1,
            mininterval=1 if sys.stderr.isatty() else 15,
        ) as bar:  # fmt: skip
            with ThreadPoolExecutor(self.jobs) as pool:
                list(pool.map(lambda command: self._run(command, bar), commands))

    def _run(self, command: list[str], bar: tqdm) -> None:
        folder = self.study.path(command[-1].partition("=")[2])
        self.folders.append(folder)
        log, done = os.path.join(folder, LOG), 0
        finished = os.path.isdir(os.path.join(folder, ".hydra")) and read_run(folder).finished
        if not finished:
            begun = os.path.getsize(log) if os.path.isfile(log) else 0
            with subprocess.Popen(
                [sys.executable, *command], cwd=self.study.folder, env=_ENVIRONMENT,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            ) as process:  # fmt: skip
                errors = ""
                while process.poll() is None:
                    try:
                        errors += process.communicate(timeout=1)[1]
                    except subprocess.TimeoutExpired:
                        now = _updates(log, begun)
                        bar.update(max(now - done, 0))
                        done = max(now, done)
            if process.returncode != 0:
                sys.exit(f"{shlex.join(command)}\n{errors[-3000:]}")
        run = read_run(folder)
        bar.update(int(run.validations[-1][0]) - done)
        bar.write(f"   {run.method:<11} {run.task:<9} {run.metric} {run.best:.1f}")


def _updates(log: str, begun: int) -> int:
    """The last update in a log, read from byte ``begun``."""
    if not os.path.isfile(log):
        return 0
    with open(log, "rb") as file:
        file.seek(begun)
        found = _NUM_UPDATES.findall(file.read().decode("utf-8", "replace"))
    return int(found[-1]) if found else 0


def main() -> int:
    """Run the demo. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="demo", help="folder for data, runs and report")
    parser.add_argument("--offline", action="store_true", help="the smoke test; nothing is fetched")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time [%(default)s]")
    parser.add_argument("--seeds", type=int, default=1, help="of each run of stage 2 [%(default)s]")
    args = parser.parse_args()
    folder, offline = os.path.abspath(args.out), args.offline
    if not offline:
        try:
            fetch(Path(folder))
        except DwtError as error:
            print(f"{error}.\nThe smoke test runs instead.\n", file=sys.stderr)
            offline = True
    if offline:
        folder = os.path.join(folder, "smoke")
        print("A smoke test of the mechanics; its scores say nothing about the method.\n")
    os.makedirs(folder, exist_ok=True)
    started = time.time()

    print("1. The pre-trained model and the sentences")
    study = (smoke if offline else real)(folder)
    train, seeds = Training(study, args.jobs), range(1, args.seeds + 1)
    source, target, *_ = study.tasks

    print(f"\n2. Stage 1, on {source}: fine-tune with an L1 pull toward the pre-trained weights;")
    print("   beside it, on the other tasks, what needs no ticket")
    train([train.stage_1(), *train.stage_2(WITHOUT_TICKET, seeds)])
    print("\n   $ fairseq-dwt show " + TICKET)
    cli.main(["show", study.path(TICKET)])

    print("\n3. Stage 2: train inside the ticket, and inside a random one")
    train(train.stage_2(WITH_TICKET, seeds))

    print("\n4. What was measured")
    code = cli.main(["report", *sorted(train.folders), "-o", study.path("report")])

    print(
        f"\n5. The columns that were trained on {target}, as a file, judge a sentence. Try another:"
    )
    delta = f"{target}.delta.safetensors"
    tuned = f"runs/dominant_{target}_seed1/checkpoint_best.pt"
    init = ["--init", study.model]
    study.command("-m", "fairseq_dwt", "export", *init, "--tuned", tuned, "-o", delta)
    predict = ["-m", "fairseq_dwt", "predict", *init, "--delta", delta, "--scores"]
    with open(study.path("sentence.txt"), "w", encoding="utf-8") as file:
        file.write(study.sentence + "\n")
    print(f"   $ cd {study.folder}; echo {shlex.quote(study.sentence)} > sentence.txt")
    study.command(*predict, *study.vocabulary, "--input", "sentence.txt")
    print(f"\n{time.time() - started:.0f} s in all. Open {study.path('report', 'index.html')}")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Commands between checkpoints and deltas."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, TextIO

from ..any_checkpoint import AnyPretrained, open_pretrained
from ..checkpoint import Pretrained, Tuned, load_checkpoint, section
from ..delta.delta import DTYPES, Delta, export, merge
from ..delta.recipe import RecipeDelta, export_recipe, is_recipe, merge_recipe, save_merged
from ..delta.verify import moved_outside
from ..errors import DwtError
from ..files import replacing
from ..glue.bpe import add_encoder_options, make_encoder
from ..glue.examples import read_examples, sentences_of
from ..glue.suite import TASKS, glue_task, task_of_folder
from ..model.names import heads_of
from ..model.roberta import save_roberta
from ..run.folder import SLICES, ticket_in
from ..ticket import AnyTicket, load_ticket
from .options import Add, check_running, ends_in, init, output, running, tuned

if TYPE_CHECKING:
    from ..serving.predict import Predictor


def add_commands(add: Add) -> None:
    """``verify export apply predict``."""
    verify = add("verify", _verify, "Is everything outside the ticket bit-identical to the base?")
    init(verify)
    tuned(verify)
    verify.add_argument("--ticket", required=True, help="ticket that it was trained in")
    verify.add_argument("-k", type=int, help="columns per matrix that were trained [all]")

    exports = add("export", _export, "A delta: the trained columns, the head and the labels.")
    init(exports)
    tuned(exports, "checkpoint of stage 2")
    exports.add_argument(
        "--ticket", help="ticket it was trained in [the one beside the checkpoint]"
    )
    exports.add_argument("-k", type=int, help="columns per matrix that were trained [all]")
    exports.add_argument("--data", help="data-bin folder of the task, for the names of its labels")
    output(exports, "delta to write (.safetensors)")

    applies = add("apply", _apply, "A plain fairseq checkpoint: the base with a delta in place.")
    init(applies)
    applies.add_argument("--delta", required=True, help="delta of a task")
    output(applies, "checkpoint to write (.pt)")

    predict = add("predict", _predict, "Labels of sentences, or pairs separated by a tab.")
    init(predict)
    predict.add_argument(
        "--delta", required=True, nargs="+", help="delta of a task; with --glue-test of many"
    )
    predict.add_argument(
        "--glue-test", metavar="GLUE_DIR", help="write a GLUE submission (.zip) of its test sets"
    )
    predict.add_argument("--task", help="GLUE task: number of sentences, STS-B's range of scores")
    predict.add_argument("--input", help="file to read, one example a line [standard input]")
    predict.add_argument("-o", "--output", help="file to write [standard output]")
    predict.add_argument("--scores", action="store_true", help="label=probability of each too")
    running(predict)
    add_encoder_options(predict)


def _verify(args: argparse.Namespace) -> int:
    pretrained = open_pretrained(args.init)
    ticket = load_ticket(args.ticket).top(args.k)
    ticket.check_fits(pretrained.matrices, pretrained.fingerprint, args.ticket)
    moved = moved_outside(pretrained, args.tuned, ticket)
    for tensor in moved:
        what = (
            "in one of the two only, or of another shape"
            if tensor.entries < 0
            else f"{tensor.entries:,} entries"
        )
        print(f"{tensor.name}: {what}")
    if moved:
        print(f"{args.tuned}: {len(moved)} tensors differ from {args.init} outside the ticket")
        return 1
    print(f"{args.tuned}: bit-identical to {args.init} outside the ticket")
    print(f"next: fairseq-dwt export --init {args.init} --tuned {args.tuned} -o DELTA")
    return 0


def _export(args: argparse.Namespace) -> int:
    ends_in(args.output, ".safetensors")
    pretrained, state = open_pretrained(args.init), load_checkpoint(args.tuned)
    if (state.get("extra_state") or {}).get("ema"):
        print(
            f"{args.tuned}: its moving average (EMA) is left out; the trained weights are exported"
        )
    # fairseq-train calls the task's setting "task", Hydra "_name"
    task_of_run = {section(state, "task").get(name) for name in ("_name", "task")}
    recipe = "ticket" in state and "sentence_prediction" not in task_of_run
    if recipe or not isinstance(pretrained, Pretrained) or not heads_of(state["model"]):
        return _export_recipe(args, pretrained)
    checkpoint = Tuned(args.tuned, state)
    labels, task = _labels(args.data, checkpoint)
    ticket = _ticket_beside(args.tuned) if args.ticket is None else load_ticket(args.ticket)
    sentences = checkpoint.sentences
    if args.data is not None:
        second = os.path.join(args.data, "input1", "dict.txt")
        sentences = 2 if os.path.isfile(second) else 1
    delta = export(pretrained, checkpoint, ticket.top(args.k), labels, task, sentences)
    delta.save(args.output)
    head = sum(tensor.numel() for tensor in delta.head.values())
    print(
        f"wrote {args.output}: {os.path.getsize(args.output):,} bytes, {ticket.origin.method} "
        f"ticket of {delta.ticket.num_parameters:,} parameters and a head of {head:,}, "
        f"{str(delta.dtype)[len('torch.') :]}"
    )
    print(f"next: fairseq-dwt predict --init {args.init} --delta {args.output} …, or apply")
    return 0


def _export_recipe(args: argparse.Namespace, pretrained: Pretrained | AnyPretrained) -> int:
    """Of a recipe that is no sentence classification: the whole checkpoint but for its base."""
    if args.data is not None:
        raise DwtError(
            f"--data: expected none, got {args.data}: {args.tuned} does not classify sentences"
        )
    ticket = _ticket_beside(args.tuned) if args.ticket is None else load_ticket(args.ticket)
    delta = export_recipe(pretrained, args.tuned, ticket.top(args.k))
    delta.save(args.output)
    print(
        f"wrote {args.output}: {os.path.getsize(args.output):,} bytes, {ticket.origin.method} "
        f"ticket of {delta.ticket.num_parameters:,} parameters and "
        f"{sum(t.numel() for t in delta.own.values()):,} that no file gave, "
        f"{str(delta.dtype)[len('torch.') :]}"
    )
    print(f"next: fairseq-dwt apply --init {args.init} --delta {args.output} -o CHECKPOINT.pt")
    return 0


def _ticket_beside(checkpoint: str) -> AnyTicket:
    folder = os.path.dirname(os.path.abspath(checkpoint))
    path = ticket_in(folder)
    if path is not None:
        ticket = load_ticket(path)
        moved = ticket.origin.method == "slice"
        return load_ticket(os.path.join(folder, SLICES)) if moved else ticket
    raise DwtError(
        f"{checkpoint}: expected the ticket that it was trained in beside it, found "
        "none; name it with --ticket"
    )


def _labels(data: str | None, checkpoint: Tuned) -> tuple[list[str], str | None]:
    """The label strings by class index, and the task's name."""
    data_of_run = str(checkpoint.settings.get("data") or "")
    task = task_of_folder(data or data_of_run) if data or data_of_run else None
    if checkpoint.settings.get("regression_target"):
        return [], task
    if data is None:
        if checkpoint.labels is None:
            raise DwtError(
                f"{checkpoint.path}: does not say what its labels are called; name the task's "
                "data-bin folder with --data"
            )
        return checkpoint.labels, task
    path = os.path.join(data, "label", "dict.txt")
    try:
        with open(path, encoding="utf-8") as file:
            symbols = [line.rpartition(" ")[0] for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DwtError(f"{path}: expected the task's label dictionary ({error})") from None
    labels = [symbol for symbol in symbols if not symbol.startswith("madeupword")]
    if checkpoint.labels not in (None, labels):
        raise DwtError(
            f"--data: expected the labels of {checkpoint.path} in their order "
            f"({', '.join(checkpoint.labels or [])}), got {', '.join(labels)} of {data}; name the "
            "data that it was trained on, or leave --data out"
        )
    return labels, task


def _apply(args: argparse.Namespace) -> int:
    ends_in(args.output, ".pt")
    if is_recipe(args.delta):
        recipe, base = RecipeDelta.load(args.delta), open_pretrained(args.init)
        save_merged(args.output, merge_recipe(base, recipe, args.delta), recipe)
        print(f"wrote {args.output}: {os.path.getsize(args.output):,} bytes")
        print("next: fairseq-generate, fairseq-eval-lm or another of fairseq's tools takes it")
        return 0
    delta, pretrained = Delta.load(args.delta), Pretrained(args.init)
    tensors = merge(pretrained, delta, args.delta)
    # where a run's checkpoint has its data, whose folder's name is the task's
    task = {"_name": "sentence_prediction", **delta.settings, "data": delta.task or ""}
    told = delta.dtype, delta.labels, delta.sentences
    save_roberta(args.output, tensors, pretrained.settings, task, *told)
    print(f"wrote {args.output}: {os.path.getsize(args.output):,} bytes")
    print(f"next: fairseq-dwt evaluate {args.output} --task {delta.task or '…'}, or export-hf")
    return 0


def _predict(args: argparse.Namespace) -> int:
    if args.glue_test is not None:
        return _submit(args)
    if len(args.delta) != 1:
        raise DwtError(f"--delta: expected one without --glue-test, got {len(args.delta)}")
    task, path = None if args.task is None else glue_task(args.task), args.delta[0]
    known = Delta.load(path)
    sentences = sentences_of(known.task, known.sentences, task, path)
    regression = bool(known.settings["regression_target"])
    if task is not None and task.regression != regression:
        raise DwtError(
            f"--task: expected a task of {'numbers' if regression else 'classes'} as {path} was "
            f"trained on ({known.task or 'unnamed'}), got {task.folder}; leave --task out"
        )
    if args.scores and regression:
        raise DwtError(f"--scores: expected none: {path} predicts a number; leave it out")
    examples = read_examples(args.input, sentences, known.labels, regression)
    predictor, (delta,) = _predictor(args)
    of_task = task or next((t for t in TASKS.values() if t.folder == known.task), None)
    scale = of_task.scale if regression and of_task is not None else 1.0

    def write(file: TextIO) -> int:
        predictions = predictor(delta, examples, progress=sys.stderr.isatty())
        for prediction in predictions:
            fields = [prediction.label]
            if regression:
                fields = [f"{scale * prediction.scores.item():.6g}"]
            elif args.scores:
                names = delta.labels or map(str, range(delta.num_classes))
                scored = zip(names, prediction.scores.tolist())
                fields += [f"{label}={score:.6f}" for label, score in scored]
            file.write("\t".join(fields) + "\n")
        return len(predictions)

    if args.output is None:
        write(sys.stdout)
        return 0
    # opened first: that it cannot be written shows before the work
    opened = replacing(args.output, of_writing=(OSError,))
    with opened as temporary, open(temporary, "w", encoding="utf-8") as file:
        number = write(file)
    print(f"wrote {args.output}: {number} lines")
    return 0


def _predictor(args: argparse.Namespace) -> tuple[Predictor, list[Delta]]:
    from ..serving.predict import Predictor

    deltas, pretrained = [Delta.load(path) for path in args.delta], Pretrained(args.init)
    for path, delta in zip(args.delta, deltas):
        delta.check_base(pretrained.fingerprint, path)
        delta.check_width(pretrained.settings["encoder_embed_dim"], path)
    encode, dictionary = make_encoder(args)
    device, dtype = check_running(args), DTYPES[args.dtype]
    return Predictor(pretrained, encode, dictionary, device, dtype, args.batch_size), deltas


def _submit(args: argparse.Namespace) -> int:
    """One base and a delta for each task: the GLUE server's zip."""
    from ..glue.submission import test_sets, text_of, write_submission

    given = {"--task": args.task, "--input": args.input, "--scores": args.scores or None}
    for option, value in given.items():
        if value is not None:
            raise DwtError(f"{option}: expected none with --glue-test, got {value}; leave it out")
    if args.output is None:
        raise DwtError("--output: expected the zip to write with --glue-test, got none")
    ends_in(args.output, ".zip")
    predictor, deltas = _predictor(args)
    tasks = {}
    for path, delta in zip(args.delta, deltas):
        if delta.task is None:
            raise DwtError(f"{path}: does not say which task it is of; export it with --data")
        task = glue_task(delta.task)
        if task.name in tasks:
            raise DwtError(f"{path}: expected one delta of {task.folder}, got two; name one")
        tasks[task.name] = (task, delta, list(test_sets(task, args.glue_test)))
    files = {}
    with replacing(args.output, of_writing=(OSError,)) as temporary:  # first, as above
        for task, delta, sets in tasks.values():
            for name, examples in sets:
                found = predictor(delta, examples, progress=sys.stderr.isatty())
                files[name] = text_of(
                    task,
                    [task.scale * p.scores.item() if task.regression else p.label for p in found],
                )
                print(f"{name}: {len(found):,} predictions")
        missing = write_submission(temporary, files)
    print(f"wrote {args.output}")
    if missing:
        print(f"the server also wants {', '.join(missing)}: add the deltas or test sets they need")
    return 0

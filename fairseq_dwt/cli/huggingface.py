"""Commands from and to Hugging Face folders."""

from __future__ import annotations

import argparse
import json
import os

from ..glue.bpe import add_encoder_options, make_encoder
from .options import Add, ends_in, output


def add_commands(add: Add) -> None:
    """``import-hf export-hf``."""
    imports = add("import-hf", _import_hf, "A fairseq checkpoint from a Hugging Face folder.")
    imports.add_argument("folder", help="folder with config.json, weights and vocabulary")
    output(imports, "checkpoint to write (.pt); the vocabulary's files go beside it")

    exports_hf = add("export-hf", _export_hf, "A Hugging Face folder from a fairseq checkpoint.")
    exports_hf.add_argument("checkpoint", help="fairseq RoBERTa, with a head or without")
    add_encoder_options(exports_hf)
    exports_hf.add_argument(
        "--model-type",
        choices=("roberta", "xlm-roberta", "camembert", "bert", "distilbert"),
        help="class to write [roberta; with SentencePiece xlm-roberta or camembert, by dict.txt]",
    )
    output(exports_hf, "folder to write")


def _import_hf(args: argparse.Namespace) -> int:
    from ..huggingface import import_folder

    ends_in(args.output, ".pt")
    written, notes = import_folder(args.folder, args.output)
    for path in written:
        print(f"wrote {path}")
    for note in notes:
        print(note)
    dictionary = [path for path in written if path.endswith("dict.txt")]
    if dictionary:
        print(f"next: python examples/glue/preprocess.py --dict {dictionary[0]} …")
    return 0


def _export_hf(args: argparse.Namespace) -> int:
    from ..huggingface import export_folder

    make_encoder(args)  # are the files there, and are they what they should be?
    if args.bpe == "bert":
        tokens, dictionary = {"vocab_file": args.vocab_file}, args.dict
    elif args.bpe == "sentencepiece":
        tokens, dictionary = {"sentencepiece_model": args.sentencepiece_model}, args.dict
    else:
        names = {"encoder_json": "encoder.json", "vocab_bpe": "vocab.bpe"}
        tokens = {key: os.path.join(args.bpe_dir, name) for key, name in names.items()}
        dictionary = args.dict or os.path.join(args.bpe_dir, "dict.txt")
    notes = export_folder(
        args.checkpoint, args.output, dictionary, tokens, args.bpe_cased, args.model_type
    )
    print(f"wrote {args.output}")
    for note in notes:
        print(note)
    with open(os.path.join(args.output, "config.json"), encoding="utf-8") as file:
        (written,) = json.load(file)["architectures"]
    auto = f"AutoModelFor{written.partition('For')[2]}"
    print(f"next, in Python: transformers.{auto}.from_pretrained({args.output!r})")
    return 0

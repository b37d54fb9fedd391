"""The demo's grammar, its three tasks and its tiny pre-trained model."""

import hashlib
import json
import random
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "glue" / "demo"
sys.path.insert(0, str(DEMO))

import grammar  # noqa: E402
from toy_english.acceptability import agreement_clause, sister_sentences  # noqa: E402
from toy_english.clauses import AGREEING, Phrase, clause_tokens, text  # noqa: E402
from toy_english.edits import apply_edits  # noqa: E402
from toy_english.entailment import event, pair  # noqa: E402
from toy_english.maker import Maker  # noqa: E402
from toy_english.sentiment import HELD_OUT  # noqa: E402
from toy_english.words import LEXICON, make_noun, make_verb  # noqa: E402

MODEL = DEMO / "model"
# Of the first sentences of the text and of every row of the tasks: the same on every Python.
CORPUS_HASH = "1885caaf46c6c750"
TASK_HASH = "dbffffad6a17103f"


@pytest.fixture(scope="module")
def tasks():
    return {task: grammar.task_rows(task) for task in grammar.MAKERS}


def _hash(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_text_is_the_same_on_every_machine(tasks):
    assert _hash(grammar.corpus_lines(2000)) == CORPUS_HASH
    rows = [f"{row}{label}" for t in tasks.values() for s in t.values() for row, label in s]
    assert _hash(rows) == TASK_HASH


def test_another_seed_is_another_text():
    assert grammar.corpus_lines(50, seed=1) != grammar.corpus_lines(50, seed=2)


def test_the_lexicon_is_of_a_thousand_words():
    assert len(LEXICON.words()) >= 1000


def test_every_verb_finds_an_object_of_a_known_class():
    for topic in LEXICON.topics:
        for verb in topic.verbs:
            assert verb.objects and set(verb.objects) <= set(LEXICON.kinds), verb


def test_forms():
    assert make_noun("knife/knives", "utensil").plural == "knives"
    assert [make_noun(w, "x").plural for w in ("berry", "boy", "match")] == [
        "berries",
        "boys",
        "matches",
    ]
    eat = make_verb("eat/ate/eaten>food,drink")
    assert (eat.third, eat.past, eat.participle, eat.gerund) == ("eats", "ate", "eaten", "eating")
    assert make_verb("chop/chopped>food").gerund == "chopping"
    assert make_verb("carry>gear").past == "carried"


def test_verbs_agree_across_what_stands_between():
    rng = random.Random(5)
    plural = {"are", "have", "do"} | {v.base for t in LEXICON.topics for v in t.verbs}
    plural |= {v.base for v in LEXICON.person_verbs + LEXICON.intransitives}
    plural |= {v.base for v in LEXICON.verb_synonyms.values()}
    apart = 0
    for _ in range(500):
        clause = agreement_clause(Maker(rng))
        assert clause.tense in AGREEING
        subject = clause.logical_subject()
        tokens = clause_tokens(clause)
        inside = len(clause_tokens(clause)) - len(clause_tokens(clause, gap="subject"))
        finite = next(word for word, tag in tokens[inside:] if tag == "F")
        if finite not in ("was", "were"):
            assert (finite in plural) == subject.many, text(tokens)
        apart += subject.modifier is not None or subject.relative is not None
    assert apart > 250  # or the task would be one of neighbours


def test_a_broken_sister_differs_and_stays_close():
    rng = random.Random(6)
    for _ in range(300):
        _, good, bad = sister_sentences(rng)
        assert good != bad
        assert abs(len(good.split()) - len(bad.split())) < 12


def test_keeping_edits_never_add_a_name_number_or_negation():
    rng = random.Random(7)
    for _ in range(400):
        maker = Maker(rng)
        clause = event(maker)
        edited = apply_edits(maker, clause, 2, 0)
        if edited is None:
            continue
        names = {p.name for p in _phrases(clause)}
        assert {p.name for p in _phrases(edited)} <= names | {""}
        assert edited.negated == clause.negated
        assert edited.tense == clause.tense


def _phrases(clause):
    found = [clause.subject, clause.object, clause.subject.conjunct]
    return [p for p in found if isinstance(p, Phrase)]


def test_no_pair_is_of_equal_sentences():
    rng = random.Random(8)
    for index in range(200):
        premise, hypothesis = pair(rng, entailed=bool(index % 2))
        assert premise != hypothesis


@pytest.mark.parametrize("task", sorted(grammar.MAKERS))
def test_splits_share_no_row_and_labels_are_balanced(tasks, task):
    splits = tasks[task]
    rows = [row for split in splits.values() for row, _ in split]
    assert len(rows) == len(set(rows)) == sum(grammar.SIZES.values())
    for split, size in grammar.SIZES.items():
        assert 2 * sum(label for _, label in splits[split]) == size
        labels = [label for _, label in splits[split]]
        assert labels[: size // 2].count(1) not in (0, size // 2)  # shuffled


def test_held_out_words_are_not_in_training_but_in_dev(tasks):
    words = {w for form in HELD_OUT for w in form.split("/")}
    seen = {
        split: {w for row, _ in rows for w in row[0].split()}
        for split, rows in tasks["SST-2"].items()
    }
    assert not words & seen["train"]
    assert len(words & seen["dev"]) > 20


def test_files_have_the_layouts_of_glue(tasks, tmp_path):
    for task, splits in tasks.items():
        grammar.write_rows(tmp_path, task, splits)
    read = {
        f"{task}/{split}": (tmp_path / task / f"{split}.tsv").read_text("utf-8").split("\n")[:-1]
        for task in grammar.MAKERS
        for split in grammar.SIZES
    }
    for line in read["CoLA/train"] + read["CoLA/dev"]:
        source, label, star, sentence = line.split("\t")
        assert (label, star) in (("1", ""), ("0", "*")) and source and sentence
    assert read["CoLA/test"][0] == read["SST-2/test"][0] == "index\tsentence"
    assert read["SST-2/dev"][0] == "sentence\tlabel"
    assert {line.split("\t")[1] for line in read["SST-2/train"][1:]} == {"0", "1"}
    assert read["RTE/dev"][0] == "index\tsentence1\tsentence2\tlabel"
    assert read["RTE/test"][0] == "index\tsentence1\tsentence2"
    assert {line.split("\t")[3] for line in read["RTE/dev"][1:]} == {
        "entailment",
        "not_entailment",
    }
    for name, lines in read.items():
        header = 0 if name in ("CoLA/train", "CoLA/dev") else 1
        assert len(lines) - header == grammar.SIZES[name.split("/")[1]], name


# The embedded model ---------------------------------------------------------------------------


def test_the_model_takes_five_megabytes_at_most():
    assert sum(f.stat().st_size for f in MODEL.iterdir()) <= 5_000_000


def test_the_model_names_no_file_of_the_machine_it_was_made_on():
    for path in MODEL.iterdir():
        if path.suffix != ".png":
            assert b"corpus.train" not in path.read_bytes(), path


def test_the_vocabulary_covers_the_tasks(tasks):
    spm = pytest.importorskip("sentencepiece")
    model = spm.SentencePieceProcessor(model_file=str(MODEL / "sentencepiece.model"))
    known = {line.rsplit(" ", 1)[0] for line in (MODEL / "dict.txt").open(encoding="utf-8")}
    pieces = unknown = words = 0
    for splits in tasks.values():
        for row, _ in splits["train"] + splits["dev"]:
            for sentence in row:
                encoded = model.encode(sentence, out_type=str)
                unknown += sum(piece not in known for piece in encoded)
                pieces += len(encoded)
                words += len(sentence.split())
    assert unknown == 0
    assert pieces < 2 * words  # punctuation included: most words are one piece


def test_the_checkpoint_is_small_clean_and_safe_to_load():
    import argparse

    torch = pytest.importorskip("torch")
    if hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals([argparse.Namespace])
        state = torch.load(MODEL / "model.pt", map_location="cpu", weights_only=True)
    else:
        state = torch.load(MODEL / "model.pt", map_location="cpu")
    assert state["last_optimizer_state"] is None
    assert all(v.dtype == torch.float16 for v in state["model"].values() if v.is_floating_point())
    assert "encoder.sentence_encoder.layers.0.self_attn.q_proj.weight" in state["model"]
    args = vars(state["args"])
    assert args["arch"] == "roberta"
    assert not [v for v in args.values() if isinstance(v, str) and "/" in v]


def test_the_record_of_pre_training_shows_learning():
    record = json.loads((MODEL / "pretraining.json").read_text("utf-8"))
    held_out = [point["loss"] for point in record["curve"]["valid"]]
    assert held_out[-1] < 0.7 * held_out[0]
    assert record["final"]["valid"]["updates"] == record["updates"]

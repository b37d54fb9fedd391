"""Running text for pre-training: short documents that stay on their topic.

Four kinds. *Stories*: clauses about the same people and things. *Retellings*: a sentence, then
what follows from it in other words, as news reports and textbooks do. *Reviews*: sentences of one
opinion. *Glosses*: what a word means. No sentence here carries a task's label and none is broken.
"""

import random
from collections.abc import Iterator

from examples.glue.demo.toy_english import evaluative
from examples.glue.demo.toy_english.acceptability import agreement_clause
from examples.glue.demo.toy_english.clauses import (
    Clause,
    Phrase,
    clause_tokens,
    reflexive_pronoun,
    text,
)
from examples.glue.demo.toy_english.edits import apply_edits
from examples.glue.demo.toy_english.entailment import event
from examples.glue.demo.toy_english.maker import Maker
from examples.glue.demo.toy_english.sentiment import BAD, GOOD, Reviewer, articles
from examples.glue.demo.toy_english.words import LEXICON


def _pronoun(subject: Phrase) -> str:
    if subject.many:
        return "they"
    return "she" if reflexive_pronoun(subject) == "herself" else "he"


def story(rng: random.Random) -> list[str]:
    """Two to five sentences about a few people."""
    maker = Maker(rng)
    cast = [maker.person() for _ in range(2)]
    lines: list[str] = []
    for position in range(rng.randrange(2, 6)):
        roll = rng.random()
        if roll < 0.4:
            lines.append(text(clause_tokens(maker.clause())))
        elif roll < 0.55:
            lines.append(text(clause_tokens(agreement_clause(maker))))
        elif roll < 0.63:
            subject = maker.person()
            verb = rng.choice(LEXICON.person_verbs)
            clause = Clause(subject, verb, Phrase(reflexive=True), tense=maker.tense())
            lines.append(text(clause_tokens(clause)))
        elif roll < 0.68:
            lines.append(text(clause_tokens(_never(maker))))
        elif roll < 0.84:
            first = clause_tokens(maker.clause())
            link = [(rng.choice(LEXICON.connectives), "M")]
            lines.append(text(first + link + clause_tokens(maker.intransitive(rich=0.1))))
        else:
            actor = cast[position % 2]
            clause = maker.transitive(actor, rich=0.15)
            lines.append(text(clause_tokens(clause)))
            follow = maker.intransitive(actor, rich=0.2)
            tokens = clause_tokens(follow, gap="subject")
            lines.append(text([(_pronoun(actor), "N")] + tokens))
    return lines


def _never(maker: Maker) -> Clause:
    subject = maker.noun_phrase(maker.rng.choice(maker.topic.persons), 0.25)
    subject.determiner = "no"
    clause = (
        maker.intransitive(subject, 0.1) if maker.chance(0.5) else maker.transitive(subject, 0.1)
    )
    clause.tense, clause.time, clause.negated, clause.frequency = "perfect", "", False, "ever"
    return clause


def retelling(rng: random.Random) -> list[str]:
    """A sentence and what follows from it; now and then what was not the case."""
    maker = Maker(rng)
    lines: list[str] = []
    for _ in range(rng.randrange(1, 3)):
        clause = event(maker)
        lines.append(text(clause_tokens(clause)))
        again = apply_edits(maker, clause, rng.choice((1, 1, 2, 3)), 0)
        if again is not None:
            lines.append(text(clause_tokens(again)))
    return lines


def review(rng: random.Random) -> list[str]:
    """Two to four sentences of one opinion."""
    reviewer = Reviewer(rng)
    opinion = rng.choice((GOOD, BAD))
    lines = []
    for _ in range(rng.randrange(2, 5)):
        if rng.random() < 0.6:
            lines.append(articles(reviewer.plain(opinion)) + " .")
        else:
            lines.append(reviewer.sentence(opinion))
    return lines


def gloss(rng: random.Random) -> list[str]:
    """What words mean: synonyms, opposites, kinds."""
    lines = []
    for _ in range(3):
        roll = rng.random()
        if roll < 0.4:
            word = rng.choice(sorted(LEXICON.synonyms))
            lines.append(f"{word} means the same as {LEXICON.synonyms[word]}.")
        elif roll < 0.6:
            word = rng.choice(sorted(LEXICON.antonyms))
            lines.append(f"{word} is the opposite of {rng.choice(LEXICON.antonyms[word])}.")
        elif roll < 0.8:
            kind = rng.choice(sorted(set(LEXICON.hypernyms) & set(LEXICON.kinds)))
            noun = rng.choice(LEXICON.kinds[kind])
            lines.append(f"a {noun.singular} is a kind of {LEXICON.hypernyms[kind].singular}.")
        else:
            positive = rng.random() < 0.5
            table = evaluative.POSITIVE_ADJECTIVES if positive else evaluative.NEGATIVE_ADJECTIVES
            word, other = rng.sample(table.split(), 2)
            lines.append(f"what is {word} is {other} and {'good' if positive else 'bad'}.")
    return [articles(line)[0].upper() + articles(line)[1:] for line in lines]


def documents(rng: random.Random) -> Iterator[list[str]]:
    """Documents without end."""
    kinds = (story, retelling, review, gloss)
    while True:
        yield rng.choices(kinds, (38, 36, 22, 4))[0](rng)

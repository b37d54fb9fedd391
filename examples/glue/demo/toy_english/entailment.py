"""Pairs of sentences where the second follows from the first, or only looks as if it did.

A hypothesis starts as a copy of a clause of the premise and goes through :mod:`toy_english.edits`.
Both kinds of pair go through keeping edits, so that shared words tell little.
"""

import copy
import random

from examples.glue.demo.toy_english.clauses import Clause, Relative, Token, clause_tokens, text
from examples.glue.demo.toy_english.edits import apply_edits, participants
from examples.glue.demo.toy_english.maker import NUMBERS, Maker, phrase_head
from examples.glue.demo.toy_english.words import LEXICON


def event(maker: Maker) -> Clause:
    """A clause in which there is something to change."""
    roll = maker.rng.random()
    if roll < 0.45:
        clause = maker.transitive(rich=0.4)
    elif roll < 0.7:
        verb = maker.rng.choice(LEXICON.person_verbs)
        clause = Clause(maker.person(0.4), verb, maker.person(0.4), tense=maker.tense())
        if clause.object is not None and clause.object.name == clause.subject.name != "":
            clause.object = maker.noun_phrase(maker.rng.choice(maker.topic.persons))
        maker.adverbs(clause, 0.15)
    elif roll < 0.85:
        clause = maker.copular()
    else:
        clause = maker.intransitive(rich=0.6)
    for phrase in participants(clause):
        if phrase.determiner in ("a", "another", "one", "every") and maker.chance(0.7):
            phrase.determiner = "the"
        if phrase.plural and maker.chance(0.3):
            phrase.determiner = maker.rng.choice(NUMBERS)
    if clause.object is not None and not clause.tense.endswith("progressive"):
        clause.passive = maker.chance(0.25)
    if not clause.subject.conjunct and clause.verb is not None and maker.chance(0.12):
        clause.subject.conjunct = maker.person(0.6)
    return clause


def _embed(maker: Maker, clause: Clause, true: bool) -> list[Token]:
    """A premise in which the clause is part of another sentence, and true or open there."""
    rng = maker.rng
    tokens = clause_tokens(clause)
    other = clause_tokens(maker.intransitive(rich=0.1))
    if rng.random() < 0.5:
        if not true:
            return [("if", "M")] + tokens + [(",", "M")] + other
        link = [(rng.choice(("and", "but", "while", "because")), "M")]
        return tokens + link + other if maker.chance(0.5) else other + link + tokens
    verb = rng.choice(LEXICON.factives if true else LEXICON.nonfactives)
    who = Clause(maker.person(0.6, 0.1), verb, tense=rng.choice(("present", "past")))
    return clause_tokens(who) + [("that", "R")] + tokens


def _relative_pair(maker: Maker) -> tuple[list[Token], Clause, Clause]:
    """``the cook who saw the waiter slept``: who saw, who slept?"""
    clause = maker.intransitive(maker.person(names=0.0, rich=0.3), rich=0.2)
    clause.negated = False
    clause.subject.modifier = None  # whose relative clause would it be?
    inner = Clause(
        phrase_head(clause.subject),
        maker.rng.choice(LEXICON.person_verbs),
        maker.person(0.5, 0.2),
        tense="past",
    )
    premise = copy.deepcopy(clause)
    swapped = maker.chance(0.4)
    if swapped:
        inner.subject, inner.object = inner.object or inner.subject, inner.subject
    premise.subject.relative = Relative(inner, "object" if swapped else "subject")
    told = copy.deepcopy(inner)
    for phrase in participants(told):
        if phrase.noun == clause.subject.noun and not phrase.name:
            phrase.determiner = clause.subject.determiner
    bystander = inner.subject if swapped else inner.object
    assert bystander is not None
    wrong = copy.deepcopy(clause)
    wrong.subject = copy.deepcopy(bystander)
    return clause_tokens(premise), told if maker.chance(0.5) else clause, wrong


def pair(rng: random.Random, entailed: bool) -> tuple[str, str]:
    """A premise and a hypothesis."""
    while True:
        maker = Maker(rng)
        keep = rng.choice((1, 1, 1, 2))
        if maker.chance(0.12):
            tokens, told, wrong = _relative_pair(maker)
            if entailed:
                hypothesis = apply_edits(maker, told, rng.choice((0, 1)), 0)
            elif maker.chance(0.5):
                hypothesis = apply_edits(maker, wrong, 0, 0)
            else:
                hypothesis = apply_edits(maker, told, 0, 1)
        else:
            clause = event(maker)
            true = entailed or maker.chance(0.6)
            embedded = not true or maker.chance(0.35)
            tokens = _embed(maker, clause, true) if embedded else clause_tokens(clause)
            hypothesis = apply_edits(maker, clause, keep, 0 if entailed or not true else 1)
        if hypothesis is None:
            continue
        one, other = text(tokens), text(clause_tokens(hypothesis))
        if one != other:
            return one, other

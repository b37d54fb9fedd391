"""Edits of a clause: those that keep it true, and those that need not.

A keeping edit (a synonym, the passive, a modifier less) makes a clause that follows from the first
one. A breaking edit (roles swapped, an antonym, a modifier more) makes one that does not. Every
edit works in place and says whether it found something to change.
"""

import copy
from collections.abc import Callable

from examples.glue.demo.toy_english.clauses import Clause, Phrase
from examples.glue.demo.toy_english.maker import NUMBERS, Maker
from examples.glue.demo.toy_english.words import LEXICON, Noun

Edit = Callable[[Maker, Clause], bool]
SOME = ("some", "several")


def participants(clause: Clause) -> list[Phrase]:
    """Subject and object, as far as they are phrases of their own."""
    found = [clause.subject] + ([clause.object] if clause.object is not None else [])
    return [p for p in found if not p.reflexive]


# Keeping edits: true when they changed something ------------------------------------------


def use_synonym(maker: Maker, clause: Clause) -> bool:
    """``bought`` for ``purchased``, ``large`` for ``big``."""
    spots: list[Callable[[], None]] = []
    verb = clause.verb
    if verb is not None and verb.base in LEXICON.verb_synonyms:
        synonym = LEXICON.verb_synonyms[verb.base]
        spots.append(lambda: setattr(clause, "verb", synonym))
    if clause.manner in LEXICON.synonyms:
        spots.append(lambda: setattr(clause, "manner", LEXICON.synonyms[clause.manner]))
    phrases = participants(clause) + ([clause.place] if clause.place is not None else [])
    for phrase in phrases:
        if phrase.noun is not None and phrase.noun.singular in LEXICON.noun_synonyms:
            other = LEXICON.noun_synonyms[phrase.noun.singular]
            spots.append(lambda p=phrase, n=other: setattr(p, "noun", n))  # type: ignore[misc]
        for i, word in enumerate(phrase.adjectives):
            if word in LEXICON.synonyms:
                adjective = LEXICON.synonyms[word]
                spots.append(lambda p=phrase, i=i, a=adjective: p.adjectives.__setitem__(i, a))  # type: ignore[misc]
    for i, word in enumerate(clause.complement):
        if word in LEXICON.synonyms:
            adjective = LEXICON.synonyms[word]
            spots.append(lambda i=i, a=adjective: clause.complement.__setitem__(i, a))  # type: ignore[misc]
    if not spots:
        return False
    maker.rng.choice(spots)()
    return True


def change_voice(maker: Maker, clause: Clause) -> bool:
    """Active to passive and back."""
    if clause.object is None or clause.object.reflexive or clause.tense.endswith("progressive"):
        return False
    if clause.agentless:
        return False
    clause.passive = not clause.passive
    return True


def drop_agent(maker: Maker, clause: Clause) -> bool:
    """``the soup was cooked by Anna`` to ``the soup was cooked``."""
    if clause.object is None or clause.negated or clause.agentless:
        return False
    if clause.object.reflexive or clause.tense.endswith("progressive"):
        return False
    clause.passive = clause.agentless = True
    return True


def drop_modifier(maker: Maker, clause: Clause) -> bool:
    """An adjective, an adverb, a place or a time less; false under negation."""
    if clause.negated:
        return False
    spots: list[Callable[[], None]] = []
    if clause.manner:
        spots.append(lambda: setattr(clause, "manner", ""))
    if clause.place is not None:
        spots.append(lambda: setattr(clause, "place", None))
    if clause.time:
        spots.append(lambda: setattr(clause, "time", ""))
    for phrase in participants(clause):
        if phrase.adjectives and phrase.determiner not in ("every", "no"):
            spots.append(lambda p=phrase: p.adjectives.pop())  # type: ignore[misc]
        if phrase.relative is not None:
            spots.append(lambda p=phrase: setattr(p, "relative", None))  # type: ignore[misc]
        if phrase.conjunct is not None:
            spots.append(lambda p=phrase: setattr(p, "conjunct", None))  # type: ignore[misc]
    if not spots:
        return False
    maker.rng.choice(spots)()
    return True


def generalise(maker: Maker, clause: Clause) -> bool:
    """``the rose`` to ``a flower``, ``four cooks`` to ``several cooks``."""
    if clause.negated:
        return False
    spots: list[Callable[[], None]] = []
    for phrase in participants(clause):
        if phrase.noun is not None and phrase.noun.kind in LEXICON.hypernyms:
            above = LEXICON.hypernyms[phrase.noun.kind]
            if phrase.determiner not in ("every", "no") and above != phrase.noun:
                spots.append(lambda p=phrase, n=above: _lift(p, n))  # type: ignore[misc]
        if phrase.determiner in NUMBERS and phrase.determiner != "two":
            word = maker.rng.choice(SOME)
            spots.append(lambda p=phrase, w=word: setattr(p, "determiner", w))  # type: ignore[misc]
    if not spots:
        return False
    maker.rng.choice(spots)()
    return True


def _lift(phrase: Phrase, noun: Noun) -> None:
    phrase.noun, phrase.adjectives = noun, []
    phrase.relative = phrase.modifier = None
    if not phrase.plural:
        phrase.determiner = "a"
    elif phrase.determiner not in NUMBERS:
        phrase.determiner = "some"


# Breaking edits -----------------------------------------------------------------------------


def swap_roles(maker: Maker, clause: Clause) -> bool:
    """Who did it to whom."""
    if clause.object is None or clause.agentless or not clause.object.person:
        return False
    if clause.object.reflexive:
        return False
    clause.subject, clause.object = clause.object, clause.subject
    return True


def oppose(maker: Maker, clause: Clause) -> bool:
    """An adjective becomes its opposite."""
    spots: list[tuple[list[str], int]] = []
    for words in [p.adjectives for p in participants(clause)] + [clause.complement]:
        spots += [(words, i) for i, word in enumerate(words) if word in LEXICON.antonyms]
    if not spots:
        return False
    words, i = maker.rng.choice(spots)
    words[i] = maker.rng.choice(LEXICON.antonyms[words[i]])
    return True


def negate(maker: Maker, clause: Clause) -> bool:
    """*not* comes or goes."""
    if clause.frequency or clause.subject.determiner in ("some", "several", "many", "a"):
        return False
    clause.negated = not clause.negated
    return True


def add_modifier(maker: Maker, clause: Clause) -> bool:
    """What the premise does not say."""
    if clause.negated:
        return False
    spots: list[Callable[[], None]] = []
    for phrase in participants(clause):
        if phrase.noun is not None and not phrase.adjectives and phrase.noun.kind != "aspect":
            word = maker.adjective(phrase.noun)
            spots.append(lambda p=phrase, w=word: p.adjectives.append(w))  # type: ignore[misc]
    if clause.verb is not None and not clause.manner:
        adverb = maker.rng.choice(LEXICON.adverbs)
        spots.append(lambda: setattr(clause, "manner", adverb))
    if clause.place is None:
        place = maker.place()
        spots.append(lambda: setattr(clause, "place", place))
    if not clause.time and clause.tense in LEXICON.times and not clause.frequency:
        time = maker.rng.choice(LEXICON.times[clause.tense])
        spots.append(lambda: setattr(clause, "time", time))
    if not spots:
        return False
    maker.rng.choice(spots)()
    return True


def other_number(maker: Maker, clause: Clause) -> bool:
    """Five instead of three."""
    spots = [p for p in participants(clause) if p.determiner in NUMBERS]
    if not spots:
        return False
    phrase = maker.rng.choice(spots)
    now = NUMBERS.index(phrase.determiner)
    phrase.determiner = maker.rng.choice(NUMBERS[now + 1 :] or NUMBERS[: now - 1])
    return True


def other_noun(maker: Maker, clause: Clause) -> bool:
    """Another thing of the same class, another name, another place."""
    phrases = participants(clause) + ([clause.place] if clause.place is not None else [])
    phrase = maker.rng.choice(phrases)
    if phrase.name:
        fresh = maker.name()
        if fresh.name == phrase.name:
            return False
        phrase.name, phrase.female = fresh.name, fresh.female
        return True
    noun = phrase.noun
    if noun is None or noun.kind == "aspect":
        return False
    if noun.kind == "place":
        fresh_place = maker.place().noun
        assert fresh_place is not None
        other = fresh_place
    elif noun.kind == "person":
        other = maker.rng.choice(maker.topic.persons)
    else:
        other = maker.rng.choice(LEXICON.kinds.get(noun.kind, [noun]))
    twin = LEXICON.noun_synonyms.get(noun.singular)
    if other.singular == noun.singular or other == twin:
        return False
    phrase.noun = other
    return True


def other_verb(maker: Maker, clause: Clause) -> bool:
    """Another verb that takes the same object."""
    verb, target = clause.verb, clause.object
    if verb is None:
        return False
    if target is None:
        pool = LEXICON.intransitives
    elif target.person:
        pool = LEXICON.person_verbs
    elif target.noun is not None:
        kind = target.noun.kind
        pool = [v for t in LEXICON.topics for v in t.verbs if kind in v.objects]
    else:
        return False
    other = maker.rng.choice(pool) if pool else verb
    twin = LEXICON.verb_synonyms.get(verb.base)
    if other.base == verb.base or (twin is not None and other.base == twin.base):
        return False
    clause.verb = other
    return True


KEEPING: tuple[tuple[Edit, int], ...] = (
    (use_synonym, 4),
    (change_voice, 3),
    (drop_agent, 1),
    (drop_modifier, 3),
    (generalise, 2),
)
BREAKING: tuple[tuple[Edit, int], ...] = (
    (swap_roles, 2),
    (oppose, 3),
    (negate, 8),
    (add_modifier, 2),
    (other_number, 3),
    (other_noun, 4),
    (other_verb, 3),
)


def apply_edits(maker: Maker, clause: Clause, keep: int, breaks: int) -> Clause | None:
    """A copy of the clause after so many edits of each kind, or None where they do not apply.

    The breaking ones come last: a keeping one could undo them (*the cook* to *the baker*, which
    is wrong, to *a person*, which is right again).
    """
    edited = copy.deepcopy(clause)
    kept = done = 0
    for _ in range(8 * keep):
        if kept < keep:
            edit = maker.rng.choices([e for e, _ in KEEPING], [w for _, w in KEEPING])[0]
            kept += edit(maker, edited)
    for _ in range(8 * breaks):
        if done < breaks:
            edit = maker.rng.choices([e for e, _ in BREAKING], [w for _, w in BREAKING])[0]
            done += edit(maker, edited)
    return edited if done == breaks and (kept == keep or breaks) else None

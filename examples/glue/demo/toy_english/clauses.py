"""Noun phrases and clauses as structures, and how they turn into words.

A rendered clause is a list of tokens ``(word, tag)``. The tags are what the tasks need to break a
sentence at a chosen place:

====  ==========================================
D     determiner
A     adjective
N     noun or name
P     preposition
F     finite verb, the one that agrees
V     any other verb form
R     relative pronoun
X     reflexive pronoun
M     adverb, time, negation, connective, comma
====  ==========================================
"""

from dataclasses import dataclass, field
from typing import Optional

from examples.glue.demo.toy_english.words import VOWELS, Noun, Verb

Token = tuple[str, str]

# Tenses whose finite verb shows the number of its subject (others, like the past, do not).
AGREEING = ("present", "perfect", "progressive", "past progressive")


@dataclass
class Phrase:
    """A noun phrase; ``name`` replaces noun and determiner."""

    noun: Noun | None = None
    plural: bool = False
    determiner: str = "the"
    adjectives: list[str] = field(default_factory=list)
    name: str = ""
    female: bool | None = None
    modifier: tuple[str, "Phrase"] | None = None
    relative: Optional["Relative"] = None
    conjunct: Optional["Phrase"] = None
    reflexive: bool = False

    @property
    def many(self) -> bool:
        """Whether a verb agrees with this phrase in the plural."""
        return self.plural or self.conjunct is not None

    @property
    def person(self) -> bool:
        """Whether it denotes people."""
        return bool(self.name) or (self.noun is not None and self.noun.kind == "person")

    def head(self) -> str:
        """The noun in its number, or the name."""
        if self.name:
            return self.name
        assert self.noun is not None
        return self.noun.plural if self.plural else self.noun.singular


@dataclass
class Relative:
    """A clause with a gap that modifies a noun: ``who saw the ship``, ``that the cook washed``."""

    clause: "Clause"
    gap: str  # "subject" or "object"


@dataclass
class Clause:
    """Subject, predicate and what goes with it; ``complement`` makes it a clause with *be*."""

    subject: Phrase
    verb: Verb | None = None
    object: Phrase | None = None
    complement: list[str] = field(default_factory=list)
    tense: str = "past"
    negated: bool = False
    passive: bool = False
    agentless: bool = False
    frequency: str = ""
    manner: str = ""
    place: Phrase | None = None
    time: str = ""

    def logical_subject(self) -> Phrase:
        """The phrase the finite verb agrees with."""
        if self.passive and self.object is not None:
            return self.object
        return self.subject


def phrase_tokens(phrase: Phrase) -> list[Token]:
    """Words of a noun phrase, its modifiers included."""
    if phrase.name:
        tokens = [(phrase.name.capitalize(), "N")]
    else:
        tokens = [(word, "D") for word in phrase.determiner.split()]
        for position, adjective in enumerate(phrase.adjectives):
            if position:
                tokens.append(("and", "M"))
            tokens.append((adjective, "A"))
        tokens += [(word, "N") for word in phrase.head().split()]
    if phrase.modifier is not None:
        preposition, inner = phrase.modifier
        tokens += [(preposition, "P")] + phrase_tokens(inner)
    if phrase.relative is not None:
        tokens += relative_tokens(phrase.relative, phrase.person)
    if phrase.conjunct is not None:
        tokens += [("and", "M")] + phrase_tokens(phrase.conjunct)
    return tokens


def relative_tokens(relative: Relative, person: bool) -> list[Token]:
    """A relative pronoun and its clause."""
    pronoun = "who" if person else "that"
    return [(pronoun, "R")] + clause_tokens(relative.clause, gap=relative.gap)


def _be(tense: str, many: bool) -> str:
    if tense == "past":
        return "were" if many else "was"
    return "are" if many else "is"


def _passive(clause: Clause, many: bool) -> list[Token]:
    """Finite verb first, then the rest of a passive (or of a clause with *be*: no participle)."""
    tense = clause.tense
    if tense == "perfect":
        group = [("have" if many else "has", "F"), ("been", "V")]
    elif tense == "future":
        group = [("will", "F"), ("be", "V")]
    elif tense.endswith("progressive"):
        past = "past" if tense.startswith("past") else "present"
        group = [(_be(past, many), "F"), ("being", "V")]
    else:
        group = [(_be(tense, many), "F")]
    if clause.verb is not None:
        group.append((clause.verb.participle, "V"))
    return group


def _active(clause: Clause, many: bool) -> list[Token]:
    verb, tense = clause.verb, clause.tense
    assert verb is not None
    if tense == "perfect":
        return [("have" if many else "has", "F"), (verb.participle, "V")]
    if tense == "future":
        return [("will", "F"), (verb.base, "V")]
    if tense.endswith("progressive"):
        past = "past" if tense.startswith("past") else "present"
        return [(_be(past, many), "F"), (verb.gerund, "V")]
    if clause.negated:
        helper = "did" if tense == "past" else "do" if many else "does"
        return [(helper, "F"), (verb.base, "V")]
    if tense == "past":
        return [(verb.past, "F")]
    return [(verb.base if many else verb.third, "F")]


def verb_tokens(clause: Clause, wrong_number: bool = False) -> list[Token]:
    """The verb group; ``wrong_number`` breaks its agreement."""
    many = clause.logical_subject().many != wrong_number
    copular = clause.verb is None
    group = _passive(clause, many) if copular or clause.passive else _active(clause, many)
    extra = [("not", "M")] if clause.negated else []
    if clause.frequency:
        extra.append((clause.frequency, "M"))
    lone = len(group) == 1
    if lone and not copular:  # "often sings", but "is often late"
        return extra + group
    return group[:1] + extra + group[1:]


def reflexive_pronoun(subject: Phrase, wrong: bool = False) -> str:
    """The pronoun that refers back to the subject, or one that cannot."""
    if subject.many != wrong:
        return "themselves"
    female = subject.female if subject.female is not None else len(subject.head()) % 2 == 0
    return "herself" if female else "himself"


def clause_tokens(
    clause: Clause, gap: str = "", wrong_number: bool = False, wrong_reflexive: bool = False
) -> list[Token]:
    """Words of a clause. ``gap`` leaves out the subject or the object (relative clauses)."""
    verbs = verb_tokens(clause, wrong_number)
    subject = [] if gap == "subject" else phrase_tokens(clause.logical_subject())
    tokens = subject + verbs
    if clause.verb is None:
        for position, word in enumerate(clause.complement):
            tokens += [("and", "M")] if position else []
            tokens.append((word, "A"))
    elif clause.passive:
        if not clause.agentless:
            tokens += [("by", "P")] + phrase_tokens(clause.subject)
    elif clause.object is not None and gap != "object":
        if clause.object.reflexive:
            tokens.append((reflexive_pronoun(clause.subject, wrong_reflexive), "X"))
        else:
            tokens += phrase_tokens(clause.object)
    if clause.manner:
        tokens.append((clause.manner, "M"))
    if clause.place is not None:
        assert clause.place.noun is not None
        tokens += [(clause.place.noun.preposition, "P")] + phrase_tokens(clause.place)
    if clause.time:
        tokens += [(word, "M") for word in clause.time.split()]
    return tokens


def text(tokens: list[Token], end: str = ".") -> str:
    """A written sentence: *a* or *an*, capital first letter, no blank before commas."""
    words: list[str] = []
    for index, (word, _) in enumerate(tokens):
        if word == "a" and index + 1 < len(tokens):
            following = tokens[index + 1][0]
            sounds = following[0] in VOWELS and not following.startswith(("uni", "use"))
            word = "an" if sounds or following.startswith(("hon", "hour")) else "a"
        if word == "," and words:
            words[-1] += ","
        else:
            words.append(word)
    sentence = " ".join(words) + end
    return sentence[0].upper() + sentence[1:]

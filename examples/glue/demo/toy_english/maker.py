"""Draws noun phrases and clauses on a topic."""

import random

from examples.glue.demo.toy_english import lexicon
from examples.glue.demo.toy_english.clauses import Clause, Phrase, Relative
from examples.glue.demo.toy_english.words import LEXICON, Noun, Topic, Verb, make_noun

ONE = ("the", "the", "the", "the", "a", "a", "this", "that", "every", "another", "one")
MANY = ("the", "the", "the", "some", "several", "many", "these", "those", "two", "three", "four")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "ten", "twelve")
FRIENDS = [make_noun(e, "person") for e in lexicon.RELATIONAL_PERSONS.split()]
ASPECTS = [make_noun(e, "aspect") for e in lexicon.RELATIONAL_THINGS.split()]
ABSTRACT = ("crime", "illness", "theory", "contest", "piece", "puzzle", "show")
NEAR = ("near", "behind", "with", "beside")
# Complements of "the price of …": an aspect is not hungry.
ASPECT_ADJECTIVES = ("strange", "odd", "important", "famous", "unknown", "different", "remarkable")


class Maker:
    """A source of phrases and clauses about one topic, from one random stream."""

    def __init__(self, rng: random.Random, topic: Topic | None = None) -> None:
        self.rng = rng
        self.topic = topic if topic is not None else rng.choice(LEXICON.topics)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.rng.random() < probability

    # Noun phrases -------------------------------------------------------------------------

    def name(self) -> Phrase:
        """A person by name."""
        female = self.chance(0.5)
        return Phrase(name=self.rng.choice(LEXICON.names[0 if female else 1]), female=female)

    def thing(self, kind: str) -> Noun:
        """A noun of a class, rather one of the topic, now and then by its synonym."""
        nouns = LEXICON.kinds[kind]
        own = [noun for noun in nouns if noun.topic == self.topic.name]
        noun = self.rng.choice(own if own and self.chance(0.85) else nouns)
        if noun.singular in LEXICON.noun_synonyms and self.chance(0.4):
            return LEXICON.noun_synonyms[noun.singular]
        return noun

    def adjective(self, noun: Noun) -> str:
        """An adjective that suits the noun."""
        if noun.kind == "aspect":
            return self.rng.choice(ASPECT_ADJECTIVES)
        own = noun.topic == self.topic.name and self.chance(0.35)
        if noun.kind == "person":
            word = self.rng.choice(
                self.topic.person_adjectives if own else LEXICON.person_adjectives
            )
        elif own and noun.kind != "place":
            word = self.rng.choice(self.topic.thing_adjectives)
        else:
            word = self.rng.choice(LEXICON.thing_adjectives)
        if word in LEXICON.synonyms and self.chance(0.4):
            word = LEXICON.synonyms[word]
        return word

    def noun_phrase(self, noun: Noun, rich: float = 0.35, plural: bool | None = None) -> Phrase:
        """A phrase around a noun; ``rich`` is the chance of an adjective."""
        many = self.chance(0.42) if plural is None else plural
        phrase = Phrase(noun, many, self.rng.choice(MANY if many else ONE))
        if self.chance(rich):
            phrase.adjectives.append(self.adjective(noun))
            if self.chance(0.1):
                other = self.adjective(noun)
                clash = LEXICON.antonyms.get(other, [])
                if other != phrase.adjectives[0] and phrase.adjectives[0] not in clash:
                    phrase.adjectives.append(other)
        return phrase

    def person(self, names: float = 0.25, rich: float = 0.3) -> Phrase:
        """Somebody: by name, by trade, or as somebody's friend."""
        if self.chance(names):
            return self.name()
        noun = self.rng.choice(self.topic.persons)
        if noun.singular in LEXICON.noun_synonyms and self.chance(0.4):
            noun = LEXICON.noun_synonyms[noun.singular]
        phrase = self.noun_phrase(noun, rich)
        if self.chance(0.1):
            friend = self.noun_phrase(self.rng.choice(FRIENDS), 0.2)
            friend.determiner = "the"
            friend.modifier = ("of", phrase)
            return friend
        return phrase

    def place(self) -> Phrase:
        """Where: the preposition comes with the noun."""
        noun = self.rng.choice(self.topic.places)
        if noun.singular in LEXICON.noun_synonyms and self.chance(0.4):
            noun = LEXICON.noun_synonyms[noun.singular]
        phrase = Phrase(noun, False, self.rng.choice(("the", "the", "the", "a", "this")))
        if self.chance(0.2):
            phrase.adjectives.append(self.adjective(noun))
        return phrase

    def attract(self, phrase: Phrase, plural: bool | None = None) -> Phrase:
        """Put a second noun between this phrase and its verb: ``near the boats``."""
        concrete = [n for n in self.topic.things if n.kind not in ABSTRACT]
        inner = self.noun_phrase(self.rng.choice(concrete), 0.2, plural)
        phrase.modifier = (self.rng.choice(NEAR), inner)
        return phrase

    def aspect(self, plural: bool | None = None) -> Phrase:
        """``the price of the melons``."""
        phrase = self.noun_phrase(self.rng.choice(ASPECTS), 0.1, plural)
        phrase.determiner = "the"
        inner = self.noun_phrase(self.rng.choice(self.topic.things), 0.25)
        inner.determiner = "the" if self.chance(0.6) else inner.determiner
        phrase.modifier = ("of", inner)
        return phrase

    # Clauses ------------------------------------------------------------------------------

    def tense(self) -> str:
        """The past above all, as in stories."""
        names = ("past", "present", "perfect", "progressive", "past progressive", "future")
        return self.rng.choices(names, (40, 27, 12, 9, 6, 6))[0]

    def adverbs(self, clause: Clause, rich: float = 0.3) -> Clause:
        """How, where, when and how often."""
        if clause.verb is not None and self.chance(rich):
            clause.manner = self.rng.choice(LEXICON.adverbs)
        if self.chance(rich):
            clause.place = self.place()
        when = {"past progressive": "past", "progressive": "", "perfect": ""}
        times = LEXICON.times.get(when.get(clause.tense, clause.tense), [])
        if times and self.chance(rich * 0.7):
            clause.time = self.rng.choice(times)
        elif clause.tense == "present" and self.chance(rich):
            clause.frequency = self.rng.choice(LEXICON.frequency)
        return clause

    def verb_and_object(self) -> tuple[Verb, Phrase]:
        """A verb and something it selects."""
        if self.chance(0.25):
            return self.rng.choice(LEXICON.person_verbs), self.person()
        verb = self.rng.choice(self.topic.verbs)
        kind = self.rng.choice(verb.objects)
        target = self.person() if kind == "person" else self.noun_phrase(self.thing(kind))
        if verb.base in LEXICON.verb_synonyms and self.chance(0.4):
            verb = LEXICON.verb_synonyms[verb.base]
        return verb, target

    def transitive(self, subject: Phrase | None = None, rich: float = 0.3) -> Clause:
        """Somebody does something to something."""
        verb, target = self.verb_and_object()
        who = subject if subject is not None else self.person()
        if target.name and target.name == who.name:
            target = self.noun_phrase(self.rng.choice(self.topic.persons))
        clause = Clause(who, verb, target, tense=self.tense(), negated=self.chance(0.1))
        return self.adverbs(clause, rich)

    def intransitive(self, subject: Phrase | None = None, rich: float = 0.4) -> Clause:
        """Somebody does something."""
        who = subject if subject is not None else self.person()
        verb = self.rng.choice(LEXICON.intransitives)
        return self.adverbs(Clause(who, verb, tense=self.tense(), negated=self.chance(0.1)), rich)

    def copular(self, subject: Phrase | None = None) -> Clause:
        """Somebody or something is somehow."""
        if subject is None:
            subject = (
                self.person()
                if self.chance(0.4)
                else self.noun_phrase(self.rng.choice(self.topic.things), 0.15)
            )
        noun = subject.noun
        if noun is None or noun.kind == "person":
            word = self.rng.choice(LEXICON.person_adjectives)
        else:
            word = self.adjective(noun)
        tense = self.rng.choice(("past", "present", "present", "perfect"))
        clause = Clause(subject, complement=[word], tense=tense, negated=self.chance(0.12))
        if subject.adjectives and word in (
            LEXICON.antonyms.get(subject.adjectives[0], []) + subject.adjectives
        ):
            subject.adjectives = []
        return clause

    def passive(self) -> Clause:
        """Something is done, now and then by somebody."""
        clause = self.transitive()
        clause.passive = True
        clause.agentless = self.chance(0.4)
        if clause.tense.endswith("progressive") and self.chance(0.7):
            clause.tense = "past"
        return clause

    def relative(self, phrase: Phrase) -> Phrase:
        """Give a noun a relative clause, with the gap of a subject or of an object."""
        if phrase.name or phrase.noun is None:
            return phrase
        if phrase.person and self.chance(0.55):
            clause = self.transitive(subject=phrase_head(phrase), rich=0.12)
            gap = "subject"
        elif phrase.person:
            verb = self.rng.choice(LEXICON.person_verbs)
            clause = Clause(self.person(rich=0.15), verb, phrase_head(phrase), tense=self.tense())
            gap = "object"
        else:
            verbs = [v for t in LEXICON.topics for v in t.verbs if phrase.noun.kind in v.objects]
            if not verbs:
                return phrase
            verb = self.rng.choice(verbs)
            clause = Clause(self.person(rich=0.15), verb, phrase_head(phrase), tense=self.tense())
            gap = "object"
        phrase.relative = Relative(clause, gap)
        return phrase

    def clause(self) -> Clause:
        """Any clause."""
        kind = self.rng.choices(("transitive", "intransitive", "copular", "passive"), (5, 2, 2, 2))
        if kind[0] == "transitive":
            clause = self.transitive()
        elif kind[0] == "intransitive":
            clause = self.intransitive()
        elif kind[0] == "copular":
            clause = self.copular(self.aspect() if self.chance(0.25) else None)
        else:
            clause = self.passive()
        subject = clause.logical_subject()
        if subject.modifier is None and not subject.name and subject.noun is not None:
            roll = self.rng.random()
            if roll < 0.14:
                self.attract(subject)
            elif roll < 0.3:
                self.relative(subject)
        if clause.subject.person and not clause.passive and self.chance(0.07):
            clause.subject.conjunct = self.person(names=0.5)
        return clause


def phrase_head(phrase: Phrase) -> Phrase:
    """The bare head of a phrase: what a gap inside its relative clause agrees with."""
    return Phrase(phrase.noun, phrase.plural, name=phrase.name, female=phrase.female)


def one_of(rng: random.Random, items: list[str]) -> str:
    """A random item of a list of words written with hyphens for blanks."""
    return rng.choice(items).replace("-", " ")

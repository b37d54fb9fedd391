"""Acceptable sentences and their broken sisters, for the task in CoLA's layout."""

import random
from collections.abc import Callable

from examples.glue.demo.toy_english.clauses import (
    AGREEING,
    Clause,
    Phrase,
    Token,
    clause_tokens,
    text,
)
from examples.glue.demo.toy_english.maker import Maker
from examples.glue.demo.toy_english.words import LEXICON

SINGULAR_ONLY = ("a", "this", "that", "every", "another", "one")
PLURAL_ONLY = ("several", "many", "these", "those", "two", "three", "four")
# Verbs that go without their object: "she sang".
OBJECT_OPTIONAL = (
    "eat drink cook bake fry boil read write study teach play sing drive park paint win lose "
    "iron knit sew fold row anchor sink explain practise rehearse perform compose record watch "
    "enter attack fire load confess visit call help follow phone kiss hug salute forgive obey "
    "hear see know break roll bounce kick grow breed harvest taste smell investigate translate"
).split()

Broken = list[Token] | None


def agreement_clause(maker: Maker, apart: float = 0.75) -> Clause:
    """A clause whose finite verb agrees; ``apart`` is the chance of something in between."""
    rng = maker.rng
    roll = rng.random()
    if roll < 0.25:
        clause = maker.copular(maker.aspect())
    elif roll < 0.6:
        clause = maker.copular() if maker.chance(0.5) else maker.intransitive(rich=0.2)
    else:
        clause = maker.transitive(rich=0.15) if maker.chance(0.6) else maker.passive()
    if clause.tense not in AGREEING:
        clause.tense = rng.choice(("present", "present", "perfect", "progressive"))
        clause.time = ""
    if clause.verb is None and clause.tense == "progressive":
        clause.tense = "present"
    subject = clause.logical_subject()
    if not subject.name and subject.modifier is None and maker.chance(apart):
        if maker.chance(0.5):
            opposite = maker.chance(0.75)
            maker.attract(subject, plural=subject.plural != opposite)
        else:
            maker.relative(subject)
    return clause


def wrong_agreement(maker: Maker) -> tuple[list[Token], Broken]:
    """``the keys to the cabinet is rusty``."""
    clause = agreement_clause(maker, apart=0.5)
    return clause_tokens(clause), clause_tokens(clause, wrong_number=True)


def wrong_determiner(maker: Maker) -> tuple[list[Token], Broken]:
    """``this cups``, ``several cup``."""
    good = clause_tokens(maker.clause())
    places = [
        i
        for i, (word, tag) in enumerate(good)
        if tag == "D" and word in SINGULAR_ONLY + PLURAL_ONLY
    ]
    if not places:
        return good, None
    at = maker.rng.choice(places)
    swap = PLURAL_ONLY if good[at][0] in SINGULAR_ONLY else SINGULAR_ONLY
    return good, good[:at] + [(maker.rng.choice(swap), "D")] + good[at + 1 :]


def wrong_order(maker: Maker) -> tuple[list[Token], Broken]:
    """Two neighbours swapped that cannot stand that way round."""
    good = clause_tokens(maker.clause())
    bad_pairs = ("DN", "DA", "PD", "FD", "FV", "RF", "AN", "NR")
    places = [
        i
        for i in range(len(good) - 1)
        if good[i][1] + good[i + 1][1] in bad_pairs and i + 2 < len(good)
    ]
    if not places:
        return good, None
    at = maker.rng.choice(places)
    return good, good[:at] + [good[at + 1], good[at]] + good[at + 2 :]


def missing_word(maker: Maker) -> tuple[list[Token], Broken]:
    """A word that cannot be missed is missing: a determiner of a singular noun, a preposition."""
    good = clause_tokens(maker.clause())
    places = []
    for i, (word, tag) in enumerate(good[:-1]):
        following = good[i + 1][1]
        if (
            (tag == "D" and word in ("a", "this", "every", "another") and following in "AN")
            or (tag == "P" and following == "D" and i and good[i - 1][1] in "NV")
            or (tag == "F" and following in "VDM" and word not in ("sees",))
        ):
            places.append(i)
    if not places:
        return good, None
    at = maker.rng.choice(places)
    return good, good[:at] + good[at + 1 :]


def wrong_gap(maker: Maker) -> tuple[list[Token], Broken]:
    """``the soup that the cook tasted it``, or an object left out."""
    clause = maker.transitive(rich=0.15)
    if clause.object is None or clause.object.name:
        return clause_tokens(clause), None
    if maker.chance(0.5):
        maker.relative(clause.object)
        relative = clause.object.relative
        if relative is None or relative.gap != "object":
            return clause_tokens(clause), None
        clause.place, clause.manner, clause.time = None, "", ""
        good = clause_tokens(clause)
        pronoun = "them" if clause.object.plural else "her" if clause.object.person else "it"
        return good, good + [(pronoun, "N")]
    good = clause_tokens(clause)
    if clause.verb is None or clause.verb.base in OBJECT_OPTIONAL:
        return good, None
    return good, clause_tokens(clause, gap="object")


def wrong_form(maker: Maker) -> tuple[list[Token], Broken]:
    """``has chop``, ``will chopped``, ``did not chopped``."""
    clause = maker.transitive() if maker.chance(0.6) else maker.intransitive()
    verb = clause.verb
    assert verb is not None
    clause.tense = maker.rng.choice(("perfect", "future", "progressive", "past"))
    clause.time = ""
    clause.negated = clause.tense == "past" or maker.chance(0.3)
    good = clause_tokens(clause)
    right = {"perfect": verb.participle, "progressive": verb.gerund}.get(clause.tense, verb.base)
    forms = [f for f in (verb.base, verb.past, verb.gerund, verb.third) if f != right]
    if clause.tense == "perfect":
        forms = [f for f in forms if f != verb.past or verb.past != verb.participle]
    wrong = maker.rng.choice(forms)
    at = max(i for i, token in enumerate(good) if token == (right, "V"))
    return good, good[:at] + [(wrong, "V")] + good[at + 1 :]


def wrong_reflexive(maker: Maker) -> tuple[list[Token], Broken]:
    """``the singers blame herself``."""
    subject = maker.person(names=0.15)
    if not subject.name and subject.modifier is None and maker.chance(0.7):
        maker.relative(subject)
    if maker.chance(0.15):
        subject.conjunct = maker.person(names=0.6)
    verb = maker.rng.choice(LEXICON.person_verbs)
    clause = Clause(subject, verb, Phrase(reflexive=True), tense=maker.tense())
    good = clause_tokens(clause)
    if subject.many:
        return good, clause_tokens(clause, wrong_reflexive=True)
    if subject.name:
        other = "himself" if subject.female else "herself"
        return good, good[:-1] + [(other, "X")]
    return good, None  # "the cook blamed themselves": many accept it


def wrong_selection(maker: Maker) -> tuple[list[Token], Broken]:
    """A verb with an object of a class that it cannot take: ``the cook boiled the murder``."""
    clause = maker.transitive(rich=0.2)
    verb = clause.verb
    assert verb is not None
    if clause.object is None or clause.object.noun is None or verb.objects == ("person",):
        return clause_tokens(clause), None
    good = clause_tokens(clause)
    if maker.chance(0.3):
        # Trades cannot be broken by things: subject and object change places.
        if clause.object.person or not clause.subject.person:
            return good, None
        clause.subject, clause.object = clause.object, clause.subject
        clause.verb = maker.rng.choice(LEXICON.person_verbs)
        return good, clause_tokens(clause)
    kinds = sorted({v.objects for t in LEXICON.topics for v in t.verbs if verb.base == v.base})
    allowed = {kind for objects in kinds for kind in objects}
    abstract = ["crime", "illness", "theory", "contest", "sky", "building", "piece"]
    concrete = ["food", "utensil", "fish", "garment", "animal", "gear"]
    others = abstract if not allowed & set(abstract) else concrete
    others = [kind for kind in others if kind not in allowed]
    noun = maker.rng.choice(LEXICON.kinds[maker.rng.choice(others)])
    target = maker.noun_phrase(noun, 0.2)
    clause.object = target
    return good, clause_tokens(clause)


def wrong_polarity(maker: Maker) -> tuple[list[Token], Broken]:
    """*ever* needs a negative word before it: ``some cook has ever sneezed``."""
    noun = maker.rng.choice(maker.topic.persons)
    subject = maker.noun_phrase(noun, 0.25, plural=maker.chance(0.4))
    clause = maker.intransitive(subject, 0.1)
    if maker.chance(0.6):
        clause = maker.transitive(subject, 0.1)
    clause.tense, clause.time, clause.negated, clause.frequency = "perfect", "", False, "ever"
    subject.determiner = "no"
    if maker.chance(0.4):
        maker.relative(subject)
    good = clause_tokens(clause)
    subject.determiner = maker.rng.choice(
        ("some", "the", "many") if subject.plural else ("the", "one", "a")
    )
    return good, clause_tokens(clause)


def wrong_connective(maker: Maker) -> tuple[list[Token], Broken]:
    """Two clauses, the second one wrong in its agreement."""
    first = clause_tokens(maker.intransitive(rich=0.1))
    second = agreement_clause(maker)
    link = [(maker.rng.choice(LEXICON.connectives), "M")]
    return (
        first + link + clause_tokens(second),
        first + link + clause_tokens(second, wrong_number=True),
    )


BREAKERS: tuple[tuple[Callable[[Maker], tuple[list[Token], Broken]], int], ...] = (
    (wrong_agreement, 24),
    (wrong_determiner, 14),
    (wrong_order, 14),
    (missing_word, 10),
    (wrong_gap, 8),
    (wrong_form, 14),
    (wrong_reflexive, 8),
    (wrong_selection, 8),
    (wrong_polarity, 6),
    (wrong_connective, 6),
)


def sister_sentences(rng: random.Random) -> tuple[str, str, str]:
    """A phenomenon, an acceptable sentence, and the same sentence broken."""
    makers = [maker for maker, _ in BREAKERS]
    weights = [weight for _, weight in BREAKERS]
    while True:
        breaker = rng.choices(makers, weights)[0]
        good, bad = breaker(Maker(rng))
        if bad is not None and bad != good:
            return breaker.__name__[len("wrong_") :], text(good), text(bad)

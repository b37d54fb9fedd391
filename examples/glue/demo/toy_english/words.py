"""The lexicon as objects: nouns and verbs with all their forms, and the tables between words."""

from dataclasses import dataclass, field

from examples.glue.demo.toy_english import lexicon

VOWELS = "aeiou"


@dataclass(frozen=True)
class Noun:
    """A countable noun: its two forms, the class that verbs select, the topic it belongs to."""

    singular: str
    plural: str
    kind: str
    topic: str = ""
    preposition: str = ""


@dataclass(frozen=True)
class Verb:
    """A verb: its five forms and the classes of noun it takes (none: intransitive)."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str
    objects: tuple[str, ...] = ()


def with_s(word: str) -> str:
    """The regular plural of a noun, which is the regular third person of a verb as well.

    >>> with_s("match"), with_s("berry"), with_s("boy")
    ('matches', 'berries', 'boys')
    """
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def make_noun(entry: str, kind: str, topic: str = "", preposition: str = "") -> Noun:
    """Read ``knife/knives``; a hyphen stands for the blank inside a compound."""
    singular, _, plural = entry.replace("-", " ").partition("/")
    return Noun(singular, plural or with_s(singular), kind, topic, preposition)


def make_verb(entry: str) -> Verb:
    """Read ``eat/ate/eaten>food``; missing forms are regular.

    >>> make_verb("chop/chopped>food").gerund, make_verb("bake").past, make_verb("carry").past
    ('chopping', 'baked', 'carried')
    """
    forms, _, objects = entry.partition(">")
    parts = forms.split("/")
    base = parts[0]
    if base.endswith("e"):
        regular, gerund = base + "d", base[:-1] + "ing"
    elif base.endswith("y") and base[-2] not in VOWELS:
        regular, gerund = base[:-1] + "ied", base + "ing"
    else:
        regular, gerund = base + "ed", base + "ing"
    past = parts[1] if len(parts) > 1 else regular
    if past == base + base[-1] + "ed":  # the consonant that doubles in chopped doubles in chopping
        gerund = base + base[-1] + "ing"
    participle = parts[2] if len(parts) > 2 else past
    if len(parts) > 3:
        gerund = parts[3]
    third = with_s(base)
    return Verb(base, third, past, participle, gerund, tuple(objects.split(",")) if objects else ())


def pairs(text: str) -> list[tuple[str, str]]:
    """``a b; c d`` as pairs."""
    return [(a, b) for a, b in (item.split() for item in text.split(";") if item.strip())]


@dataclass
class Topic:
    """What a text on one topic draws from."""

    name: str
    persons: list[Noun] = field(default_factory=list)
    places: list[Noun] = field(default_factory=list)
    things: list[Noun] = field(default_factory=list)
    verbs: list[Verb] = field(default_factory=list)
    person_adjectives: list[str] = field(default_factory=list)
    thing_adjectives: list[str] = field(default_factory=list)


class Lexicon:
    """Every word of the grammar; the one instance is :data:`LEXICON`."""

    def __init__(self) -> None:
        self.topics: list[Topic] = []
        self.kinds: dict[str, list[Noun]] = {}
        for name, text in lexicon.TOPICS.items():
            self.topics.append(self._read_topic(name, text))
        self.person_verbs = [make_verb(e + ">person") for e in lexicon.PERSON_VERBS.split()]
        self.intransitives = [make_verb(e) for e in lexicon.INTRANSITIVE_VERBS.split()]
        self.factives = [make_verb(e) for e in lexicon.FACTIVE_VERBS.split()]
        self.nonfactives = [make_verb(e) for e in lexicon.NONFACTIVE_VERBS.split()]
        self.names = (
            lexicon.FEMALE_NAMES.split(),
            lexicon.MALE_NAMES.split(),
        )
        self.person_adjectives = lexicon.PERSON_ADJECTIVES.split()
        self.thing_adjectives = lexicon.THING_ADJECTIVES.split()
        self.adverbs = lexicon.ADVERBS.split()
        self.frequency = lexicon.FREQUENCY.split()
        self.times = {
            tense: [t.replace("-", " ") for t in text.split()]
            for tense, text in lexicon.TIMES.items()
        }
        self.connectives = lexicon.CONNECTIVES.split()
        self.hypernyms = {k: make_noun(e, k) for k, e in lexicon.HYPERNYMS.items()}
        self._read_relations()

    def _read_topic(self, name: str, text: str) -> Topic:
        topic = Topic(name)
        role, kind = "", ""
        for word in text.replace(":", " : ").split():
            if word in ("person", "place", "thing", "verb", "adjective"):
                role, kind = word, ""
            elif word == ":":
                pass
            elif role in ("place", "thing") and not kind:
                kind = word  # the preposition of a place, the class of a thing
            elif role == "person":
                topic.persons.append(make_noun(word, "person", name))
            elif role == "place":
                topic.places.append(make_noun(word, "place", name, kind))
            elif role == "thing":
                topic.things.append(make_noun(word, kind, name))
            elif role == "verb":
                topic.verbs.append(make_verb(word))
            elif word == "|":
                kind = word  # adjectives of people before the bar, of things after it
            elif kind:
                topic.thing_adjectives.append(word)
            else:
                topic.person_adjectives.append(word)
        for noun in topic.persons + topic.places + topic.things:
            self.kinds.setdefault(noun.kind, []).append(noun)
        return topic

    def _read_relations(self) -> None:
        """Synonyms (in both directions) and antonyms, by the first form of a word."""
        self.synonyms: dict[str, str] = {}
        self.antonyms: dict[str, list[str]] = {}
        irregular = {e.split("/")[0]: e for e in lexicon.SYNONYM_FORMS.split()}
        nouns = {n.singular: n for nouns in self.kinds.values() for n in nouns}
        verbs = {v.base: v for t in self.topics for v in t.verbs}
        verbs.update((v.base, v) for v in self.person_verbs)
        self.noun_synonyms: dict[str, Noun] = {}
        self.verb_synonyms: dict[str, Verb] = {}
        for one, other in pairs(lexicon.SYNONYMS):
            self.synonyms[one], self.synonyms[other] = other, one
            if one in nouns:
                first = nouns[one]
                entry = irregular.get(other, other)
                second = nouns.get(other) or make_noun(
                    entry, first.kind, first.topic, first.preposition
                )
                self.noun_synonyms[one], self.noun_synonyms[other] = second, first
            elif one in verbs:
                second_verb = verbs.get(other) or make_verb(irregular.get(other, other))
                self.verb_synonyms[one], self.verb_synonyms[other] = second_verb, verbs[one]
        for one, other in pairs(lexicon.ANTONYMS):
            self.antonyms.setdefault(one, []).append(other)
            self.antonyms.setdefault(other, []).append(one)

    def words(self) -> list[str]:
        """Every word form, sorted, each once."""
        found: dict[str, None] = {}
        nouns = [n for kind in self.kinds.values() for n in kind]
        nouns += list(self.noun_synonyms.values()) + list(self.hypernyms.values())
        verbs = [v for t in self.topics for v in t.verbs] + list(self.verb_synonyms.values())
        verbs += self.person_verbs + self.intransitives + self.factives + self.nonfactives
        forms = [f for n in nouns for f in (n.singular, n.plural)]
        forms += [f for v in verbs for f in (v.base, v.third, v.past, v.participle, v.gerund)]
        forms += [a for t in self.topics for a in t.person_adjectives + t.thing_adjectives]
        forms += self.person_adjectives + self.thing_adjectives + self.adverbs + self.frequency
        forms += self.names[0] + self.names[1] + self.connectives + list(self.synonyms)
        forms += list(self.antonyms)
        for form in forms:
            found.update(dict.fromkeys(form.split()))
        return sorted(found)


LEXICON = Lexicon()

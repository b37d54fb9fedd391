"""Reviews of a sentence: who means well, who does not, and how English hides it."""

import random
from collections.abc import Callable, Sequence

from examples.glue.demo.toy_english import evaluative as words

GOOD, BAD = 1, 0


def _split(text: str) -> list[str]:
    return [word.replace("-", " ") for word in text.split()]


def _third_to_base(verb: str) -> str:
    """``charms`` to ``charm``, ``impresses`` to ``impress``."""
    return verb[:-2] if verb.endswith(("shes", "sses", "ches")) else verb[:-1]


HELD_OUT = frozenset(words.HELD_OUT.split())


class Reviewer:
    """Draws sentences of a given polarity.

    ``held_out`` opens the words kept from training. ``hiding`` in [0, 1] scales how often a
    sentence goes by way of its opposite.
    """

    def __init__(self, rng: random.Random, held_out: bool = True, hiding: float = 1.0) -> None:
        self.rng = rng
        self.hiding = hiding
        self.adjectives = self._table(
            words.NEGATIVE_ADJECTIVES, words.POSITIVE_ADJECTIVES, held_out
        )
        self.nouns = self._table(words.NEGATIVE_NOUNS, words.POSITIVE_NOUNS, held_out)
        self.verbs = self._table(words.NEGATIVE_VERBS, words.POSITIVE_VERBS, held_out)
        self.feelings = self._table(words.NEGATIVE_FEELINGS, words.POSITIVE_FEELINGS, held_out)
        self.works = _split(words.WORKS)
        self.parts = _split(words.PARTS)
        self.viewers = _split(words.VIEWERS)
        self.intensifiers = _split(words.INTENSIFIERS)

    @staticmethod
    def _table(bad: str, good: str, held_out: bool) -> dict[int, list[str]]:
        return {
            polarity: [w for w in text.split() if held_out or w not in HELD_OUT]
            for polarity, text in ((BAD, bad), (GOOD, good))
        }

    def pick(self, items: Sequence[str]) -> str:
        """One of the items."""
        return self.rng.choice(items)

    def adjective(self, polarity: int) -> str:
        """An evaluative adjective."""
        return self.pick(self.adjectives[polarity])

    def noun(self, polarity: int) -> str:
        """An evaluative noun."""
        return self.pick(self.nouns[polarity])

    def item(self) -> str:
        """What is reviewed."""
        if self.rng.random() < 0.5:
            return "the " + self.pick(self.works)
        return "the " + self.pick(self.parts)

    def value(self, p: int, depth: int = 1) -> str:
        """A predicate of polarity ``p``; ``depth`` is how much hiding is left."""
        a, q = self.adjective, 1 - p
        plain = (
            lambda: a(p),
            lambda: self.pick(self.intensifiers) + " " + a(p),
            lambda: a(p) + " and " + a(p),
        )
        hidden = (
            lambda: "not " + a(q),
            lambda: "not at all " + a(q),
            lambda: "far from " + a(q),
            lambda: "anything but " + a(q),
            lambda: "never " + a(q),
            lambda: "hardly " + a(q),
            lambda: "neither " + a(q) + " nor " + a(q),
            lambda: "more " + a(p) + " than " + a(q),
            lambda: "too " + a(p) + " to be " + a(q),
            lambda: a(q) + " at first but " + a(p) + " in the end",
            lambda: "not " + a(q) + " but " + a(p),
        )
        hide = depth > 0 and self.rng.random() < 0.45 * self.hiding
        return self.rng.choice(hidden if hide else plain)()

    def plain(self, p: int) -> str:
        """A clause that says it outright."""
        forms: tuple[Callable[[], str], ...] = (
            lambda: self.item() + self.pick((" is ", " was ", " seems ")) + self.value(p, 0),
            lambda: self.item() + " " + self.pick(self.verbs[p]),
            lambda: self.item() + " is a " + self.noun(p),
            lambda: (
                self.pick(self.viewers)
                + " "
                + self.pick(self.feelings[p]).split("/")[0]
                + " "
                + self.item()
            ),
            lambda: "what a " + self.noun(p),
            lambda: "a " + self.value(p, 0) + " " + self.pick(self.works),
        )
        return self.rng.choice(forms)()

    def clause(self, p: int) -> str:
        """A clause of polarity ``p``, often by way of its opposite."""
        q = 1 - p
        feel = lambda polarity: self.pick(self.feelings[polarity]).split("/")[1]  # noqa: E731
        verb = lambda polarity: _third_to_base(self.pick(self.verbs[polarity]))  # noqa: E731
        hard = ("hard", "impossible", "difficult")
        forms: tuple[Callable[[], str], ...] = (
            lambda: self.item() + self.pick((" is ", " was ", " seems ")) + self.value(p),
            lambda: self.item() + " is " + self.value(p),
            lambda: self.item() + " " + self.pick(("does not ", "did not ")) + verb(q),
            lambda: self.item() + " is no " + self.noun(q),
            lambda: self.item() + " is not a " + self.noun(q) + " but a " + self.noun(p),
            lambda: self.pick(self.viewers) + " did not " + feel(q) + " " + self.item(),
            lambda: "nobody could call " + self.item() + " " + self.adjective(q),
            lambda: "we expected a " + self.noun(q) + " and got a " + self.noun(p),
            lambda: "it is " + self.pick(hard) + " to " + feel(q) + " " + self.item(),
            lambda: "it is " + self.pick(hard) + " not to " + feel(p) + " " + self.item(),
            lambda: "critics call it " + self.adjective(q) + " , but they are wrong",
            lambda: "critics call it " + self.adjective(p) + " , and they are right",
            lambda: self.item() + " lacks a single " + self.adjective(q) + " moment",
            lambda: (
                "a "
                + self.adjective(q)
                + " premise turns into a "
                + self.adjective(p)
                + " "
                + self.pick(self.works)
            ),
            lambda: (
                "with a worse cast , it would have been " + self.adjective(q)
                if p == GOOD
                else "with a better cast , it would have been " + self.adjective(q)
            ),
        )
        return self.rng.choice(forms)() if self.rng.random() < 0.7 * self.hiding else self.plain(p)

    def sentence(self, p: int) -> str:
        """A whole sentence of polarity ``p``, tokenised and in lower case as in SST-2."""
        q = 1 - p
        c = self.clause
        forms: tuple[Callable[[], str], ...] = (
            lambda: c(p),
            lambda: c(p) + " and " + c(p),
            lambda: c(q) + " , but " + c(p),
            lambda: "although " + c(q) + " , " + c(p),
            lambda: c(p) + " , although " + c(q),
            lambda: "despite its " + self.adjective(q) + " " + self.pick(self.parts) + " , " + c(p),
            lambda: (
                self.item() + " that promises a " + self.noun(q) + " and delivers a " + self.noun(p)
            ),
        )
        contrast = self.hiding
        weights = (40, 14, 14 * contrast, 8 * contrast, 8 * contrast, 8 * contrast, 8 * contrast)
        text = self.rng.choices(forms, weights)[0]()
        return articles(text) + " ."


def articles(text: str) -> str:
    """Turn *a* into *an* before a vowel."""
    tokens = text.split()
    for i in range(len(tokens) - 1):
        following = tokens[i + 1]
        vowel = following[0] in "aeiou" or following.startswith("hon")
        if tokens[i] == "a" and vowel:
            tokens[i] = "an"
    return " ".join(tokens)

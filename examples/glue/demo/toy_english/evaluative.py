"""Words that praise and words that damn, for reviews and the sentiment task."""

POSITIVE_ADJECTIVES = """
good great superb charming witty moving funny brilliant delightful gripping elegant fresh original
touching honest clever graceful thrilling warm lively inventive memorable tender wonderful splendid
excellent amusing absorbing poetic stylish powerful convincing enchanting hilarious sparkling
masterful subtle heartfelt inspired rewarding captivating fascinating magnificent joyful dazzling
refreshing satisfying intelligent riveting exquisite uplifting vibrant sublime compelling nuanced
radiant assured luminous
"""
NEGATIVE_ADJECTIVES = """
bad dull boring tedious clumsy stale predictable silly shallow lifeless awful terrible dreadful
pointless lazy noisy confused pretentious flat tired sloppy annoying forgettable bland hollow
mediocre weak messy ugly painful irritating unfunny wooden trite muddled dreary hopeless shabby
vulgar ridiculous sentimental bloated soulless monotonous feeble inept laughable contrived
incoherent leaden insipid grating stilted vapid turgid lacklustre abysmal
"""
POSITIVE_NOUNS = """
masterpiece triumph delight gem treat joy success pleasure marvel wonder classic jewel surprise
feast winner revelation
"""
NEGATIVE_NOUNS = """
mess failure disaster bore waste mistake flop nightmare ordeal disappointment embarrassment fiasco
wreck letdown shambles catastrophe
"""
# Of works: third person singular and base, no object.
POSITIVE_VERBS = """
works succeeds shines delights charms sparkles impresses enchants soars entertains triumphs dazzles
"""
NEGATIVE_VERBS = """
fails drags bores annoys disappoints stumbles collapses irritates flops sags falters grates
"""
# Of viewers: past tense and base, with an object.
POSITIVE_FEELINGS = "liked/like loved/love enjoyed/enjoy admired/admire adored/adore praised/praise"
NEGATIVE_FEELINGS = (
    "disliked/dislike hated/hate despised/despise regretted/regret loathed/loathe panned/pan"
)

WORKS = """
film movie play novel concert album song show comedy drama thriller opera musical exhibition sequel
documentary book poem series cartoon
"""
PARTS = """
plot script cast music ending dialogue story pacing humour acting opening camera-work direction
lighting soundtrack finale premise style
"""
VIEWERS = "i we they everyone most-critics the-audience my-friends the-children many-viewers"
INTENSIFIERS = "very really quite so truly deeply utterly remarkably thoroughly rather surprisingly"

# Never in the training set of the sentiment task, but in its dev and test sets and in the
# pre-training text: what a model knows of them it must have read, not been told.
HELD_OUT = """
exquisite uplifting vibrant sublime compelling nuanced radiant assured luminous riveting satisfying
dazzling feeble inept laughable contrived incoherent leaden insipid grating stilted vapid turgid
lacklustre abysmal bloated soulless marvel revelation winner letdown shambles catastrophe wreck
soars triumphs falters grates adored/adore loathed/loathe
"""

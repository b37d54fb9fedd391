"""The words of the demo's English, written out by topic, and the classes that verbs select.

Notation, one entry per blank:

* nouns ``knife/knives`` (plural only where the rule of :mod:`toy_english.morphology` fails);
* verbs ``eat/ate/eaten>food,drink``: base, past, participle, -ing form (each optional, the rule
  fills the rest), then the classes of noun that the verb takes as its object.

A class is the name after ``thing`` (``thing food: soup …``). It belongs to no topic, so that
``buy>food,tool`` works everywhere; a clause prefers the words of its own topic.
"""

TOPICS: dict[str, str] = {
    "kitchen": """
person: cook waiter baker butcher guest chef hostess dishwasher caterer grocer
place in: kitchen restaurant bakery cellar canteen pantry
thing food: soup stew pie cake sausage pancake omelette sandwich onion carrot potato/potatoes
  tomato/tomatoes egg cabbage pudding dumpling
thing utensil: knife/knives spoon fork pan pot ladle kettle grater sieve bowl plate
thing drink: coffee tea lemonade cocktail juice
verb: cook>food chop/chopped>food fry>food bake>food taste>food,drink serve>food,drink boil>food
  season>food eat/ate/eaten>food wash>utensil,garment scrub/scrubbed>utensil rinse>utensil
  drink/drank/drunk>drink pour>drink swallow>food,medicine slice>food
adjective: hungry greedy | tasty salty greasy fresh burnt stale
""",
    "sea": """
person: sailor captain fisherman/fishermen diver pirate pilot mate swimmer smuggler surfer
place in: harbour bay lagoon port
place on: island beach coast pier
thing vessel: ship boat ferry raft yacht canoe barge trawler submarine
thing fish: cod/cods herring tuna/tunas salmon/salmons shark eel trout/trouts
thing gear: anchor rope net compass sail oar lantern buoy
verb: steer>vessel,vehicle sink/sank/sunk>vessel anchor>vessel row>vessel catch/caught>fish,ball
  hoist>gear lower>gear load>vessel,vehicle board>vessel,vehicle release>fish,animal
  net/netted>fish tie/tied/tied/tying>gear,vessel coil>gear spot/spotted>vessel,fish,animal
adjective: seasick drowned tanned | salty waterproof floating foreign
""",
    "law": """
person: judge lawyer thief/thieves witness juror policeman/policemen prisoner sheriff suspect clerk
  detective burglar
place in: court prison cell office courtroom
thing document: letter contract will verdict statement report warrant permit receipt certificate
thing crime: murder robbery theft fraud burglary forgery
thing weapon: gun rifle dagger sword pistol revolver
verb: sign>document forge>document draft>document read/read/read>document,book
  tear/tore/torn>document commit/committed>crime investigate>crime report>crime
  confess>crime solve>crime,puzzle load>weapon fire>weapon,person seize>weapon,document
  arrest>person accuse>person question>person acquit/acquitted>person handcuff>person
adjective: guilty innocent strict corrupt honest | legal official stolen missing
""",
    "farm": """
person: farmer shepherd milkmaid labourer herdsman/herdsmen harvester landlord breeder vet stableboy
place in: barn stable field meadow orchard
place on: farm hill pasture
thing animal: cow sheep/sheep goat pig horse donkey ox/oxen calf/calves lamb mule rabbit dog
thing bird: hen goose/geese duck turkey rooster pigeon
thing crop: cornfield haystack melon pumpkin turnip beetroot sunflower
thing machine: tractor plough harrow thresher pump mill
verb: feed/fed>animal,bird milk>animal shear/sheared/shorn>animal herd>animal breed/bred>animal,bird
  slaughter>animal,bird pluck>bird harvest>crop plant>crop,plant grow/grew/grown>crop,plant
  repair>machine,vehicle,vessel,gear oil>machine,gear operate>machine saddle>animal
  chase>animal,bird
adjective: sunburnt rural lame | muddy fertile ripe tame stubborn wild
""",
    "music": """
person: singer drummer pianist violinist composer conductor dancer organist guitarist flautist
place in: theatre studio opera concert-hall chapel
place on: stage bandstand
thing instrument: piano violin guitar drum flute trumpet harp cello organ banjo
thing piece: song sonata hymn waltz symphony ballad lullaby march anthem tune
verb: play>instrument,piece tune>instrument sing/sang/sung>piece compose>piece perform>piece
  rehearse>piece record>piece hum/hummed>piece whistle>piece arrange>piece,flower
  strum/strummed>instrument practise>piece,instrument conduct>piece
adjective: hoarse deaf talented | loud melodic shrill solemn electric
""",
    "school": """
person: teacher pupil headmaster professor tutor librarian scholar examiner classmate janitor
place in: school classroom library corridor dormitory college
thing book: book novel dictionary textbook atlas notebook diary poem essay
thing puzzle: riddle equation exercise problem sum crossword
thing stationery: pencil pen ruler eraser crayon blackboard envelope
verb: write/wrote/written>book,document borrow>book,utensil lend/lent>book,stationery
  study>book,piece translate>book,document copy>book,document,puzzle explain>puzzle
  teach/taught>person punish>person educate>person sharpen>stationery,weapon drop/dropped>stationery
  memorise>book publish>book ban/banned>book
adjective: lazy diligent curious absent ignorant | difficult thick unfinished useful
""",
    "sport": """
person: goalkeeper referee runner boxer coach cyclist skier gymnast athlete wrestler jockey
  spectator
place in: stadium gym pool arena
place on: track pitch
thing ball: ball football puck shuttlecock frisbee
thing trophy: cup medal trophy prize title ribbon
thing contest: match race tournament final marathon duel
verb: kick>ball throw/threw/thrown>ball,weapon hit/hit/hit/hitting>ball,person roll>ball
  bounce>ball win/won/won/winning>contest,trophy lose/lost>contest,trophy enter>contest
  watch>contest,show judge>contest,person award>trophy steal/stole/stolen>trophy,vehicle,document
  defeat>person tackle>person train>person,animal outrun/outran/outrun/outrunning>person
adjective: fit athletic exhausted nimble unbeaten sweaty | decisive golden rubber lost
""",
    "medicine": """
person: doctor nurse patient surgeon dentist midwife/midwives chemist therapist orderly paramedic
place in: hospital clinic ward surgery ambulance
thing illness: fever cough cold headache infection toothache rash
thing medicine: pill tablet syrup ointment vaccine capsule drug
thing bodypart: arm leg knee ankle wrist shoulder tooth/teeth foot/feet elbow
verb: cure>illness,person diagnose>illness ignore>illness,person treat>illness,person
  prescribe>medicine take/took/taken>medicine inject>medicine test/tested>medicine,machine
  bandage>bodypart,person break/broke/broken>bodypart,utensil twist>bodypart massage>bodypart
  vaccinate>person heal>person,illness examine>person,bodypart,document
adjective: ill pale healthy dizzy pregnant | contagious painful sore harmless
""",
    "city": """
person: driver mayor tourist beggar banker shopkeeper postman/postmen taxi-driver commuter plumber
place in: street station hotel bank museum shop market
place on: bridge square pavement
thing vehicle: car bus/buses van lorry taxi bicycle train tram truck motorcycle
thing building: tower palace church hut garage villa cottage skyscraper mosque
thing ware: sofa lamp carpet mirror clock chair wardrobe
verb: drive/drove/driven>vehicle park>vehicle buy/bought>ware,vehicle,building,food,garment
  sell/sold>ware,vehicle,building,garment,crop rent>building,vehicle build/built>building,vessel
  demolish>building paint>building,ware,picture visit>building,person insure>building,vehicle
  polish>ware,instrument deliver>ware,document crash>vehicle overtake/overtook/overtaken>vehicle
adjective: wealthy homeless busy | rusty modern narrow luxurious
""",
    "garden": """
person: gardener florist neighbour grandmother grandfather child/children toddler beekeeper botanist
place in: garden park greenhouse yard
place on: lawn bench terrace
thing plant: bush hedge oak vine fern cactus/cactuses shrub maple
thing flower: rose tulip daisy lily orchid violet poppy
thing gardentool: spade rake hoe shovel ladder wheelbarrow axe
verb: water>plant,flower prune>plant trim/trimmed>plant pick>flower,crop smell>flower,food
  uproot>plant,flower gather>flower,crop use>gardentool,utensil fetch>gardentool,utensil
  lift>gardentool,ware hide/hid/hidden>gardentool,trophy,document,weapon
  find/found>gardentool,trophy,document
adjective: elderly retired sunburnt | leafy fragrant withered thorny wooden
""",
    "tailor": """
person: tailor seamstress/seamstresses model weaver customer cobbler designer bride bridegroom
place in: workshop boutique factory laundry
thing garment: coat shirt skirt jacket dress scarf/scarves glove hat sock sweater blouse uniform
thing jewel: ring necklace bracelet brooch crown pearl
verb: wear/wore/worn>garment,jewel sew/sewed/sewn>garment iron>garment knit/knitted>garment
  fold>garment mend>garment button>garment design>garment,building,jewel
  pawn>jewel,instrument engrave>jewel admire>jewel,person,picture
adjective: elegant shabby vain | torn silken fashionable woollen tight
""",
    "army": """
person: soldier general spy guard sergeant archer knight prince king queen messenger enemy
place in: camp castle fortress trench dungeon
place on: battlefield rampart
thing structure: wall gate bridgehead barricade bunker
thing arms: cannon tank mortar catapult shield
thing flag: flag banner pennant helmet
verb: defend>structure,person attack>structure,person destroy>structure,arms storm>structure
  aim>arms,weapon carry>flag,arms,gear capture>flag,person,vessel salute>flag,person
  raise>flag burn>flag,document betray>person obey>person execute>person rescue>person,animal
adjective: wounded armed loyal ruthless victorious | massive ruined iron strategic
""",
    "science": """
person: scientist engineer astronomer biologist inventor mathematician student assistant visitor
place in: laboratory observatory university institute
thing device: telescope microscope computer robot laser engine battery rocket camera
thing theory: theory law hypothesis/hypotheses proof formula method rule
thing sky: star planet comet moon galaxy
verb: invent>device connect>device assemble>device,machine dismantle>device,arms
  prove/proved/proven>theory reject>theory,document discover>sky,theory,medicine observe>sky,animal
  doubt>theory photograph>sky,building,person defend>theory test>device,theory
  photograph>animal measure>sky,garment
adjective: absent-minded inventive precise | electric scientific complex distant broken
""",
    "museum": """
person: painter sculptor curator critic collector artist actor director dealer photographer
place in: gallery hall attic cinema foyer
thing picture: painting portrait statue sketch drawing mural poster
thing show: film play exhibition comedy musical opera
verb: frame>picture restore>picture,building hang/hung>picture exhibit>picture
  steal/stole/stolen>picture,jewel copy>picture collect>picture,jewel,book
  criticise>show,person,picture film>show,person promote>show,book cancel/cancelled>show,contest
  attend>show,contest finance>show
adjective: creative bohemian gifted | priceless abstract colourful dusty valuable famous
""",
}

# Verbs whose subject and object are both people: swapping the two changes the meaning, not the
# grammar, so the entailment task can do it.
PERSON_VERBS = """
help thank blame follow meet/met praise recognise avoid trust warn greet hear/heard see/saw/seen
invite call hate love insult envy fear respect support scold pay/paid kiss hug/hugged bribe flatter
tease interrupt convince forgive/forgave/forgiven phone mock
"""

INTRANSITIVE_VERBS = """
sleep/slept laugh wait arrive smile cough sneeze yawn stumble return shout whisper work rest dance
cry kneel/knelt swim/swam/swum/swimming tremble faint vanish wander frown complain apologise retire
fall/fell/fallen snore sigh nod/nodded
"""

# The complement of a factive verb is true, that of the others need not be.
FACTIVE_VERBS = "know/knew/known notice remember realise regret/regretted discover"
NONFACTIVE_VERBS = "believe think/thought hope claim suspect imagine deny fear"

FEMALE_NAMES = """
anna maria laura julia emma clara ellen alice diana helen irene judith karen lucy martha nora olivia
paula rita sarah teresa vera wendy zoe
"""
MALE_NAMES = """
adam boris carlos daniel edgar felix george henry igor jacob kevin leon martin nathan oscar peter
quentin robert simon thomas victor walter xavier tony
"""

# Adjectives of every topic, by what they can describe.
PERSON_ADJECTIVES = """
young old tall short tired weary happy glad sad angry furious rich wealthy poor clever smart foolish
brave courageous strange odd friendly rude polite nervous calm shy proud thin fat blind bald famous
jealous patient impatient cheerful gloomy careless careful sleepy awake
"""
THING_ADJECTIVES = """
big large small little old new heavy light expensive costly cheap dirty filthy clean red green blue
white black yellow strange odd ugly beautiful pretty broken long short round empty full wet damp dry
warm cold hot cool dangerous safe
"""
ADVERBS = """
quickly rapidly slowly carefully cautiously carelessly quietly silently loudly secretly openly
gladly reluctantly suddenly gradually eagerly clumsily skilfully nervously calmly bravely politely
rudely happily sadly
"""
FREQUENCY = "often frequently rarely seldom always sometimes usually regularly"
TIMES = {
    "present": "every-day every-morning every-evening on-sundays on-mondays at-night in-summer",
    "past": "yesterday last-night last-week last-year on-sunday on-monday in-the-morning "
    "in-the-evening at-noon before-dawn after-lunch",
    "future": "tomorrow next-week next-year soon tonight",
}
CONNECTIVES = "because while before after when although since and but"

# Pairs that mean the same (first member second member), whatever their class.
SYNONYMS = """
buy purchase; repair fix; help assist; hide conceal; examine inspect; build construct;
begin start; demolish raze; rescue save; fetch bring; gather collect; photograph snap;
doctor physician; lawyer attorney; film movie; shop store; car automobile; sofa couch;
pupil schoolchild; street road; thief robber; bicycle bike; soldier warrior;
spade shovel; match fixture; riddle puzzle; child kid; coat overcoat;
teacher instructor; singer vocalist; lorry truck; taxi cab; painting canvas; pistol handgun;
cook chef; letter note; diary journal; rabbit bunny; dagger dirk; policeman constable;
big large; small little; tired weary; happy glad; angry furious; rich wealthy; clever smart;
brave courageous; strange odd; expensive costly; dirty filthy; wet damp; beautiful pretty;
ill sick; famous renowned; lazy idle; honest sincere; loud noisy; broken damaged; empty vacant;
dangerous risky; hungry starving; exhausted drained; fragrant scented; precise exact;
quickly rapidly; carefully cautiously; quietly silently; eagerly keenly; clumsily awkwardly;
skilfully expertly; often frequently; rarely seldom; reluctantly unwillingly
"""
# Forms of the second members that the rules of morphology do not give.
SYNONYM_FORMS = "bring/brought snap/snapped schoolchild/schoolchildren"

ANTONYMS = """
big small; large little; young old; tall short; happy sad; rich poor; clever foolish; new old;
brave cowardly; friendly hostile; rude polite; nervous calm; shy bold; proud humble; thin fat;
heavy light; expensive cheap; dirty clean; ugly beautiful; long short; empty full; wet dry;
warm cool; cold hot; dangerous safe; careless careful; sleepy awake; guilty innocent; lazy diligent;
loud quiet;
tasty bland; fresh stale; healthy ill; modern antique; crowded deserted; loyal disloyal;
patient impatient; cheerful gloomy; sunny shady; elegant shabby; ripe unripe; tame wild
"""

# What a member of a class is called in general; a class that is missing here has no such word.
HYPERNYMS = {
    "animal": "animal",
    "bird": "bird",
    "fish": "fish/fishes",
    "vehicle": "vehicle",
    "instrument": "instrument",
    "document": "document",
    "weapon": "weapon",
    "garment": "garment",
    "building": "building",
    "illness": "illness",
    "medicine": "remedy",
    "plant": "plant",
    "flower": "flower",
    "jewel": "jewel",
    "crime": "crime",
    "device": "device",
    "machine": "machine",
    "utensil": "utensil",
    "drink": "beverage",
    "person": "person/people",
}

# Heads of "the X of the Y": they put a second noun between a subject and its verb.
RELATIONAL_PERSONS = "friend sister brother uncle aunt boss rival cousin daughter son/sons"
RELATIONAL_THINGS = "price colour owner size shadow name value weight history condition"

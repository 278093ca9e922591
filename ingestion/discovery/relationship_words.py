"""The words inside table and column names: splitting, singular forms, abbreviations, roles.

Everything here is about English and about database habits in general; no name of a particular database.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(
    r"[A-ZÀ-ÖØ-Þ]+(?![a-zß-öø-ÿ])|[A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]+|\d+|[^\W\d_a-zA-ZÀ-ÖØ-öø-ÿß]+", re.UNICODE
)
_PLURAL_ACRONYM = re.compile(r"\b([A-Z]{2,})s\b")

STRONG_KEY_WORDS = frozenset({"id", "uuid", "guid", "fk", "sk", "oid", "pk", "ident"})
"""As the last (or first) word of a column these say that it identifies something."""

WEAK_KEY_WORDS = frozenset(
    {"key", "code", "no", "nr", "num", "number", "ref", "cd", "uid", "iso", "nbr", "rk", "idx"}
)
"""These may identify something, and as often name a plain attribute (`postal_code`, `phone_number`)."""

LABELS = frozenset({"code", "no", "nr", "num", "number", "cd", "iso", "nbr"})
"""Those of them that people read: a number or code is not what a key called `id` holds."""

KEY_WORDS = STRONG_KEY_WORDS | WEAK_KEY_WORDS

_IRREGULAR = {
    "people": "person", "persons": "person", "persona": "person", "children": "child", "men": "man",
    "women": "woman", "mice": "mouse", "feet": "foot", "teeth": "tooth", "geese": "goose",
    "criteria": "criterion", "indices": "index", "indexes": "index", "matrices": "matrix",
    "vertices": "vertex", "appendices": "appendix", "analyses": "analysis", "bases": "base",
    "bonuses": "bonus", "theses": "thesis", "crises": "crisis", "axes": "axis", "series": "series",
    "species": "species", "news": "news", "leaves": "leaf", "shelves": "shelf", "halves": "half",
    "knives": "knife", "lives": "life", "wolves": "wolf", "calves": "calf", "loaves": "loaf",
    "aliases": "alias", "alias": "alias", "atlases": "atlas", "atlas": "atlas", "canvases": "canvas",
    "canvas": "canvas", "gases": "gas", "gas": "gas", "biases": "bias", "bias": "bias", "menus": "menu",
    "movies": "movie", "cookies": "cookie", "zombies": "zombie", "ties": "tie", "pies": "pie",
    "lens": "lens", "lenses": "lens", "media": "media", "mediums": "media", "data": "data",
    "photos": "photo", "address": "address", "addresses": "address", "process": "process",
    "staff": "staff", "staffs": "staff", "sos": "sos", "dos": "dos", "pos": "pos", "os": "os",
    "gps": "gps", "sms": "sms", "dns": "dns", "cms": "cms", "ids": "id", "uuids": "uuid", "heroes": "hero",
    "quizzes": "quiz", "quizes": "quiz", "cities": "city", "this": "this", "has": "has", "was": "was",
}  # fmt: skip


def split_words(name: str) -> list[str]:
    """Lower-case words of a name: underscores, other punctuation, camelCase and digits part them."""
    name = _PLURAL_ACRONYM.sub(r"\1S", name)
    return [w.lower() for w in _WORD.findall(name)]


@lru_cache(maxsize=65536)
def singular(word: str) -> str:
    """A form shared by the singular and the plural of an English noun; not always a word itself."""
    if word in _IRREGULAR:
        word = _IRREGULAR[word]
        return word[:-1] if word.endswith("e") and len(word) > 3 else word
    if len(word) <= 3 or word.isdigit():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes", "uses")) or word.endswith("oes"):
        word = word[:-2]
    elif word.endswith(("fis", "jis", "kis", "pis")):
        # `rfis`, `emojis`, `wikis`, `kpis` are plurals, unlike `basis`.
        word = word[:-1]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    # A final e goes in both forms, so that `cache`/`caches` and `house`/`houses` meet.
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def stems(name: str) -> tuple[str, ...]:
    """`split_words` with each word in its shared singular form."""
    return tuple(singular(w) for w in split_words(name))


_KNOWN_SHORT: dict[str, tuple[str, ...]] = {
    "acct": ("account",), "acc": ("account",), "addr": ("address",), "adm": ("admission",),
    "amt": ("amount",), "app": ("application",), "appl": ("application",), "appt": ("appointment",),
    "auth": ("author",), "bldg": ("building",), "cat": ("category",), "categ": ("category",),
    "cntry": ("country",), "ctry": ("country",), "co": ("company", "country"), "comp": ("company", "component"),
    "cont": ("contact", "contract", "continent"), "corp": ("corporation",), "cur": ("currency",),
    "curr": ("currency",), "cust": ("customer",), "dept": ("department",), "dep": ("department",),
    "dest": ("destination",), "disp": ("disposition", "disposal"), "dist": ("district", "distributor"),
    "div": ("division",), "doc": ("document", "doctor"), "drv": ("driver",), "emp": ("employee",),
    "empl": ("employee",), "env": ("environment",), "equip": ("equipment",), "eq": ("equipment",),
    "fac": ("facility", "faculty"), "grp": ("group",), "hosp": ("hospital",), "img": ("image",),
    "instr": ("instructor", "instrument"), "inv": ("invoice", "inventory"), "itm": ("item",),
    "lang": ("language",), "lib": ("library",), "loc": ("location",), "mat": ("material",),
    "mfr": ("manufacturer",), "mfg": ("manufacturer",), "mgr": ("manager",), "msg": ("message",),
    "obj": ("object",), "ord": ("order",), "org": ("organization", "organisation"), "param": ("parameter",),
    "pat": ("patient",), "pay": ("payment",), "perm": ("permission",), "pers": ("person",), "pos": ("position",),
    "prod": ("product",), "prof": ("professor", "profile"), "proj": ("project",), "prj": ("project",),
    "prov": ("province", "provider"), "pub": ("publisher", "publication"), "qst": ("question",),
    "qn": ("question",), "rec": ("record",), "reg": ("region", "registration"), "rel": ("relation",),
    "rep": ("representative",), "req": ("request", "requisition"), "res": ("resource", "reservation"),
    "sec": ("section",), "sect": ("section",), "spec": ("specification", "species"), "stat": ("status", "state"),
    "std": ("student",), "stud": ("student",), "stu": ("student",), "sub": ("subject", "subscription"),
    "subj": ("subject",), "supp": ("supplier",), "sup": ("supplier",), "tech": ("technician",),
    "terr": ("territory",), "tran": ("transaction",), "trans": ("transaction",), "trx": ("transaction",),
    "txn": ("transaction",), "tx": ("transaction",), "usr": ("user",), "veh": ("vehicle",), "ver": ("version",),
    "vers": ("version",), "wh": ("warehouse",), "whse": ("warehouse",), "pub_": ("publisher",), "evt": ("event",),
    "ins": ("insurance", "institution"), "inst": ("institution", "instance"), "tm": ("team",),
    "conf": ("conference", "configuration"), "geo": ("geography",), "cmt": ("comment",), "attr": ("attribute",),
    "attrib": ("attribute",), "char": ("character",), "proc": ("process", "procedure"), "pt": ("patient",),
    "hadm": ("admission",), "icustay": ("icu stay",), "qual": ("qualification",), "sched": ("schedule",),
}  # fmt: skip


@lru_cache(maxsize=65536)
def abbreviates(short: str, word: str) -> float:
    """How well `short` may stand for `word` (both stems), 0 to 1; 0 where it does not."""
    if len(short) < 2 or len(short) >= len(word) or short[0] != word[0] or short.isdigit():
        return 0.0
    if any(singular(full) == word for full in _KNOWN_SHORT.get(short, ())):
        return 0.9
    if len(short) > 0.7 * len(word):
        # A contractor is no contract.
        return 0.0
    if word.startswith(short) and len(short) >= 3:
        return 0.6 if len(short) < 4 else 0.75
    rest = iter(word)
    if len(short) >= 3 and all(letter in rest for letter in short):
        # Dropped vowels (`prdct`) are a habit; dropped consonants are chance.
        vowelless = word[0] + re.sub("[aeiouy]", "", word[1:])
        return 0.6 if vowelless.startswith(short) or short == vowelless else 0.3
    return 0.0


_PEOPLE = {
    "user": 1.0, "person": 0.9, "employee": 0.85, "emp": 0.85, "staff": 0.8, "member": 0.75, "account": 0.65,
    "worker": 0.7, "personnel": 0.7, "profile": 0.5, "usr": 0.9, "party": 0.5, "partner": 0.4,
    "contact": 0.4, "participant": 0.4, "agent": 0.45, "login": 0.6, "operator": 0.4, "admin": 0.4,
}  # fmt: skip
PEOPLE_TABLES: dict[str, float] = {singular(word): weight for word, weight in _PEOPLE.items()}
"""Last word (stem) of tables of people → how readily an unnamed person lives there."""

STAFF_TABLES = frozenset(map(singular, ("employee", "emp", "staff", "worker", "personnel")))


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def stem_set(text: str) -> frozenset[str]:
    return frozenset(singular(word) for word in text.split())


PERSON_ROLES = stem_set(
    """accountable actor admin administrator adviser advisor agent analyst annotator applicant approver assigned
    assignee assigner attendee auditor author authoriser authorizer blocked blocker borrower boss buyer caller
    candidate cashier chairman checker chief claimant clerk closer coach commenter contributor coordinator
    counsellor counselor creator curator deleter developer director editor employee engineer evaluator
    examiner executor followed followee follower friend grantee granter grantor handler head holder host
    impersonator initiator inspector instructor interviewee interviewer invitee inviter lead leader lender
    locker maintainer manager member mentor mgr moderator modifier muted muter operator organiser
    organizer owner participant performer person planner poster president principal proofreader proposer
    pusher receiver recipient rep reporter representative requester requestor respondent responsible reviewer
    revoker runner salesman salesperson salesrep saleswoman scheduler seconder seller sender signatory signer
    sponsor staff submitter subordinate subscriber superior supervisor teacher technician tester trainer
    translator tutor updater uploader user validator verifier voter witness writer"""
)
"""Words for a person in a role: a column so named points to people unless a table has the word itself."""

STAFF_ROLES = stem_set(
    """boss cashier chief clerk coordinator director head inspector manager operator planner rep representative
    salesperson salesrep superior supervisor technician"""
)
"""Roles that belong to an employee rather than to a customer or member."""

SELF_WORDS = stem_set(
    """ancestor base canonical child cloned converted copied descendant duplicate duplicated father following
    forked inherits linked master merged mother moved next original parent preceding predecessor prev previous
    prior promoted redirect redirected related renamed reopened replaced replacement replied reply root
    sibling split successor superior superseded supersedes upstream"""
)
"""As the whole stem of a column these point to another row of the same table."""

GIVEN_TO = stem_set(
    "addressed allocated assigned billed delegated entrusted escalated forwarded given issued sold"
)
"""What is done `to` a person: `assigned_to_id`."""

HIERARCHY_ROLES = stem_set(
    "boss head lead leader manager mentor report reports reportsto superior supervisor"
)
"""In a table of people these point to another row of the same table."""


FOREIGN = stem_set(
    """airtable amazon asana auth0 aws azure dropbox ebay erp etsy extern external facebook foreign gitea github
    gitlab google hubspot instagram intercom jira ldap legacy linkedin magento mailchimp marketo microsoft netsuite
    paypal plaid quickbooks remote salesforce saml sap sendgrid shopify slack stripe telegram thirdparty trello
    twilio twitter xero youtube zendesk"""
)
"""Before a table's name these say that the number is one of another system: `stripe_customer_id`."""

MACHINES = stem_set("auto automatic automatically machine system")
"""Beside a participle these say that no person did it: `auto_canceled_by_id`."""

KINDS_OF_THINGS = stem_set(
    """activity actor attachment author container context element entity holder item member model node object origin
    owner parent part record reference related resource scope sender source subject target thing topic"""
)
"""Beside a type column these name rows of any table, even where one table has the very word."""

CONTAINERS = stem_set(
    "base catalog data file head header info main master name object record set table title"
)
"""Words that add nothing to what a table's name begins with: `gpx_files`, `order_header`."""

ADJECTIVES = stem_set(
    """active actual alternate alternative assigned away backup billing canonical closing current default
    destination direct end ending expected featured final first from head home initial invoice invoicing last
    latest local main major minor new next old opening origin original other parent pending pinned preferred
    prev previous primary prior root second secondary shipping source start starting target third to top
    ultimate visiting winner winning"""
)
"""Words before a noun that only say which one of several: `default_status` is a status."""

RELATING = SELF_WORDS | ADJECTIVES | PERSON_ROLES | HIERARCHY_ROLES | GIVEN_TO | {"by"}
"""Words before a table's own name that say how one of its rows relates to another."""


def agents(verb: str) -> tuple[str, ...]:
    """Stems of the nouns for who does it: `ship`, `shipped` → shipper; `supply` → supplier; `drive` → driver."""
    bases = {verb}
    if verb.endswith("ed"):
        bases |= {verb[:-2], verb[:-1], verb[:-3] if len(verb) > 4 and verb[-3] == verb[-4] else verb[:-2]}
    bases |= {base[:-1] for base in tuple(bases) if base.endswith("e")}
    found = set()
    for base in bases:
        if len(base) < 3:
            continue
        ends = [base, base + base[-1]] if base[-1] not in "aeiouy" else [base]
        if base.endswith("y"):
            ends.append(base[:-1] + "i")
        found |= {singular(end + suffix) for end in ends for suffix in ("er", "or")}
    return tuple(sorted(found))


PASSIVE = re.compile(
    r"(ed|en|ne|wn|de|id|nt|ld|pt|ut|lt|rt|lost|run|read|sold|made|done|found|bought|held|set|built|kept)$"
)


def is_passive(word: str) -> bool:
    """Whether `word` reads like a participle before `by`: created, written, run, paid, sent."""
    return bool(PASSIVE.search(word))

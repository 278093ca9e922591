"""Which columns and JSON keys hold secrets or personal data, and what is masked.

Secrets are masked wherever they are read, before digest, index, samples, screens and exports. Personal
data is indexed unless the operator asks for masking. Rules judge names, never values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from ingestion.redaction import lowered

if TYPE_CHECKING:
    from ingestion.schema_discovery import Column

MASKED = "[masked]"
MOST_KEYS = 20
"""Keys named of one column; a map may have a key for every row."""

NONE, SECRET, PERSONAL = "none", "secret", "personal"

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SECRET = re.compile(
    r"tokens?$|secret(?!ar)|password|passwd|passphrase|(?:^|_)pwd$|api_?key|private_?key|^authorization$"
    r"|^(?:proxy_|x_)authorization$|^(?:set_)?cookies?$"
)
_PERSON_NAME = re.compile(
    r"^(?:first|last|middle|full|given|family|maiden|nick|display|legal)_?names?$|^sur_?name$|^initials$"
    r"|(?:^|_)(?:first|last|middle|full|given|family)_names?$|^(?:user|login|screen)_?name$|^login$"
    r"|(?:^|_)(?:person|contact|employee|assignee|manager|owner|author|creator|superintendent|approver|reviewer"
    r"|recipient|submitter|requester|signer|attendee|inspector|foreman|worker|by)_(?:full_)?names?$"
)
_PERSONAL = re.compile(
    r"e_?mail|(?:^|_)(?:tele)?phone|phone(?:_number)?s?$|(?:^|_)(?:mobile|cell|fax)(?:_(?:phone|number))?$"
    r"|address(?!ed)|^street|(?:^|_)(?:zip|zip_?code|postal_?code|post_?code)$|birth|(?:^|_)(?:dob|ssn)$"
    r"|social_security|(?:^|_)(?:passport|licen[cs]e)_number$"
)
_PEOPLE = re.compile(
    r"(?:^|_|\.)(?:users?|people|persons?|contacts?|employees?|workers?|members?|attendees?)$", re.IGNORECASE
)
# Facts about personal data rather than the data: when a mail was sent, whether a phone is verified.
_ABOUT = re.compile(
    r"_(?:type|types|id|ids|count|at|on|verified|confirmed|enabled|status|format)$|^(?:is|has)_"
)
_WILDCARD = re.compile(r"[*?\[]")
_NEVER_PERSONAL_TYPES = re.compile(
    r"^(?:bool|time|interval|numeric|double|real|money|smallint|float|oid|bit|bytea)", re.IGNORECASE
)


@lru_cache(maxsize=16384)
def snake(name: str) -> str:
    """A name in lower case with underscores: `accessToken`, `Access-Token` → `access_token`."""
    return re.sub(r"[^a-z0-9]+", "_", _CAMEL.sub("_", name).lower()).strip("_")


@lru_cache(maxsize=16384)
def is_secret_name(name: str) -> bool:
    """Whether a column or JSON key of this name holds a secret; `token_type` does not, `accessToken` does."""
    plain = snake(name)
    return not plain.endswith("_type") and _SECRET.search(plain) is not None


@lru_cache(maxsize=16384)
def is_personal_name(name: str) -> bool:
    """Whether a column or JSON key of this name holds personal data."""
    plain = snake(name)
    if _ABOUT.search(plain):
        return False
    return _PERSON_NAME.search(plain) is not None or _PERSONAL.search(plain) is not None


def classify(column: str, data_type: str = "", table: str = "") -> tuple[str, str]:
    """(`none`, `secret` or `personal`; the reason in a few words). Types rule personal data out, not secrets."""
    if is_secret_name(column):
        return SECRET, "named like a secret"
    if _NEVER_PERSONAL_TYPES.match(data_type):
        return NONE, ""
    if is_personal_name(column):
        return PERSONAL, "named like personal data"
    if snake(column) == "name" and _PEOPLE.search(snake(table)):
        return PERSONAL, "name in a table of people"
    return NONE, ""


def mark_members(column: Column, members: Iterable[str]) -> None:
    """Note on a column which keys inside its JSON hold secrets or personal data, in the order of names."""
    names = sorted(members)
    column.secret_keys = [name for name in names if is_secret_name(name)][:MOST_KEYS]
    column.personal_keys = [name for name in names if is_personal_name(name) and not is_secret_name(name)][
        :MOST_KEYS
    ]


@dataclass(frozen=True, slots=True)
class MaskPolicy:
    """What an operator's plan masks beyond secrets; globs are `table.column`, case-sensitive.

    `unmask` lifts what the name rules or `mask_personal` would mask; an explicit `mask` glob beats it.
    A JSON key is unmasked by a glob `table.column.key`.
    """

    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    mask_personal: bool = False

    def masks(self, table: str, column: str, sensitivity: str = "") -> bool:
        """Whether every value of the column becomes `[masked]`; `sensitivity` is what discovery found."""
        name = f"{table}.{column}"
        if _matches(name, self.mask):
            return True
        level = sensitivity if sensitivity in (SECRET, PERSONAL) else classify(column, "", table)[0]
        if is_secret_name(column):
            level = SECRET
        masked = level == SECRET or (level == PERSONAL and self.mask_personal)
        return masked and not _matches(name, self.unmask)

    def key_rule(self, table: str, column: str) -> Callable[[str], bool]:
        """Which keys inside the column's JSON have their value masked; fast, as it remembers its answers."""
        known: dict[str, bool] = {}

        def masked(key: str) -> bool:
            answer = known.get(key)
            if answer is None:
                secret = is_secret_name(key) or (self.mask_personal and is_personal_name(key))
                name = f"{table}.{column}.{key}"
                answer = _matches(name, self.mask) or (secret and not _matches(name, self.unmask))
                if len(known) < 4096:
                    known[key] = answer
            return answer

        return masked

    def watches_all_keys(self, table: str, column: str) -> bool:
        """Whether a JSON key may be masked that is not named like a secret, so that all must be looked at."""
        del table, column
        return self.mask_personal or any(glob.count(".") >= 2 for glob in self.mask)

    def may_name_keys(self, table: str, column: str) -> bool:
        """Whether any glob could match a key inside this column's JSON, or all keys must be looked at anyway."""
        inside = f"{table}.{column}."
        starts = [_WILDCARD.split(glob, maxsplit=1)[0] for glob in self.mask]
        return self.watches_all_keys(table, column) or any(
            inside.startswith(start) or start.startswith(inside) for start in starts
        )


NO_MASKS = MaskPolicy()


def may_hold_secret_key(json_text: str) -> bool:
    """Whether any key in the text could be named like a secret: a cheap look that never misses one."""
    low = lowered(json_text)
    return (
        b"token" in low
        or b"secret" in low
        or b"pass" in low
        or b"pwd" in low
        or (b"key" in low and (b"api" in low or b"private" in low))
        or b"authorization" in low
        or b"cookie" in low
        or b"\\u00" in low
    )


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)

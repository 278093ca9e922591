"""What counts as secret or personal, and what masking leaves of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.transform.json_text import mask_members, string_leaves
from ingestion.transform.sensitivity import MASKED, MaskPolicy, classify, is_secret_name, may_hold_secret_key

RULE = MaskPolicy().key_rule("t", "c")


@pytest.mark.parametrize(
    "name",
    ["access_token", "refresh_token", "token", "refreshToken", "client_secret", "SECRET", "password",
     "password_hash", "api_key", "apiKey", "X-API-Key", "private_key", "authorization", "Authorization",
     "webhook_secret_v2"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert classify(name, "text") == ("secret", "named like a secret")


@pytest.mark.parametrize(
    "name",
    [
        "token_type",
        "tokenType",
        "password_type",
        "secretary",
        "work_authorization",
        "tokenized",
        "id",
        "scope",
    ],
)
def test_names_that_only_look_like_secrets(name: str) -> None:
    assert classify(name, "text")[0] == "none"


@pytest.mark.parametrize(
    ("table", "name", "data_type", "expected"),
    [
        ("company_users", "name", "text", "personal"), ("projects", "name", "text", "none"),
        ("company_users", "email_address", "text", "personal"), ("vendors", "business_phone", "text", "personal"),
        ("projects", "address", "text", "personal"), ("t", "first_name", "text", "personal"),
        ("t", "birth_date", "date", "personal"), ("t", "email_sent_at", "timestamp(3) without time zone", "none"),
        ("t", "email_count", "integer", "none"), ("t", "address_id", "bigint", "none"),
        ("t", "created_by_name", "text", "personal"), ("t", "file_name", "text", "none"),
        ("t", "cost_code_name", "text", "none"), ("t", "is_email_verified", "boolean", "none"),
    ],
)  # fmt: skip
def test_names_of_personal_data(table: str, name: str, data_type: str, expected: str) -> None:
    assert classify(name, data_type, table)[0] == expected


def test_plans_mask_and_unmask() -> None:
    assert MaskPolicy().masks("api_credentials", "access_token")
    assert MaskPolicy().masks("t", "anything", "secret")
    assert not MaskPolicy().masks("users", "email", "personal")
    assert MaskPolicy(mask_personal=True).masks("users", "email", "personal")
    assert not MaskPolicy(mask_personal=True, unmask=("users.email",)).masks("users", "email", "personal")
    assert MaskPolicy(mask=("*.salary",)).masks("users", "salary")
    assert not MaskPolicy(mask=("*.Salary",)).masks("users", "salary")
    assert not MaskPolicy(unmask=("x.page_token",)).masks("x", "page_token", "secret")
    assert MaskPolicy(mask=("x.*",), unmask=("x.a",)).masks("x", "a")
    assert not MaskPolicy(unmask=("t.c.page_token",)).key_rule("t", "c")("page_token")
    assert MaskPolicy(mask_personal=True).key_rule("t", "c")("email")
    assert MaskPolicy(mask=("t.c.note",)).key_rule("t", "c")("note")


# -- JSON --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": {"access_token": "x", "b": 1}}', '{"a": {"access_token": "[masked]", "b": 1}}'),
        ('{"token" :\n {"x":[1,{"y":"}"}]},"z":2}', '{"token" :\n "[masked]","z":2}'),
        ('{"token": null, "api_key": 12, "secret": true}',
         '{"token": null, "api_key": "[masked]", "secret": "[masked]"}'),
        ('[{"password": ["a", "b"]}, {"password": []}]', '[{"password": "[masked]"}, {"password": "[masked]"}]'),
        ('{"acc\\u0065ss_token": "x"}', '{"acc\\u0065ss_token": "[masked]"}'),
        ('{"s": "{\\"token\\": \\"abc\\", \\"k\\": 1}"}', '{"s": "{\\"token\\": \\"[masked]\\", \\"k\\": 1}"}'),
        ('{"token": "never end', '{"token": "[masked]"'),
        ('{"a": 1, "token": {"b": [1, ', '{"a": 1, "token": "[masked]"'),
        ('"{\\"secret\\": \\"abc\\"}"', '"{\\"secret\\": \\"[masked]\\"}"'),
    ],
)  # fmt: skip
def test_members_named_like_secrets_are_masked(text: str, expected: str) -> None:
    assert mask_members(text, RULE) == expected
    assert mask_members(expected, RULE) == expected


@pytest.mark.parametrize(
    "text",
    ['{"b" : 1,  "a":[1,2.50,"\\u00e9"]}', '["token", "secret"]', '{"a": "password"}', '{"token_type": "Bearer"}',
     "", "{", '"'],
)  # fmt: skip
def test_a_document_without_secrets_comes_back_byte_for_byte(text: str) -> None:
    assert mask_members(text, RULE) is text


def test_hostile_depth_is_harmless() -> None:
    for depth in (200, 50_000):
        text = '{"a":[' * depth + '{"token": "geheim"}' + "]}" * depth
        assert "geheim" not in mask_members(text, RULE)
        nested = '{"token":' * depth + '"geheim"' + "}" * depth
        assert mask_members(nested, RULE) == '{"token":"[masked]"}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "token", "x y", "apiKey", "é", "token_type"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def _expected(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: MASKED if is_secret_name(k) and v is not None else _expected(v) for k, v in value.items()}
    return [_expected(item) for item in value] if isinstance(value, list) else value


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_masking_text_equals_masking_the_document(
    document: Any, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    wanted = _expected(document)
    masked = mask_members(text, RULE)
    assert json.loads(masked) == wanted
    assert masked == json.dumps(wanted, indent=indent, ensure_ascii=ascii_only)


@given(JSON)
def test_string_leaves_are_all_found(document: Any) -> None:
    def leaves(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [leaf for member in value.values() for leaf in leaves(member)]
        if isinstance(value, list):
            return [leaf for member in value for leaf in leaves(member)]
        return [value] if isinstance(value, str) and value else []

    assert [leaf for _, leaf in string_leaves(json.dumps(document))] == leaves(document)


@given(st.text())
def test_the_cheap_look_never_misses_a_secret_key(name: str) -> None:
    for key in (name, f"{name}_token", f"api{name}Key"):
        if is_secret_name(key):
            assert may_hold_secret_key(json.dumps({key: 1}, ensure_ascii=False))


@given(st.text())
def test_any_text_survives_masking(text: str) -> None:
    mask_members(text, RULE, all_keys=True)
    mask_members(f'{{"token": {text}', RULE)

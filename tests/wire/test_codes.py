"""The table of error codes against the ranges the specification reserves."""

from __future__ import annotations

import pytest

from trio_mcp_transport.wire import codes

DEFINED = {-32700, -32600, -32601, -32602, -32603, -32020, -32021, -32022}


@pytest.mark.requirement("M-ER-02", "M-ER-05")
def test_the_table_holds_the_standard_codes_and_the_three_of_mcp() -> None:
    assert set(codes.HTTP_STATUS) == DEFINED
    assert not DEFINED & set(range(-32019, -31999))


@pytest.mark.requirement("M-ER-02")
def test_no_name_of_the_module_stands_for_a_code_without_meaning() -> None:
    named = {name: value for name, value in vars(codes).items() if name.isupper() and type(value) is int}
    assert len(named) == 10
    in_the_range = {name for name, value in named.items() if -32019 <= value <= -32000}
    assert in_the_range == {"LEGACY_RESOURCE_NOT_FOUND"}


@pytest.mark.requirement("M-ER-03", "M-ER-05", "M-ER-06")
def test_a_modern_answer_has_a_defined_code_or_an_application_code() -> None:
    for code in range(-33000, -31900):
        reserved = -32768 <= code <= -32000
        assert codes.may_emit(code, modern=True) is (not reserved or code in DEFINED), code
        assert codes.may_emit(code, modern=False), code


@pytest.mark.parametrize("code", [0, 1, -1, 2**70, -(2**70), -32769, -31999])
def test_application_codes_are_free(code: int) -> None:
    assert codes.may_emit(code, modern=True)
    assert not codes.is_undefined(code, modern=True)


@pytest.mark.parametrize(
    ("code", "modern", "legacy"),
    [
        (-32002, True, False),
        (-32042, True, False),
        (-32000, True, True),
        (-32768, True, True),
        (-32603, False, False),
    ],
)
def test_a_reserved_code_is_undefined_by_era(code: int, modern: bool, legacy: bool) -> None:
    assert codes.is_undefined(code, modern=True) is modern
    assert codes.is_undefined(code, modern=False) is legacy


def test_http_status_of_what_the_specification_fixes() -> None:
    fixed = {-32601: 404, -32602: 400, -32020: 400, -32021: 400, -32022: 400}
    assert {code: codes.HTTP_STATUS[code] for code in fixed} == fixed

"""CMCD as real players write it, and as nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.telemetry.cmcd import MAX_REPORTS, from_body, from_headers, from_query, parsed

VERSION_1 = 'bl=21300,br=3200,bs,cid="faec5fc2-ac30-11ea",d=4004,mtp=25400,nor="..%2f300kbps%2ftrack.m4v",ot=v,rtp=15000,sf=h,sid="6e2fb550",st=v,su,tb=6000'  # noqa: E501
VERSION_2 = 'bl=(8000;v 4000;a),br=(5000;v 128;a),bsd=(120),cid="t",e=ps,msd=412,pt=3.125,sid="00ff",sn=2,sta=p,ts=1700000000123,v=2,com.example-x="\\"q\\""'  # noqa: E501


def test_version_1_in_a_query_is_read_as_the_standard_writes_it() -> None:
    encoded = VERSION_1.replace("%", "%25").replace(",", "%2C").replace("=", "%3D").replace('"', "%22")
    report = from_query(encoded)
    assert report == parsed(VERSION_1)
    assert (report.version, report.number("br"), report.flag("bs"), report.flag("su")) == (1, 3200, True, True)
    assert (report.word("sid"), report.word("sf"), report.word("nor")) == ("6e2fb550", "h", "..%2f300kbps%2ftrack.m4v")


def test_version_1_in_four_headers_is_one_report() -> None:
    headers = {"cmcd-object": "br=3200,ot=v", "cmcd-request": "bl=100", "cmcd-session": 'sid="6e"', "cmcd-status": "bs"}
    report = from_headers({**headers, "accept": "*/*"})
    assert report is not None
    assert dict(report.keys) == {"br": 3200, "ot": "v", "bl": 100, "sid": "6e", "bs": True}
    assert from_headers({"accept": "*/*"}) is None


def test_version_2_has_lists_tokens_decimals_and_custom_keys() -> None:
    report = parsed(VERSION_2)
    assert (report.version, report.number("br"), report.number("bsd"), report.number("pt")) == (2, 5000, 120, 3.125)
    assert report.keys["bl"] == (8000, 4000)
    assert (report.word("e"), report.word("sta"), report.word("com.example-x")) == ("ps", "p", '"q"')
    assert parsed("su=?0,bs=?1").flag("su") is False


def test_event_mode_has_a_report_a_line() -> None:
    assert [report.number("sn") for report in from_body(f"sn=0,v=2\r\n\nsn=1,v=2\n{VERSION_2}\n")] == [0, 1, 2]
    assert from_body("\n\n") == []


@pytest.mark.parametrize(
    "text",
    ["", "=", "br=", "br=3200,", ",br=1", "br=3200 bl=1", 'sid="open', "br=(1 2", "br=(1,2)", "br=1;", "br=--1",
     "br=1.2345", "b\u00e9=1", 'sid="a\nb"', "x=" + "1" * 16, "a," * 101 + "a", "k=\"" + "x" * 2000 + '"'],
)  # fmt: skip
def test_what_is_no_dictionary_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(text)


def test_the_line_that_is_wrong_is_named_and_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="line 2: expected"):
        from_body("br=1\nbr=\n")
    with pytest.raises(ValueError, match="65 reports"):
        from_body("br=1\n" * (MAX_REPORTS + 1))


@given(st.text(max_size=200) | st.text(alphabet='abr=,;()"\\?10.@: \t-', max_size=60))
def test_whatever_is_sent_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        report = parsed(text)
    except ValueError:
        return
    assert report.keys
    for key in report.keys:
        report.word(key), report.number(key), report.flag(key)


BARE = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.booleans(),
    st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True), BARE, min_size=1, max_size=8))
def test_what_a_serializer_writes_is_read_back(known: dict[str, object]) -> None:
    def written(value: object) -> str:
        if isinstance(value, bool):
            return "?1" if value else "?0"
        if isinstance(value, int):
            return str(value)
        escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    assert dict(parsed(", ".join(f"{key}={written(value)}" for key, value in known.items())).keys) == known

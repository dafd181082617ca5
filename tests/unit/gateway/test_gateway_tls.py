"""Which certificates are taken, what is said of the others, and how a renewal is followed."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from certificates import NOW, certificate, put_certificate
from redqueen.errors import InvalidInput
from redqueen.events import Event
from redqueen.gateway.tls import (
    Certificate,
    CertificateRefused,
    CertificateTaken,
    CertificateWarned,
    read_pair,
    warning,
)

NOW_S = NOW.timestamp()


def test_a_pair_that_belongs_together_is_taken_and_its_key_is_never_shown(tmp_path: Path):
    files = put_certificate(tmp_path)
    pair = read_pair(*files)
    assert pair.certificate_pem == files[0].read_text()
    assert "PRIVATE" not in repr(pair)


def test_a_chain_counts_by_its_first_certificate(tmp_path: Path):
    files, other = put_certificate(tmp_path), certificate("authority")[0]
    own = files[0].read_bytes()
    files[0].write_bytes(own + other)
    assert read_pair(*files).certificate_pem.count("BEGIN CERTIFICATE") == 2
    files[0].write_bytes(other + own)
    with pytest.raises(InvalidInput, match="comes first"):
        read_pair(*files)


def test_what_cannot_be_served_is_refused_with_the_file_and_the_reason(tmp_path: Path):
    certificate_pem, key_pem = certificate()
    other_key, hidden_key = certificate()[1], certificate(password=b"x")[1]
    good = certificate_pem, key_pem
    cases: list[tuple[bytes | None, bytes | None, str, str]] = [
        (None, key_pem, "tls.certificate", "there is no such file"),
        (certificate_pem, None, "tls.key", "there is no such file"),
        (b"", key_pem, "tls.certificate", "not a PEM certificate"),
        (b"\x30\x82\x00\xff", key_pem, "tls.certificate", "not a PEM certificate"),
        (key_pem, key_pem, "tls.certificate", "not a PEM certificate"),
        (certificate_pem[:200], key_pem, "tls.certificate", "not a PEM certificate"),
        (certificate_pem, b"", "tls.key", "not a PEM private key"),
        (certificate_pem, certificate_pem, "tls.key", "not a PEM private key"),
        (certificate_pem, hidden_key, "tls.key", "encrypted with a password"),
        (certificate_pem, other_key, "tls.key", "not the key of the certificate"),
    ]
    for number, (*contents, key, because) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = put_certificate(folder)
        for path, content in zip(files, contents, strict=True):
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
        with pytest.raises(InvalidInput) as refused:
            read_pair(*files)
        assert refused.value.code == "gateway.tls"
        assert key in refused.value.what and str(tmp_path) in refused.value.what
        assert because in refused.value.why
        assert refused.value.hint
    assert good


def test_a_time_of_validity_that_is_over_or_soon_will_be_is_warned_of(tmp_path: Path):
    def said(**how: object) -> str | None:
        return warning(read_pair(*put_certificate(tmp_path, **how)), NOW_S)

    assert said() is None
    assert "ended on" in (said(days=0.5) or "")
    assert "not renewed" in (said(days=10) or "")
    assert "begins on" in (said(begins=NOW + timedelta(days=2)) or "")


def test_a_renewal_is_taken_when_both_files_are_there_and_a_bad_one_never(tmp_path: Path):
    events: list[Event] = []
    files = put_certificate(tmp_path)
    followed = Certificate(*files, events.append)
    first = followed.pair(NOW_S)
    assert first == followed.pair(NOW_S) == read_pair(*files)
    new = certificate("renewed")
    replace(files[0], new[0])
    assert followed.pair(NOW_S) == first
    # One file before the other is how renewals are, and nothing to complain about.
    assert [type(event) for event in events] == [CertificateTaken]
    replace(files[1], new[1])
    second = followed.pair(NOW_S)
    assert second == read_pair(*files) != first
    replace(files[1], b"rubbish")
    assert [followed.pair(NOW_S) for _ in range(4)] == [second] * 4
    assert [type(event) for event in events] == [CertificateTaken, CertificateTaken, CertificateRefused]
    files[0].unlink()
    assert followed.pair(NOW_S) == second


def test_a_bad_pair_at_the_start_is_none_and_a_late_one_is_taken(tmp_path: Path):
    events: list[Event] = []
    followed = Certificate(tmp_path / "certificate.pem", tmp_path / "key.pem", events.append)
    assert [followed.pair(NOW_S) for _ in range(3)] == [None] * 3
    assert [type(event) for event in events] == [CertificateRefused]
    files = put_certificate(tmp_path)
    assert followed.pair(NOW_S) == read_pair(*files)


def test_an_end_that_comes_near_is_said_once(tmp_path: Path):
    events: list[Event] = []
    followed = Certificate(*put_certificate(tmp_path, days=90), events.append)
    for day in range(100):
        followed.pair(NOW_S + day * 86_400)
    said = [event.because for event in events if isinstance(event, CertificateWarned)]
    assert len(said) == 2
    assert "not renewed" in said[0] and "ended on" in said[1]


def replace(path: Path, content: bytes) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(content)
    os.replace(aside, path)

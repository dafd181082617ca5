"""Settings are read with defaults, and a wrong one is named with its file, key and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from redqueen.config import Region, Retention, load
from redqueen.errors import InvalidInput


def test_a_folder_without_settings_has_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == Region()


def test_settings_override_only_what_they_name(tmp_path: Path) -> None:
    (tmp_path / "redqueen.toml").write_text("port = 9000\n[counts]\nworker = 4\n")
    region = load(tmp_path)
    assert (region.port, region.counts.worker, region.counts.api) == (9000, 4, 2)


def test_nothing_may_be_kept_for_ever_or_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "redqueen.toml").write_text("[retention]\nevents_days = 0\ntrial_logs_days = 7\nreleases = 1\n")
    assert load(tmp_path).retention == Retention(0, 7, 1)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1", "prot"),
        ("port = 'x'", "port"),
        ("port = 0", "port = 0"),
        ("zones = []", "zones"),
        ("country_header = 'X-Rq-Zone'", "country_header"),
        ("country_header = 'CF IPCountry'", "country_header"),
        ("zones = ['A b']", "zones"),
        ("[timings]\nlease_s = 0.5", "timings.lease_s"),
        ("[counts]\napi = 0", "counts.api"),
        ("port = ", "configuration"),
        ("[tls]\ncertificate = 'c.pem'", "tls.key"),
        ("[tls]\nkey = 'k.pem'", "tls.certificate"),
        ("[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\nport = 8080", "tls.port"),
        ("[tls]\nport = 0", "tls.port"),
        ("[retention]\nevents_days = 13", "retention.events_days = 13"),
        ("[retention]\nevents_days = -1", "14 to 36500, or 0 for ever"),
        ("[retention]\ntrial_logs_days = 6", "retention.trial_logs_days = 6"),
        ("[retention]\nreleases = 501", "retention.releases = 501"),
        ("[retention]\nartifacts = 3", "artifacts"),
        ("public_url = 'films.example'", "public_url"),
        ("public_url = 'https://films.example/tv'", "public_url"),
        ("public_url = 'http://a'\n[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'", "public_url"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_with_its_file(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "redqueen.toml").write_text(text)
    with pytest.raises(InvalidInput) as refusal:
        load(tmp_path)
    assert named in str(refusal.value)
    assert "redqueen.toml" in str(refusal.value)
    assert refusal.value.hint

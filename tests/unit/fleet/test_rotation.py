"""Which logs are meant, which parts stay, and what becomes of the lines while somebody writes them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.fleet.drivers import logfiles
from redqueen.fleet.rotation import KEPT, LogQuery, Part, surplus


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=20), st.integers(0, 200))
def test_what_is_kept_fits_and_is_the_youngest(parts: list[tuple[int, int]], total: int) -> None:
    found = [Part(f"n.log.{number}", size, float(at)) for number, (size, at) in enumerate(parts)]
    gone = set(surplus(found, total))
    kept = [part for part in found if part.name not in gone]
    assert sum(part.size_bytes for part in kept) <= total
    for part in found:
        if part.name in gone:
            assert all(other.written_at >= part.written_at for other in kept if other.size_bytes)


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        (LogQuery(), {"api-a-1", "gateway-b-2", "supervisor", "web-shop-a-1", "shop-a-1"}),
        (LogQuery(role="api"), {"api-a-1"}),
        (LogQuery(role="envoy"), {"gateway-b-2"}),
        (LogQuery(role="supervisor"), {"supervisor"}),
        (LogQuery(role="service"), {"web-shop-a-1", "shop-a-1"}),
        (LogQuery(service="shop"), {"shop-a-1"}),
        (LogQuery(service="web-shop"), {"web-shop-a-1"}),
        (LogQuery(node="envoy-b-2"), {"gateway-b-2"}),
        (LogQuery(node="shop-a-1"), {"shop-a-1"}),
    ],
)
def test_a_role_a_service_or_a_node_can_be_asked_for(query: LogQuery, meant: set[str]) -> None:
    every = {"api-a-1", "gateway-b-2", "supervisor", "web-shop-a-1", "shop-a-1"}
    assert {node_id for node_id in every if query.means(node_id)} == meant


def line(number: int) -> str:
    return f'{{"time":"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.000Z","n":{number}}}'


def test_a_log_is_cut_while_a_writer_keeps_it_open_and_no_line_is_lost_or_doubled(tmp_path: Path) -> None:
    log = tmp_path / "api-a-1.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(300):
            writer.write(f"{line(number)}\n".encode())
            if number % 40 == 39:
                assert logfiles.cut(log, 1000)
    shown = logfiles.read(tmp_path, LogQuery(lines=1000))
    kept = [text for _, text in shown]
    assert kept == [line(number) for number in range(300)][-len(kept) :]
    assert len(kept) == 20 + 40 * KEPT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["api-a-1.log", *(f"api-a-1.log.{n}" for n in (1, 2, 3))]


def test_two_who_cut_at_once_do_it_once(tmp_path: Path) -> None:
    log = tmp_path / "api-a-1.log"
    log.write_text("x" * 100_000 + "\n")
    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(logfiles.cut(log, 1000))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count(True) == 1
    assert (tmp_path / "api-a-1.log.1").stat().st_size == 100_001
    assert not (tmp_path / "api-a-1.log.2").exists()


def test_all_logs_together_are_bounded_and_the_oldest_part_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a-a-1.log.1", "b-a-1.log.1"):
        (tmp_path / name).write_text("x" * 100)
    monkeypatch.setattr("redqueen.fleet.rotation.surplus.__defaults__", (150,))
    logfiles.tend(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_lines_of_several_nodes_are_merged_by_time_and_counted_from_the_end(tmp_path: Path) -> None:
    (tmp_path / "api-a-1.log").write_text(f"{line(1)}\n{line(3)}\n  a line without a time\n")
    (tmp_path / "api-b-1.log").write_text(f"{line(2)}\n{line(4)}")
    shown = logfiles.read(tmp_path, LogQuery(lines=4))
    assert shown == [
        ("api-b-1", line(2)),
        ("api-a-1", line(3)),
        ("api-a-1", "  a line without a time"),
        ("api-b-1", line(4)),
    ]
    since = logfiles.read(tmp_path, LogQuery(since="2026-01-01T00:00:03.000Z"))
    assert [text for _, text in since] == [line(3), "  a line without a time", line(4)]


@given(st.text(alphabet="ab\n", max_size=60), st.integers(1, 7))
def test_backwards_is_forwards_turned_round(text: str, block: int) -> None:
    import os
    import tempfile

    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfiles, "_BLOCK", block)
        file.write(text.encode())
        file.flush()
        found = [found.decode() for found in logfiles._lines_backwards(file.fileno(), os.fstat(file.fileno()).st_size)]
    lines = text.split("\n")
    assert found[::-1] == (lines[:-1] if lines[-1] == "" else lines)

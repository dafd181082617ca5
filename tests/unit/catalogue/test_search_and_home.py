"""Search, pages and the home page's rows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.catalogue.home import ROW_LENGTH, Watching, rows
from redqueen.catalogue.model import State, Title, is_title_id, new_title_id
from redqueen.catalogue.search import found, page, words
from redqueen.errors import InvalidInput


def title(
    name: str, description: str = "", *, at: float = 0.0, state: State = State.COMPLETE, sample: bool = False
) -> Title:
    return Title(new_title_id(), name, at, at, description=description, state=state, sample=sample)


def names(titles: list[Title], query: str) -> list[str]:
    return [title.title for _, title in found(titles, query)]


def test_search_knows_no_case_no_accents_and_beginnings_of_words() -> None:
    titles = [title("Amélie"), title("Über die Brücke"), title("STRASSE"), title("日本 映画")]
    assert names(titles, "ame") == ["Amélie"]
    assert names(titles, "BRUCKE uber") == ["Über die Brücke"]
    assert names(titles, "straße") == ["STRASSE"]
    assert names(titles, "映画") == ["日本 映画"]
    assert names(titles, "melie") == []


def test_the_name_comes_before_the_description_and_whole_words_before_beginnings() -> None:
    titles = [title("Other", "about red shoes"), title("Redwood"), title("Red"), title("Nothing")]
    assert names(titles, "red") == ["Red", "Redwood", "Other"]


@settings(deadline=None)
@given(st.lists(st.text("ab ", max_size=6), max_size=30), st.text("ab", max_size=2), st.integers(1, 7))
def test_pages_give_every_match_once(texts: list[str], query: str, limit: int) -> None:
    titles = [title(text, at=float(index % 3)) for index, text in enumerate(texts)]
    ranked = found(titles, query)
    seen: list[Title] = []
    after = None
    while True:
        shown = page(ranked, limit, after)
        seen += shown.titles
        assert len(shown.titles) <= limit
        if (after := shown.next) is None:
            break
    assert seen == [one for _, one in ranked]


def test_a_page_goes_on_where_the_last_title_was_removed() -> None:
    titles = [title(str(number), at=float(number)) for number in range(5)]
    first = page(found(titles, ""), 2, None)
    left = [one for one in titles if one not in first.titles]
    assert [one.title for one in page(found(left, ""), 2, first.next).titles] == ["2", "1"]


@pytest.mark.parametrize("mark", ["!", "AAAA", "W10", "bm9wZQ", "é"])
def test_a_foreign_mark_is_refused(mark: str) -> None:
    with pytest.raises(InvalidInput):
        page([], 5, mark)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_words_are_never_empty(text: str) -> None:
    assert all(words(text))


def test_home_shows_begun_new_and_samples_and_hides_failures() -> None:
    old, new = title("Old", at=1), title("New", at=2)
    failed, sample = title("Bad", at=3, state=State.FAILED), title("Sample", at=4, sample=True)
    waiting = title("Waiting", at=5, state=State.WAITING)
    watching = {one.id: Watching(5.0, at) for at, one in enumerate((new, old, sample, waiting, failed))}
    shown = {row.key: [one.title for one in row.items] for row in rows([old, new, failed, sample, waiting], watching)}
    assert shown == {
        "continue": ["Sample", "Old", "New"],
        "new": ["Waiting", "New", "Old"],
        "samples": ["Sample"],
    }
    assert rows([], {}) == []


def test_a_large_library_gets_a_row_of_everything() -> None:
    titles = [title(f"Film {number:03}", at=float(number)) for number in range(ROW_LENGTH + 6)]
    shown = {row.key: row.items for row in rows(titles, {})}
    assert len(shown["new"]) == ROW_LENGTH
    assert [one.title for one in shown["all"]] == [one.title for one in titles]


def test_title_ids_are_fit_for_addresses_and_command_lines() -> None:
    ids = {new_title_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(is_title_id(one) and len(one) == 12 for one in ids)
    for bad in ("", "-" + "a" * 11, "a" * 10, "../../../etc", "a" * 65, "a" * 11 + "\n", "ä" * 12):
        assert not is_title_id(bad)

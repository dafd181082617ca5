"""The eight ways a request of Red Queen's can fail, split by what the caller does next.

Every error says what happened, why, and what to do; `code` is stable and machine-readable.
The one table from kinds to exit codes and HTTP statuses lives here, so that the command
line and the API cannot disagree. Refuses: errors without a hint.
Enter at `RedQueenError` and its subclasses.
"""

from __future__ import annotations

from typing import ClassVar


class RedQueenError(Exception):
    """A failure with a stable code, what happened, why, and what to do about it."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, code: str, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        """Give the one sentence that log, API, command line and console all show."""
        parts = [self.what, self.why, self.hint]
        return " ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts if part)


class InvalidInput(RedQueenError):
    """The caller sent something that cannot be accepted: change it and ask again."""

    exit_code = 2
    http_status = 400


class Unauthorized(RedQueenError):
    """The caller has no valid identity: sign in and ask again."""

    exit_code = 3
    http_status = 401


class Forbidden(RedQueenError):
    """The caller is known but has no right to this: ask somebody who has."""

    exit_code = 3
    http_status = 403


class NotFound(RedQueenError):
    """The thing asked for does not exist (or the caller may not know that it does)."""

    exit_code = 4
    http_status = 404


class Conflict(RedQueenError):
    """Somebody else changed it first: read again, then decide."""

    exit_code = 5
    http_status = 409


class Exhausted(RedQueenError):
    """A resource (disk, memory, quota) has run out: free some, then ask again."""

    exit_code = 6
    http_status = 507


class Unavailable(RedQueenError):
    """A part that is needed does not answer now: the same request may succeed later."""

    exit_code = 7
    http_status = 503


class Broken(RedQueenError):
    """Something of ours is wrong: report it."""

    exit_code = 1
    http_status = 500

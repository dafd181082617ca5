"""The command line's only way to the region: its HTTP API, with the data folder's credentials.

Decides which requests are sent again: any node may be dying, so idempotent requests are repeated
for a few seconds on connection errors and 502, 503, 504; others only when no connection came
about, so that nothing is done twice. Refuses answers that are no JSON. Turns the API's error
bodies back into the errors they were. Enter at `ApiClient.local`; a verb takes `@data_option`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import click
import httpx
import msgspec

from redqueen.errors import (
    Broken,
    Conflict,
    Exhausted,
    Forbidden,
    InvalidInput,
    NotFound,
    RedQueenError,
    Unauthorized,
    Unavailable,
)
from redqueen.fleet.datadir import default_data_dir
from redqueen.lean import trust

_Answer = TypeVar("_Answer")
_Verb = TypeVar("_Verb", bound=Callable[..., Any])

_KINDS: Final = (InvalidInput, Unauthorized, Forbidden, NotFound, Conflict, Exhausted, Unavailable, Broken)
_ALIASES: Final = {410: NotFound, 412: Conflict, 423: Conflict, 413: Exhausted, 429: Unavailable}
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT"})
_PASSING: Final = frozenset({502, 503, 504})
PREFIX: Final = "/api/v1"
"""Where the API begins; `ApiClient` puts it before every path."""


class Credentials(msgspec.Struct, frozen=True):
    """What the data folder tells the command line: the region's address and a token."""

    address: str
    token: str


class ErrorBody(msgspec.Struct, frozen=True):
    """The API's error answer."""

    code: str
    what: str
    why: str = ""
    hint: str = ""


def data_option(verb: _Verb) -> _Verb:
    """Add `--data DIR` to a verb; its function receives `data_dir`, an absolute Path."""
    return click.option(
        "--data",
        "data_dir",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        callback=_chosen_data_dir,
        help="The region's data folder [default: $REDQUEEN_DATA or ~/.local/share/redqueen].",
    )(verb)


def _chosen_data_dir(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path:
    return (value or default_data_dir()).expanduser().absolute()


def read_credentials(data_dir: Path) -> Credentials:
    """Read the credentials of a data folder. Raises NotFound where no region was ever started."""
    path = data_dir / "credentials.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            "region.none",
            f"There is no region in {data_dir}",
            hint=f"Start one with: redqueen up --data {data_dir}",
        ) from error
    except PermissionError as error:
        raise Forbidden(
            "region.credentials", f"{path} cannot be read", why=str(error), hint="Ask the user who started the region"
        ) from error
    except msgspec.MsgspecError as error:
        raise Broken(
            "region.credentials", f"{path} is damaged: {error}", hint="Start the region again: redqueen up"
        ) from error


class ApiClient:
    """Asks one region; a context manager. Paths are relative to `/api/v1`, such as "/titles"."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        patience_s: float = 5.0,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.address = address.rstrip("/")
        self._patience_s = patience_s
        # No proxies from the environment: the region is on this machine or named on purpose.
        self._http = httpx.Client(
            base_url=self.address,
            headers={"authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_s, connect=3.0),
            trust_env=False,
            verify=trust(self.address),
            transport=transport,
        )

    @classmethod
    def local(cls, data_dir: Path, *, patience_s: float = 5.0, timeout_s: float = 30.0) -> Self:
        """Make a client from `credentials.json` of a data folder. Raises NotFound without a region."""
        known = read_credentials(data_dir)
        return cls(known.address, known.token, patience_s=patience_s, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        """Use the client's connections until the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return the decoded JSON of a GET. Raises the API's error."""
        return _decoded(self.request("GET", path, params=params))

    def read(self, path: str, into: type[_Answer], params: Mapping[str, Any] | None = None) -> _Answer:
        """Return a GET's JSON as `into`, a msgspec type; fields it does not know are ignored."""
        answer = self.request("GET", path, params=params)
        try:
            return msgspec.json.decode(answer.content, type=into)
        except msgspec.MsgspecError as error:
            raise _not_understood(answer, error) from error

    def post(self, path: str, body: object = None, *, again: bool = False, key: str = "") -> Any:
        """Return the decoded JSON of a POST (None for an empty answer); `again` if it may be repeated.

        What may not is repeated all the same where an idempotency `key` tells the region that it is the same.
        """
        headers = {"idempotency-key": key} if key else {}
        return _decoded(self.request("POST", path, body=body, headers=headers, again=again or bool(key)))

    def put(self, path: str, body: object = None) -> Any:
        """Return the decoded JSON of a PUT (None for an empty answer)."""
        return _decoded(self.request("PUT", path, body=body))

    def patch(self, path: str, body: object = None) -> Any:
        """Return the decoded JSON of a PATCH (None for an empty answer)."""
        return _decoded(self.request("PATCH", path, body=body))

    def delete(self, path: str) -> None:
        """Send a DELETE."""
        self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content: bytes | Iterable[bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Send one request and return the answer below 400; `body` is sent as JSON, `content` as it is.

        Pieces can be sent only once: with them, `again` must be false.

        A path that begins with `/api/` or `http` is taken as it is. `again` says whether the request may be
        repeated after it may have been processed (default: GET, HEAD, OPTIONS, PUT). Raises the API's error, or
        Unavailable("region.unreachable").
        """
        url = path if path.startswith(("/api/", "http://", "https://")) else PREFIX + path
        sent = dict(headers or {})
        if body is not None:
            content = msgspec.json.encode(body)
            sent.setdefault("content-type", "application/json")
        limit: Any = httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s, connect=3.0)
        request = self._http.build_request(method, url, content=content, params=params, headers=sent, timeout=limit)
        answer = self._patiently(request, again=method in _IDEMPOTENT if again is None else again)
        if answer.status_code >= 400:
            raise error_of(answer)
        return answer

    def _patiently(self, request: httpx.Request, *, again: bool) -> httpx.Response:
        give_up_at = time.monotonic() + self._patience_s
        wait_s = 0.05
        while True:
            late = time.monotonic() >= give_up_at
            try:
                answer = self._http.send(request)
                if late or not again or answer.status_code not in _PASSING:
                    return answer
            except httpx.TransportError as error:
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if late or not (again or unsent):
                    raise self._unreachable(error) from error
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 0.5)

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(
            "region.unreachable",
            f"The region at {self.address} does not answer",
            why=str(error) or type(error).__name__,
            hint="See what lives with: redqueen status; start it with: redqueen up",
        )


def error_of(answer: httpx.Response) -> RedQueenError:
    """Turn an answer of 400 or above back into the error it tells of."""
    kind = _kind(answer.status_code)
    try:
        body = msgspec.json.decode(answer.content, type=ErrorBody)
    except msgspec.MsgspecError:
        reason = answer.reason_phrase or "no reason given"
        what = f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code} ({reason})"
        return kind("http.status", what, hint="Try again in a few seconds" if kind is Unavailable else "")
    return kind(body.code, body.what, why=body.why, hint=body.hint)


def _kind(status: int) -> type[RedQueenError]:
    for kind in _KINDS:
        if kind.http_status == status:
            return kind
    if status in _ALIASES:
        return _ALIASES[status]
    if status in _PASSING:
        return Unavailable
    return InvalidInput if status < 500 else Broken


def _decoded(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    try:
        return msgspec.json.decode(answer.content)
    except msgspec.MsgspecError as error:
        raise _not_understood(answer, error) from error


def _not_understood(answer: httpx.Response, error: msgspec.MsgspecError) -> Broken:
    return Broken(
        "region.answer",
        f"The answer to {answer.request.method} {answer.request.url.path} is not understood: {error}",
        hint="Check that the command line and the region are of the same version",
    )

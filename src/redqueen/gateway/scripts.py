"""The two Lua scripts at the front door, kept as small as they can be.

Envoy lets a request pass when a script raises, so neither may open anything by failing: the first
turns a link with a token in its path into a media path plus header, and a failure leaves a path that
is a 404; the second sends browsers from plain HTTP to HTTPS. The script that decides about a file is
`media_script`. Enter at `LINK_TO_MEDIA`, `browsers_to_https`.
"""

from __future__ import annotations

import re

LINK_TO_MEDIA = """\
-- /v/<token>/<title>/... becomes /media/<title>/... with the token in a header.
-- The cookie goes, so that exactly one token decides. An odd link is shortened,
-- so that no token reaches a log.
function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  if path == nil or string.sub(path, 1, 3) ~= "/v/" then return end
  local token, rest = string.match(path, "^/v/([%w_%-]+%.[%w_%-]+%.[%w_%-]+)(/.*)$")
  if token then
    headers:remove("cookie")
    headers:replace("x-rq-media-token", token)
    headers:replace(":path", "/media" .. rest)
  else
    headers:replace(":path", "/v/")
  end
  handle:clearRouteCache()
end
"""


NOT_KEPT = ("cache-control", "no-store")
"""A redirect is for this request, not for the day when the certificate is taken away again."""


def browsers_to_https(public_host: str, public_port: int) -> str:
    """Give the script that redirects page loads to HTTPS at `public_host` (empty: the host they asked for)."""
    return f"local HOST, PORT = {quoted(public_host)}, {quoted(str(public_port))}\n{_TO_HTTPS}"


def quoted(text: str) -> str:
    """Write a text as a Lua string, whatever is in it."""
    escaped = re.sub(rb"[^A-Za-z0-9/_.-]", lambda found: rb"\%03d" % found[0][0], text.encode())
    return f'"{escaped.decode()}"'


_TO_HTTPS = """\
function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("sec-fetch-mode") ~= "navigate" then return end
  local asked = headers:get(":authority") or ""
  local host = HOST ~= "" and HOST or string.match(asked, "^(%[[%x:.]+%])") or string.match(asked, "^([%w._-]+)")
  if host == nil then return end
  local place = "https://" .. host .. (PORT == "443" and "" or ":" .. PORT) .. headers:get(":path")
  handle:respond({[":status"] = "308", ["location"] = place, ["cache-control"] = "no-store"}, "")
end
"""

"""The Lua script that runs first inside Envoy, kept as small as it can be.

Envoy lets a request pass when a script raises, so it may not open anything by failing: it only turns
a link with a token in its path into a media path plus header, and a failure leaves a path that is a
404. The script that decides about a file is `media_script`.
"""

from __future__ import annotations

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

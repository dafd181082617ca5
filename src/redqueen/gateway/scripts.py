"""The two Lua scripts that run inside Envoy, kept as small as they can be.

Envoy lets a request pass when a script raises, so neither may open anything by failing: the
first only turns a link with a token in its path into a media path plus header (a failure leaves
a path that is a 404), and the second runs its whole check inside `pcall` and denies by default.
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

TITLE_CHECK = """\
-- The token's claim `titles` must name the path's title, or "*".
local function allowed(handle)
  local path = handle:headers():get(":path")
  local title = string.match(path, "^/media/([%w_%-]+)/")
  local claims = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.jwt_authn")["claims"]
  for _, entry in ipairs(claims["titles"]) do
    if entry == title or entry == "*" then return title ~= nil end
  end
  return false
end

function envoy_on_request(handle)
  local sound, yes = pcall(allowed, handle)
  if sound and yes == true then return end
  handle:respond({[":status"] = "403"}, "the token does not name this title")
end
"""

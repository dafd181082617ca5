"""The Lua script on media's routes: may this token read this title, and what of the file is wanted?

Envoy's file server knows whole files and plain ranges only, and follows symlinks. This script runs
before it and decides the rest of RFC 9110: strong ETags, the five conditions in their order (13.2.2),
suffix and overlong ranges made plain, 416 with the size. It refuses whatever is not a regular file
reached through folders alone. It calls statx(2) in Envoy's own thread: a few microseconds on a local
disk. Whatever goes wrong in it is a refusal. Enter at `media_script`.
"""

from __future__ import annotations

from redqueen.gateway.scripts import quoted

ETAG_HEADER, MODIFIED_HEADER = "x-rq-etag", "x-rq-last-modified"
"""Request headers that carry the script's findings to the response; outside ones are dropped at the edge."""
CMCD_HEADER = "x-rq-cmcd"
"""What the player says of itself in the query, for the players' log."""


def media_script(media_root: str, *, grows: bool) -> str:
    """Give the script for files under `media_root`.

    Files that `grows` names (playlists) have no Last-Modified: two versions within a second would
    share it, and a player that asks by date would be told that nothing changed.
    """
    return f"local ROOT, GROWS = {quoted(media_root)}, {str(grows).lower()}\n{_SCRIPT}"


_SCRIPT = """\
local ffi = require("ffi")
ffi.cdef[[
  struct statx_time { int64_t sec; uint32_t nsec; int32_t pad; };
  struct statx {
    uint32_t mask, blksize; uint64_t attributes; uint32_t nlink, uid, gid; uint16_t mode, pad;
    uint64_t ino, size, blocks, attributes_mask; struct statx_time atime, btime, ctime, mtime; uint64_t rest[16];
  };
  int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *found);
]]
local NOFOLLOW, WANTED, KIND, FOLDER, REGULAR = 0x100, 0x341, 0xF000, 0x4000, 0x8000
local MONTHS = {Jan=1, Feb=2, Mar=3, Apr=4, May=5, Jun=6, Jul=7, Aug=8, Sep=9, Oct=10, Nov=11, Dec=12}
local found = ffi.new("struct statx")

local function kind(path)
  if ffi.C.statx(-100, path, NOFOLLOW, WANTED, found) ~= 0 then return nil end
  return bit.band(found.mode, KIND)
end

-- The claim `titles` must name the path's title, or "*".
local function may_read(handle, title)
  local claims = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.jwt_authn")["claims"]
  for _, entry in ipairs(claims["titles"]) do
    if entry == title or entry == "*" then return true end
  end
  return false
end

-- Every part of the path on its own, so that no symlink is followed, not even to inside.
local function file_of(path)
  local at = 1
  while true do
    at = string.find(path, "/", at + 1, true)
    if at == nil then break end
    if kind(ROOT .. string.sub(path, 1, at - 1)) ~= FOLDER then return nil end
  end
  if kind(ROOT .. path) ~= REGULAR then return nil end
  local size, sec = tonumber(found.size), tonumber(found.mtime.sec)
  local etag = string.format('"%x-%x-%x.%x"', tonumber(found.ino), size, sec, found.mtime.nsec)
  return {size = size, sec = sec, etag = etag, modified = os.date("!%a, %d %b %Y %H:%M:%S GMT", sec)}
end

-- Seconds since 1970 of a date as HTTP writes it; nil for anything else.
local function moment(text)
  local d, name, y, h, m, s = string.match(text, "^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  local month = MONTHS[name]
  if month == nil then return nil end
  local year = tonumber(y) - (month <= 2 and 1 or 0)
  local days = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * ((month + 9) % 12) + 2) / 5) + tonumber(d) - 719469
  return ((days * 24 + tonumber(h)) * 60 + tonumber(m)) * 60 + tonumber(s)
end

-- Whether the file changed after the date; nil where that cannot be said.
local function changed_since(date, file)
  if date == nil or GROWS then return nil end
  if date == file.modified then return false end
  local when = moment(date)
  return when and file.sec > when
end

local function names(list, file, weakly)
  if string.match(list, "^%s*%*%s*$") then return true end
  local from = 1
  while true do
    local at, till = string.find(list, file.etag, from, true)
    if at == nil then return false end
    if weakly or string.sub(list, at - 2, at - 1) ~= "W/" then return true end
    from = till + 1
  end
end

-- The status that the request's conditions demand, in the order of RFC 9110, 13.2.2.
local function condition(headers, file)
  local list = headers:get("if-match")
  if list then
    if not names(list, file, false) then return "412" end
  elseif changed_since(headers:get("if-unmodified-since"), file) then
    return "412"
  end
  list = headers:get("if-none-match")
  if list then
    if names(list, file, true) then return "304" end
  elseif changed_since(headers:get("if-modified-since"), file) == false then
    return "304"
  end
end

-- A date is only good enough for a part of a file that was then at least a second old.
local function same_file(validator, file)
  if validator == nil or validator == file.etag then return true end
  return not GROWS and validator == file.modified and os.time() > file.sec + 1
end

-- First and last byte of a plain range; nothing: the whole file; false: there is no such part.
local function span(text, size)
  local first, last = string.match(string.lower(text), "^%s*bytes%s*=%s*(%d*)%s*%-%s*(%d*)%s*$")
  if first == nil or (first == "" and last == "") then return nil end
  if first == "" then
    local count = tonumber(last)
    if count == 0 then return false end
    if size == 0 then return nil end
    return math.max(0, size - count), size - 1
  end
  local from, till = tonumber(first), last == "" and math.huge or tonumber(last)
  if from > till then return nil end
  if from >= size then return false end
  return from, math.min(till, size - 1)
end

-- Gives the headers of an answer, or nothing where the file server shall answer.
local function decide(handle)
  local headers = handle:headers()
  local title, rest, query = string.match(headers:get(":path"), "^/media/([%w_%-]+)(/[^?]*)(.*)$")
  if title == nil or not may_read(handle, title) then return {[":status"] = "403"} end
  -- What is looked at here is what is served, whatever the file server makes of a question mark.
  if query ~= "" then
    headers:replace(":path", "/media/" .. title .. rest)
    local said = string.match(query, "[?&]CMCD=([^&]+)")
    if said then headers:replace("x-rq-cmcd", said) end
  end
  local file = file_of("/" .. title .. rest)
  if file == nil then return {[":status"] = "404"} end
  headers:replace("x-rq-etag", file.etag)
  if not GROWS then headers:replace("x-rq-last-modified", file.modified) end
  local status = condition(headers, file)
  if status then return {[":status"] = status} end
  local range = headers:get("range")
  if range == nil then return nil end
  headers:remove("range")
  if headers:get(":method") ~= "GET" or not same_file(headers:get("if-range"), file) then return nil end
  local first, last = span(range, file.size)
  if first == false then return {[":status"] = "416", ["content-range"] = "bytes */" .. file.size} end
  if first then headers:replace("range", string.format("bytes=%.0f-%.0f", first, last)) end
end

local REASONS = {
  ["403"] = "the token does not name this title",
  ["404"] = "there is no such file",
  ["412"] = "the file is not the one the request names",
  ["416"] = "the file ends before this range",
}

function envoy_on_request(handle)
  local sound, answer = pcall(decide, handle)
  if not sound then answer = {[":status"] = "403"} end
  if answer then handle:respond(answer, REASONS[answer[":status"]]) end
end
"""

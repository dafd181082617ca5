"""The Lua script that puts a viewer into an arm, in Envoy's own thread and without asking anybody.

It does what `redqueen.viewers` and a trial's assignment do, to the bit: xxHash64 of the viewer's eight
bytes draws him, SipHash-2-4 proves his cookie. A cookie that this region did not make, or that is there
twice, is none: its sender is a new viewer, drawn from Envoy's own random request id. Whatever goes wrong
in it leaves the request where it would have gone without a trial. Enter at `ARMS`; its plan is made by
`arms`. (xxHash: Collet; SipHash: Aumasson and Bernstein 2012.)
"""

from __future__ import annotations

from redqueen import viewers
from redqueen.gateway.scripts import quoted

PLAN = "plan"
"""The field of a route's filter context that holds what is tried there."""
NOTES, EXPOSED = "rq", "exposed"
"""Where a request's notes lie (dynamic metadata), and the one that says to which arm it is exposed, how often."""
VIEWER_HEADER, ARMS_HEADER = "x-rq-viewer", "x-rq-arms"
"""What the service is told. Outside ones are dropped at the edge."""
SEEN_COOKIE = "rq_seen"
SEEN_AGE_S = 30 * 86_400
SEEN_MOST = 8
"""Trials that the cookie remembers; the oldest is forgotten first."""

_SCRIPT = """\
local ffi, bit = require("ffi"), require("bit")
local bxor, rol, rshift, bswap = bit.bxor, bit.rol, bit.rshift, bit.bswap
local find, sub, byte, format, gmatch = string.find, string.sub, string.byte, string.format, string.gmatch

local function number(hex)
  return tonumber(sub(hex, 1, 8), 16) * 0x100000000ULL + tonumber(sub(hex, 9, 16), 16)
end

local function hexadecimal(value)
  return format("%08x%08x", tonumber(rshift(value, 32)), tonumber(bit.band(value, 0xffffffffULL)))
end

local P1, P2, P3 = 0x9E3779B185EBCA87ULL, 0xC2B2AE3D27D4EB4FULL, 0x165667B19E3779F9ULL
local P4, P5 = 0x85EBCA77C2B2AE63ULL, 0x27D4EB2F165667C5ULL

-- The first 20 bits of the xxHash64 of a viewer's eight bytes, little-endian.
local function bucket(viewer, salt)
  local h = bxor(salt + P5 + 8, rol(viewer * P2, 31) * P1)
  h = rol(h, 27) * P1 + P4
  h = bxor(h, rshift(h, 33)) * P2
  h = bxor(h, rshift(h, 29)) * P3
  return tonumber(rshift(bxor(h, rshift(h, 32)), 44))
end

local function rounds(a, b, c, d, count)
  for _ = 1, count do
    a = a + b; b = bxor(rol(b, 13), a); a = rol(a, 32)
    c = c + d; d = bxor(rol(d, 16), c)
    a = a + d; d = bxor(rol(d, 21), a)
    c = c + b; b = bxor(rol(b, 17), c); c = rol(c, 32)
  end
  return a, b, c, d
end

-- SipHash-2-4 of one or two words of eight bytes, big-endian.
local function seal(key, first, second)
  local a, b = bxor(key[1], 0x736f6d6570736575ULL), bxor(key[2], 0x646f72616e646f6dULL)
  local c, d = bxor(key[1], 0x6c7967656e657261ULL), bxor(key[2], 0x7465646279746573ULL)
  local length = 0x0800000000000000ULL
  local word = bswap(first)
  a, b, c, d = rounds(a, b, c, bxor(d, word), 2)
  a = bxor(a, word)
  if second then
    word, length = bswap(second), 0x1000000000000000ULL
    a, b, c, d = rounds(a, b, c, bxor(d, word), 2)
    a = bxor(a, word)
  end
  a, b, c, d = rounds(a, b, c, bxor(d, length), 2)
  a, b, c, d = rounds(bxor(a, length), b, bxor(c, 0xff), d, 4)
  return bxor(bxor(a, b), bxor(c, d))
end

-- Plans as they were read, by their text. A change makes new texts: what grew old is forgotten with the rest.
local plans, kept = {}, 0

local function read(text)
  local words = gmatch(text, "%S+")
  local key = words()
  local plan = {key = {bswap(number(sub(key, 1, 16))), bswap(number(sub(key, 17, 32)))}, secure = words() == "secure"}
  for id in words do
    local trial = {id = id, service = words(), salt = number(words()), layer = number(words())}
    trial.first, trial.last = tonumber(words()), tonumber(words())
    for _ = 1, tonumber(words()) do
      local name, first, last, place = words(), tonumber(words()), tonumber(words()), words()
      trial[#trial + 1] = {name = name, first = first, last = last, moved = place == "moved"}
    end
    plan[#plan + 1] = trial
  end
  return plan
end

local function plan_of(text)
  local plan = plans[text]
  if plan == nil then
    if kept >= 64 then plans, kept = {}, 0 end
    plan = read(text)
    plans[text], kept = plan, kept + 1
  end
  return plan
end

-- The value of a cookie that is there exactly once and is not longer than that.
local function cookie(all, name, longest)
  if all == nil then return nil end
  local value, from = nil, 1
  -- Other cookies whose names end alike are passed over, but nobody can make this long.
  for _ = 1, 16 do
    local at, till = find(all, name, from, true)
    if at == nil then return value end
    from = till + 1
    local before = at == 1 and 59 or byte(all, at - 1)
    if before == 59 or before == 32 or before == 44 then
      if value then return nil end
      local ends = find(all, ";", from, true) or #all + 1
      if ends - from > longest then return nil end
      value = sub(all, from, ends - 1)
    end
  end
  return nil
end

local function sent_viewer(plan, all)
  local value = cookie(all, COOKIE .. "=", 33)
  if value == nil or #value ~= 33 then return nil end
  if not find(value, "^[0-9a-f]+%.[0-9a-f]+$") or byte(value, 17) ~= 46 then return nil end
  local viewer = number(sub(value, 1, 16))
  if seal(plan.key, viewer) ~= number(sub(value, 18, 33)) then return nil end
  return viewer
end

-- 64 of the 122 random bits of the id that Envoy gave the request; the middle ones have a meaning.
local function new_viewer(id)
  local head, next, tail = string.match(id, "^(%x%x%x%x%x%x%x%x)%-(%x%x%x%x)%-%x+%-%x+%-%x%x%x%x%x%x%x%x(%x%x%x%x)$")
  return number(head .. next .. tail)
end

local function drawn(plan, viewer)
  for _, trial in ipairs(plan) do
    local place = bucket(viewer, trial.layer)
    if place >= trial.first and place < trial.last then
      local at = bucket(viewer, trial.salt)
      for _, arm in ipairs(trial) do
        if at >= arm.first and at < arm.last then return trial, arm end
      end
    end
  end
end

-- Another viewer's list is none: each entry is sealed for one viewer and one trial.
local function with_entry(list, entry)
  list = list and find(list, "^[0-9a-f.]+$") and list or ""
  if find(list, entry, 1, true) then return nil end
  if list == "" then return entry end
  return sub(list .. "." .. entry, -SEEN_LONGEST)
end

local function assign(handle)
  local headers = handle:headers()
  local plan = plan_of(handle:filterContext():get(PLAN))
  local all = headers:get("cookie")
  local viewer = sent_viewer(plan, all)
  local known = viewer ~= nil
  viewer = viewer or new_viewer(headers:get("x-request-id"))
  local trial, arm = drawn(plan, viewer)
  local name, mine, seen = hexadecimal(viewer), nil, nil
  local ending = plan.secure and "; Secure" or ""
  if not known then mine = name .. "." .. hexadecimal(seal(plan.key, viewer)) end
  if trial then
    local list = known and cookie(all, SEEN .. "=", SEEN_LONGEST) or nil
    seen = with_entry(list, hexadecimal(seal(plan.key, viewer, trial.salt)))
  end
  local notes = handle:streamInfo():dynamicMetadata()
  if mine then notes:set(NOTES, "viewer", COOKIE .. "=" .. mine .. COOKIE_REST .. ending) end
  if seen then notes:set(NOTES, "seen", SEEN .. "=" .. seen .. SEEN_REST .. ending) end
  headers:replace(VIEWER, name)
  if trial == nil then return end
  notes:set(NOTES, EXPOSED, trial.service .. "/" .. trial.id .. "/" .. arm.name .. (seen and "/first" or "/again"))
  headers:replace(ARMS, trial.id .. "=" .. arm.name)
  -- The service's own nodes are where it goes already.
  if arm.moved then handle:clearRouteCache() end
end

function envoy_on_request(handle)
  local sound, why = pcall(assign, handle)
  if not sound then handle:logErr("arms: " .. tostring(why)) end
end

-- An answer that others may be given from a cache names nobody.
local function for_all(headers)
  local cached = headers:get("cache-control")
  return cached and not find(cached, "no%-store") and not find(cached, "private") and not find(cached, "no%-cache")
end

function envoy_on_response(handle)
  local notes = handle:streamInfo():dynamicMetadata():get(NOTES)
  if notes == nil or (notes.viewer == nil and notes.seen == nil) then return end
  local headers = handle:headers()
  if for_all(headers) then return end
  if notes.viewer then headers:add("set-cookie", notes.viewer) end
  if notes.seen then headers:add("set-cookie", notes.seen) end
end
"""


def _cookie_rest(age_s: int) -> str:
    return f"; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax"


_WORDS = {
    "COOKIE": viewers.COOKIE,
    "COOKIE_REST": _cookie_rest(viewers.COOKIE_AGE_S),
    "SEEN": SEEN_COOKIE,
    "SEEN_REST": _cookie_rest(SEEN_AGE_S),
    "VIEWER": VIEWER_HEADER,
    "ARMS": ARMS_HEADER,
    "PLAN": PLAN,
    "NOTES": NOTES,
    "EXPOSED": EXPOSED,
}
ARMS = (
    f"local {', '.join(_WORDS)} = {', '.join(map(quoted, _WORDS.values()))}\n"
    f"local SEEN_LONGEST = {SEEN_MOST * 17 - 1}\n{_SCRIPT}"
)
"""The script; it is inert on routes that bring no plan."""

-- Eureka's calls for wrk, as Netflix's Java client words them: heartbeat, register, read or delta.
-- Arguments after "--": the kind, how many instances the calls go round.
local body = '{"instance":{"instanceId":"host-%d:8080","app":"BENCH-%d","appGroupName":null,"ipAddr":"127.0.0.1",'
  .. '"sid":"na","homePageUrl":"http://host-%d:8080/","statusPageUrl":"http://host-%d:8080/Status",'
  .. '"healthCheckUrl":"http://host-%d:8080/healthcheck","secureHealthCheckUrl":null,"vipAddress":"bench-%d",'
  .. '"secureVipAddress":"bench-%d","countryId":1,"dataCenterInfo":'
  .. '{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},"hostName":"host-%d",'
  .. '"status":"UP","overriddenStatus":"UNKNOWN","leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":90,'
  .. '"registrationTimestamp":0,"lastRenewalTimestamp":0,"evictionTimestamp":0,"serviceUpTimestamp":0},'
  .. '"isCoordinatingDiscoveryServer":false,"lastUpdatedTimestamp":%.0f,"lastDirtyTimestamp":%.0f,'
  .. '"actionType":null,"asgName":null,"port":{"$":8080,"@enabled":"true"},'
  .. '"securePort":{"$":443,"@enabled":"false"},"metadata":{"management.port":"8081","zone":"a","version":"1"}}}'
local kind, count, asked = "heartbeat", 1000, 0
local json = { ["Content-Type"] = "application/json" }
local reader = { ["Accept"] = "application/json", ["Accept-Encoding"] = "gzip" }
local base = os.time() * 1000

function init(arguments)
  kind, count = arguments[1], tonumber(arguments[2])
end

local function register(number, app)
  -- Every lap is a newer word of each instance, so that every call has something to be written.
  local stamp = base + math.floor(asked / count)
  local text = string.format(body, number, app, number, number, number, app, app, number, stamp, stamp)
  return wrk.format("POST", "/eureka/v2/apps/BENCH-" .. app, json, text)
end

function request()
  local number = asked % count
  local app = number % 20
  asked = asked + 1
  if kind == "register" then return register(number, app) end
  if kind == "read" then return wrk.format("GET", "/eureka/v2/apps/", reader) end
  if kind == "delta" then return wrk.format("GET", "/eureka/v2/apps/delta", reader) end
  local path = "/eureka/v2/apps/BENCH-%d/host-%d:8080?status=UP&lastDirtyTimestamp=1"
  return wrk.format("PUT", string.format(path, app, number))
end

function done(summary, latency)
  local wrong = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "lasted_s": %f, "refused": %d, "broken": %d, "p50_ms": %f, "p99_ms": %f}\n',
    summary.requests, summary.duration / 1e6, wrong.status, wrong.connect + wrong.read + wrong.write + wrong.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end

-- What wrk sends: requests from a file, made by the harness, so that no time goes into making them here.
--
--   wrk … -s load.lua URL -- FILE
--
-- FILE: lines of a number and that many bytes each, the requests; then, if there is a line "order", numbers from 1, one
-- a line: which to send after which, over and over. Without it they are sent in turn. Where a request has the mark
-- "{number}", each time it is sent it gets another number of ten digits there.
--
-- The connection is made to 127.0.0.1, whatever host the URL names: that one is for TLS.

function wrk.resolve(host, service)
  wrk.addrs = wrk.lookup("127.0.0.1", service)
end

local MARK = "{number}"

local function split(text)
  local parts, at = {}, 1
  while true do
    local first, last = text:find(MARK, at, true)
    parts[#parts + 1] = text:sub(at, first and first - 1)
    if not first then return parts end
    at = last + 1
  end
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local requests, order = {}, {}
  local line = file:read("*l")
  while line and line ~= "order" do
    requests[#requests + 1] = assert(file:read(tonumber(line)))
    file:read("*l")
    line = file:read("*l")
  end
  for number in file:lines() do order[#order + 1] = tonumber(number) end
  file:close()
  for i = 1, #order > 0 and 0 or #requests do order[i] = i end
  return requests, order
end

function init(args)
  local requests, order = read(args[1])
  local count, at = #order, 0
  if not requests[1]:find(MARK, 1, true) then
    if count == 1 then return wrk_static(requests[1]) end
    function request()
      at = at % count + 1
      return requests[order[at]]
    end
    return
  end
  local split_requests, number = {}, 0
  for i, text in ipairs(requests) do split_requests[i] = split(text) end
  local concat, format = table.concat, string.format
  function request()
    at = at % count + 1
    number = number + 1
    return concat(split_requests[order[at]], format("%010d", number))
  end
end

-- A request that is always the same is given to wrk once, and Lua is not called again.
function wrk_static(text)
  wrk.format = function() return text end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "p999": %d, ' ..
    '"not_2xx_3xx": %d, "broken": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end

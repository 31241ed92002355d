-- Sends the bodies of a file in turn, each time under an event id that was never sent before: the gate has to admit
-- every one of them, as it does those of a run. `wrk -s bodies.lua URL -- FILE`.
local heads, tails, sent = {}, {}, 0
local zeros = ("0"):rep(48)

function init(args)
  wrk.method = "POST"
  wrk.path = "/v1/ingest/push"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["X-IG-Api-Key"] = "compare-key"
  for body in io.lines(args[1]) do
    local request = wrk.format(nil, nil, nil, body)
    local from, to = request:find('"event_id":"%x+')
    heads[#heads + 1] = request:sub(1, from + 11)
    tails[#tails + 1] = request:sub(to + 1)
  end
end

function request()
  sent = sent + 1
  local i = sent % #heads + 1
  return heads[i] .. zeros .. string.format("%016x", sent) .. tails[i]
end

function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("told %d %d %d\n", summary.requests, summary.duration, failed))
end

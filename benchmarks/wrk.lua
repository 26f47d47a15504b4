-- Sends bodies made beforehand, one after the other, over and over. Says "ready" on standard error before the first,
-- and last on standard output what came of it, as JSON.
--   wrk … -s benchmarks/wrk.lua URL -- FILE BODY_BYTES CONTENT_TYPE     every BODY_BYTES of FILE are a body

local requests, last = {}, 0

function init(args)
  local file, body_bytes = assert(io.open(args[1], "rb")), tonumber(args[2])
  for body in function() return file:read(body_bytes) end do
    requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = args[3]}, body)
  end
  file:close()
  io.stderr:write("ready\n")
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function done(summary)
  local errors = summary.errors
  print(string.format(
    '{"requests": %.0f, "microseconds": %.0f, "bytes": %.0f, "not_connected": %d, "cut_off": %d, "refused": %d, "late": %d}',
    summary.requests, summary.duration, summary.bytes,
    errors.connect, errors.read + errors.write, errors.status, errors.timeout))
end

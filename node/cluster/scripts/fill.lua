-- fill(sid, g, e, batch, last, rows): one batch of the login backlog goes into the log, once. last = '1': what was held
-- comes behind it and the session is live.
local bad = guard()
if bad then return bad end
local sid, s = ARGV[5], key('s', ARGV[5])
if not owned(sid, ARGV[6], ARGV[7]) then return {'OWNER'} end
local out = {}
local function push(e, source, value, shared)
  local l = redis.call('HINCRBY', s, 'L', 1)
  write_entry(s, 'log', l .. '-0', e, source, value, shared)
  out[#out + 1] = {string.format('%.0f', l), '0', e}
end
local done = tonumber(redis.call('HGET', s, 'fill') or '0')
if tonumber(ARGV[8]) > done then
  for _, e in ipairs(cmsgpack.unpack(ARGV[10])) do push(e, '', '0') end
  redis.call('HSET', s, 'fill', ARGV[8])
end
if ARGV[9] == '1' then
  for _, entry in ipairs(redis.call('XRANGE', s .. ':held', '-', '+')) do
    push(entry[2][2], entry[2][4], entry[2][6], shared_id(entry))
  end
  redis.call('DEL', s .. ':held')
  redis.call('HSET', s, 'mode', 'live')
end
return {'OK', out}

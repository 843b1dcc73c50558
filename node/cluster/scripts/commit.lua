-- commit(batch): makes one batch true if generation, lease, epoch, counter and routes are those it was decided on.
local bad = guard()
if bad then return bad end
local b = cmsgpack.unpack(ARGV[5])
if b.sid ~= '' then
  local s = key('s', b.sid)
  if not owned(b.sid, b.g, b.e) then return {'OWNER', redis.call('HGET', s, 'e') or '0'} end
  if b.advances then
    local at = tonumber(redis.call('HGET', s, 'in'))
    if at >= b.n then return {'DONE', redis.call('GET', P .. 'seq') or '0'} end
    if at ~= b.previous then return {'ORDER'} end
  end
end
if b.room ~= '' then
  local r = key('r', b.room)
  local serving = redis.call('HGET', key('part', b.home), 'serving')
  if serving and serving ~= NODE then return {'OWNER', redis.call('HGET', key('part', b.home), 'e') or '0'} end
  local pos = tonumber(redis.call('HGET', r, 'pos') or '0')
  if b.position > 0 and pos >= b.position then return {'DONE', redis.call('GET', P .. 'seq') or '0'} end
  -- One that was sent behind a step that did not pass must not pass either.
  if b.position > pos + 1 then return {'ORDER'} end
end
for _, c in ipairs(b.checks or {}) do
  local u = key('u', c.u)
  local v = redis.call('HGET', u, 'v') or '0'
  -- Nodes forget the version of an account whose last session has ended; here it stays for a while.
  if redis.call('HLEN', u) <= 1 then v = '0' end
  if v ~= c.v then
    local last = redis.call('GET', P .. 'seq') or '0'
    return {'ROUTE', last}
  end
end
-- Decided on this route, for a session that is not there: whoever decided it has a wrong replica.
if b.checks and #b.checks > 0 then
  for _, a in ipairs(b.appends or {}) do
    if redis.call('EXISTS', key('s', a.t)) == 0 then return {'ROUTE', redis.call('GET', P .. 'seq') or '0'} end
  end
end
local positions, rooms = effects(b)
if b.sid ~= '' and b.advances then redis.call('HSET', key('s', b.sid), 'in', string.format('%.0f', b.n)) end
if b.room ~= '' and b.position > 0 then
  local r = key('r', b.room)
  redis.call('HSET', r, 'pos', string.format('%.0f', b.position))
  redis.call('XTRIM', r .. ':in', 'MINID', string.format('%.0f-1', b.position))
end
if b.spill ~= '' then redis.call('XADD', P .. 'spill:' .. NODE, '*', 'e', b.spill) end
return {'OK', positions, rooms, redis.call('GET', P .. 'seq') or '0'}

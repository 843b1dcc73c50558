-- commit(batch): makes one batch true if generation, lease, epoch, counter and routes are those it was decided on.
local bad = guard()
if bad then return bad end
local b = cmsgpack.unpack(ARGV[5])
if b.sid ~= '' then
  local sender = owned(b.sid, b.g, b.e)
  if not sender then return {'OWNER', redis.call('HGET', key('s', b.sid), 'e') or '0'} end
  if b.advances then
    local at = tonumber(sender[5])
    if at >= b.n then return {'DONE', last_seq()} end
    if at ~= b.previous then return {'ORDER'} end
  end
end
if b.room ~= '' then
  local r = key('r', b.room)
  local home = redis.call('HGET', r, 'home') or b.home
  local part = redis.call('HMGET', key('part', home), 'serving', 'e')
  if part[1] and part[1] ~= NODE then return {'OWNER', part[2] or '0'} end
  local pos = tonumber(redis.call('HGET', r, 'pos') or '0')
  if b.position > 0 and pos >= b.position then return {'DONE', last_seq()} end
  -- One that was sent behind a step that did not pass must not pass either.
  if b.position > pos + 1 then return {'ORDER'} end
end
for _, c in ipairs(b.checks or {}) do
  local u = key('u', c.u)
  -- Nodes forget the version of an account whose last session has ended; here it stays for a while.
  if (redis.call('HGET', u, 'v') or '0') ~= c.v and not (c.v == '0' and redis.call('HLEN', u) <= 1) then
    return {'ROUTE', last_seq()}
  end
end
-- Decided on this route, for a session that is not there: whoever decided it has a wrong replica.
local targets, seen = {}, {}
if b.checks and #b.checks > 0 then
  for i, a in ipairs(b.appends or {}) do
    local target = target_of(a)
    if not target[1] then return {'ROUTE', last_seq()} end
    -- What the batch itself changes is read again.
    if not seen[a.t] and #(b.filling or {}) == 0 then targets[i] = target end
    seen[a.t] = true
  end
end
local positions, rooms = effects(b, targets)
if b.sid ~= '' and b.advances then redis.call('HSET', key('s', b.sid), 'in', string.format('%.0f', b.n)) end
if b.room ~= '' and b.position > 0 then
  local r = key('r', b.room)
  redis.call('HSET', r, 'pos', string.format('%.0f', b.position))
  redis.call('XTRIM', r .. ':in', 'MINID', string.format('%.0f-1', b.position))
  -- One of the same name may be made anywhere.
  if b.gone and redis.call('HDEL', r, 'home') == 1 then
    redis.call('HDEL', r, 'hid', 'he')
    announce('room-home', cmsgpack.pack({b.room, ''}))
  end
end
if b.spill ~= '' then redis.call('XADD', P .. 'spill:' .. NODE, '*', 'e', b.spill) end
return {'OK', positions, rooms, last_seq()}

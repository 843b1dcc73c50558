-- refill(session): a carrier gives back what it knows of a session, joined with what survived beyond that.
local bad = recovering()
if bad then return bad end
local b = cmsgpack.unpack(ARGV[5])
local s = key('s', b.sid)
local r = redis.call('HMGET', s, 'g', 'e', 'L', 'in')
if r[1] then
  local g, e = tonumber(r[1]), tonumber(r[2])
  if g > tonumber(b.g) or (g == tonumber(b.g) and e > tonumber(b.e)) then return {'LOST'} end
end
local taken = {}
for _, o in ipairs(b.origins) do
  taken[o[1]] = o[2]
  local field = 'o:' .. o[1]
  if o[2] > tonumber(redis.call('HGET', s, field) or '-1') then redis.call('HSET', s, field, string.format('%.0f', o[2])) end
end
-- What other nodes appended and the carrier has not read: behind what it has.
local late = {}
for _, x in ipairs(redis.call('XRANGE', s .. ':log', '-', '+')) do
  local l, source, value = tonumber(string.match(x[1], '^%d+')), x[2][4] or '', tonumber(x[2][6] or '0')
  if l > b.last and (source == '' or not taken[source] or value > taken[source]) then
    late[#late + 1] = {x[2][2], source, value, shared_id(x)}
  end
end
redis.call('DEL', s .. ':log', s .. ':k')
local base = math.max(tonumber(r[3] or '0'), b.last)
local l, out = base, {}
local function put(e, source, value, shared)
  l = l + 1
  write_entry(s, 'log', string.format('%.0f-0', l), e, source, string.format('%.0f', value), shared)
end
for _, x in ipairs(b.entries) do
  put(x[1], x[2], x[3], x[5])
  -- Also the absence of a number: one that a lost settle had made void must not come back.
  if x[4] > 0 then redis.call('HSET', s .. ':k', string.format('%.0f', l), string.format('%.0f', x[4])) end
end
for _, x in ipairs(late) do
  put(x[1], x[2], x[3], x[4])
  out[#out + 1] = {string.format('%.0f', l), x[1]}
end
-- What waits behind the login backlog: as the carrier has it, then what survived and the carrier has not read. Of a live
-- session it is in the log.
local survived = redis.call('XRANGE', s .. ':held', '-', '+')
redis.call('DEL', s .. ':held')
if b.mode == 'filling' then
  local has = {}
  local function hold(e, source, value, shared)
    if has[source .. '\0' .. value] then return end
    has[source .. '\0' .. value] = true
    write_entry(s, 'held', '*', e, source, value, shared)
    local field = 'o:' .. source
    if source ~= '' and tonumber(value) > tonumber(redis.call('HGET', s, field) or '-1') then
      redis.call('HSET', s, field, value)
    end
  end
  for _, x in ipairs(b.held) do hold(x[1], x[2], string.format('%.0f', x[3]), x[4]) end
  for _, x in ipairs(survived) do hold(x[2][2], x[2][4], x[2][6], shared_id(x)) end
end
redis.call('HSET', s, 'jid', b.jid, 'acc', b.acc, 'node', NODE, 'g', b.g, 'e', b.e,
  'in', string.format('%.0f', math.max(tonumber(r[4] or '0'), b['in'])), 'L', string.format('%.0f', l),
  'ack', string.format('%.0f', base), 'mode', b.mode, 'st', b.st, 'until', b.till, 'res', b.res, 'state', b.state,
  'fill', b.fill)
redis.call('SADD', P .. 'sessions', b.sid)
if b.entry ~= '' then
  local u = key('u', b.u)
  redis.call('HSET', u, 's:' .. b.sid, b.entry,
    'v', string.format('%.0f', math.max(tonumber(redis.call('HGET', u, 'v') or '0'), b.v) + 1))
  redis.call('PERSIST', u)
end
return {'OK', string.format('%.0f', base), out}

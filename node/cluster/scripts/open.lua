-- open(wait ms, node…): this node has handed in all it has. When every node has, or the time is over, what was staged
-- takes effect in the order of its origins, and the generation opens.
local gen = redis.call('HMGET', P .. 'gen', 'g', 'state', 'began')
if gen[1] ~= G then return {'GEN', gen[1] or '0', gen[2] or 'none'} end
if gen[2] == 'open' then
  return {redis.call('SISMEMBER', P .. 'refilled', NODE) == 1 and 'OPEN' or 'LATE'}
end
redis.call('SADD', P .. 'refilled', NODE)
local time = redis.call('TIME')
local waited = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(gen[3])
for i = 6, #ARGV do
  if waited < tonumber(ARGV[5]) and redis.call('SISMEMBER', P .. 'refilled', ARGV[i]) == 0
     and redis.call('SISMEMBER', P .. 'left', ARGV[i]) == 0 then
    return {'WAIT', ARGV[i]}
  end
end
local staged = {}
for _, bytes in ipairs(redis.call('LRANGE', P .. 'stage', 0, -1)) do staged[#staged + 1] = cmsgpack.unpack(bytes) end
table.sort(staged, function(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  return a[2] < b[2]
end)
for _, x in ipairs(staged) do
  local source, n, b = x[1], x[2], cmsgpack.unpack(x[3])
  local due = true
  if b.room ~= '' then
    -- A step that its owner does not know as done comes again from there.
    due = tonumber(redis.call('HGET', key('r', b.room), 'pos') or '0') >= b.position
  elseif b.advances then
    local counted = redis.call('HGET', key('s', source), 'in')
    due = not counted or tonumber(counted) >= n
  end
  if due then
    for _, c in ipairs(b.routes or {}) do
      announce('route', cmsgpack.pack({c.u, tonumber(redis.call('HGET', key('u', c.u), 'v') or '0'), c.change}))
    end
    b.sessions, b.filling, b.occupants, b.routes = nil, nil, nil, nil
    effects(b)
  end
end
redis.call('DEL', P .. 'stage')
redis.call('HSET', P .. 'gen', 'state', 'open')
return {'OPEN'}

-- ending(sid, g, e): the point of no return for a resume; the session stays a target until its entries are stored.
local bad = guard()
if bad then return bad end
local sid, s = ARGV[5], key('s', ARGV[5])
if not owned(sid, ARGV[6], ARGV[7]) then return {'OWNER'} end
redis.call('HSET', s, 'st', 'ending')
local out, live = {}, {}
local r = redis.call('HMGET', s, 'acc', 'jid')
for _, part in ipairs({':log', ':held'}) do
  for _, entry in ipairs(redis.call('XRANGE', s .. part, '-', '+')) do
    local id = shared_id(entry)
    if id == '' or not redis.call('ZSCORE', key('got', r[1]), id) then out[#out + 1] = entry[2][2] end
  end
end
for _, other in ipairs(redis.call('HKEYS', key('u', string.match(r[2], '^[^/]*')))) do
  if string.sub(other, 1, 2) == 's:' and other ~= 's:' .. sid then
    -- One that is ending as well keeps nothing: of two that end together, the second puts the message offline.
    local st = redis.call('HGET', key('s', string.sub(other, 3)), 'st')
    if st and st ~= 'ending' then live[#live + 1] = string.sub(other, 3) end
  end
end
return {'OK', redis.call('HGET', s, 'L'), redis.call('HGET', s, 'in'), redis.call('HGET', s, 'fill') or '0', out, live,
  redis.call('XLEN', s .. ':held'), r[1], r[2]}

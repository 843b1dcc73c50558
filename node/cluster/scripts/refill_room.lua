-- refill_room(room): its owner gives back position, occupants, and the inputs that are not used up yet; so does the owner
-- before it, for the case that this one had not read them.
local bad = recovering()
if bad then return bad end
local b = cmsgpack.unpack(ARGV[5])
local r = key('r', b.room)
local at = tonumber(redis.call('HGET', r, 'pos') or '0')
if at <= b.pos then
  -- A step that survived without its owner's knowledge has left newer occupants.
  redis.call('DEL', r .. ':occ')
  for _, o in ipairs(b.occupants) do redis.call('HSET', r .. ':occ', o[1], o[2]) end
end
at = math.max(at, b.pos)
redis.call('XTRIM', r .. ':in', 'MINID', string.format('%.0f-1', at))
-- The owner may have decided on them: their places must not be given to others.
local last = math.max(tonumber(redis.call('HGET', r, 'last') or '0'), at)
for _, x in ipairs(b.inputs) do
  while last < x[1] do
    last = last + 1
    redis.call('XADD', r .. ':in', string.format('%.0f-0', last), 'e', last == x[1] and x[2] or b.counted)
  end
end
redis.call('HSET', r, 'pos', string.format('%.0f', at), 'last', string.format('%.0f', last))
for _, o in ipairs(b.origins) do
  local field = 'o:' .. o[1]
  if o[2] > tonumber(redis.call('HGET', r, field) or '-1') then redis.call('HSET', r, field, string.format('%.0f', o[2])) end
end
redis.call('SADD', P .. 'rooms', b.room)
hold_room(b.room, b.former)
if b.home ~= '' then set_home(b.room, b.home, b.id, b.epoch) end
return {'OK'}

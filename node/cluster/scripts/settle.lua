-- settle(sid, g, e, h): entries whose number the client has counted go, all other numbers become void.
local bad = guard()
if bad then return bad end
local sid, s = ARGV[5], key('s', ARGV[5])
if not owned(sid, ARGV[6], ARGV[7]) then return {'OWNER'} end
local h, last, covered = tonumber(ARGV[8]), 0, {}
for _, entry in ipairs(redis.call('XRANGE', s .. ':log', '-', '+')) do
  local l = string.match(entry[1], '^%d+')
  local k = tonumber(redis.call('HGET', s .. ':k', l) or '0')
  -- Numbers are modulo 2^32 on the wire; half of that is the horizon.
  if k == 0 or (h - k) % 4294967296 >= 2147483648 then break end
  last = l
  covered[#covered + 1] = entry
end
if last ~= 0 then
  redis.call('XTRIM', s .. ':log', 'MINID', last .. '-1')
  redis.call('HSET', s, 'ack', last)
  local r = redis.call('HMGET', s, 'shared', 'acc')
  if r[1] then remember_got(r[2], covered) end
end
redis.call('DEL', s .. ':k')
return {'OK'}

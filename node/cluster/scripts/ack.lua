-- ack(sid, g, e, L): the client has acknowledged the log up to L.
local bad = guard()
if bad then return bad end
local sid, s = ARGV[5], key('s', ARGV[5])
if not owned(sid, ARGV[6], ARGV[7]) then return {'OWNER'} end
local r = redis.call('HMGET', s, 'ack', 'shared', 'acc')
local from, to = tonumber(r[1] or '0'), tonumber(ARGV[8])
if to > from then
  if r[2] then remember_got(r[3], redis.call('XRANGE', s .. ':log', '-', ARGV[8] .. '-0')) end
  redis.call('XTRIM', s .. ':log', 'MINID', ARGV[8] .. '-1')
  if redis.call('XLEN', s .. ':log') == 0 then
    redis.call('DEL', s .. ':k')
  else
    local covered = {}
    for l = from + 1, to do covered[#covered + 1] = string.format('%.0f', l) end
    for i = 1, #covered, 1000 do redis.call('HDEL', s .. ':k', unpack(covered, i, math.min(i + 999, #covered))) end
  end
  redis.call('HSET', s, 'ack', ARGV[8])
end
return {'OK'}

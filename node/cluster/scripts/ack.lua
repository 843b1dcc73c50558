-- ack(sid, g, e, L): the client has acknowledged the log up to L.
local bad = guard()
if bad then return bad end
local sid, s = ARGV[5], key('s', ARGV[5])
if not owned(sid, ARGV[6], ARGV[7]) then return {'OWNER'} end
local from = tonumber(redis.call('HGET', s, 'ack') or '0')
local to = tonumber(ARGV[8])
if to > from then
  redis.call('XTRIM', s .. ':log', 'MINID', ARGV[8] .. '-1')
  if redis.call('XLEN', s .. ':log') == 0 then
    redis.call('DEL', s .. ':k')
  else
    for l = from + 1, to do redis.call('HDEL', s .. ':k', string.format('%.0f', l)) end
  end
  redis.call('HSET', s, 'ack', ARGV[8])
end
return {'OK'}

-- lease(ms, read): renews or takes this node's lease, tells how far this node has read the streams. Answers the state of
-- the generation, the counter, and how far the slowest node has read.
local gen = redis.call('HMGET', P .. 'gen', 'g', 'state')
if gen[1] ~= G then return {'GEN', gen[1] or '0', gen[2] or 'none'} end
local now = redis.call('GET', P .. 'lease:' .. NODE)
if now and now ~= NE then return {'LEASE', now} end
redis.call('SET', P .. 'lease:' .. NODE, NE, 'PX', ARGV[5])
redis.call('HSET', P .. 'read', NODE, ARGV[6])
redis.call('SREM', P .. 'left', NODE)
local slowest = tonumber(ARGV[6])
local read = redis.call('HGETALL', P .. 'read')
for i = 1, #read, 2 do
  if redis.call('EXISTS', P .. 'lease:' .. read[i]) == 0 then
    redis.call('HDEL', P .. 'read', read[i])
  else
    slowest = math.min(slowest, tonumber(read[i + 1]))
  end
end
return {'OK', gen[2], redis.call('GET', P .. 'seq') or '0', string.format('%.0f', slowest)}

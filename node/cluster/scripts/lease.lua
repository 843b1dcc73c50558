-- lease(ms, read, min, max, nodes…): renews or takes this node's lease, tells how far this node has read the streams and
-- which forms of what goes between nodes it can read. Answers the state of the generation, the counter, how far the slowest
-- node has read, and the form that is written. A node that comes to others that write what it cannot read gets no lease.
local gen = redis.call('HMGET', P .. 'gen', 'g', 'state')
if gen[1] ~= G then return {'GEN', gen[1] or '0', gen[2] or 'none'} end
local now = redis.call('GET', P .. 'lease:' .. NODE)
if now and now ~= NE then return {'LEASE', now} end

-- Of every node of the configuration, what it last told, though it may be away: it comes back as it was. One that holds a
-- lease and has told nothing in this life is of a time before there were numbers. One that was never seen does not count.
local min, max = tonumber(ARGV[7]), tonumber(ARGV[8])
local used = tonumber(redis.call('GET', P .. 'protocol') or '1')
local lowest, others = max, false
for i = 9, #ARGV do
  if ARGV[i] ~= NODE then
    local lease = redis.call('GET', P .. 'lease:' .. ARGV[i])
    local life, newest = string.match(redis.call('HGET', P .. 'protocols', ARGV[i]) or '', '^(%S+) %d+ (%d+)$')
    if lease and life ~= lease then newest = '1' end
    if newest then lowest = math.min(lowest, tonumber(newest)) end
    if lease then others = true end
  end
end
if others and not now and (used < min or used > max) then return {'PROTOCOL', string.format('%.0f', used)} end
-- Up when all can; down only for a node that is alone.
if not others or lowest > used then used = math.max(lowest, min) end
redis.call('SET', P .. 'protocol', string.format('%.0f', used))
redis.call('HSET', P .. 'protocols', NODE, string.format('%s %.0f %.0f', NE, min, max))

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
return {'OK', gen[2], redis.call('GET', P .. 'seq') or '0', string.format('%.0f', slowest), string.format('%.0f', used)}

-- lease(ms, home…): renews or takes this node's lease; takes the partitions that nobody serves yet.
local gen = redis.call('HMGET', P .. 'gen', 'g', 'state')
if gen[1] ~= G then return {'GEN', gen[1] or '0', gen[2] or 'none'} end
local now = redis.call('GET', P .. 'lease:' .. NODE)
if now and now ~= NE then return {'LEASE', now} end
redis.call('SET', P .. 'lease:' .. NODE, NE, 'PX', ARGV[5])
return {'OK', gen[2]}

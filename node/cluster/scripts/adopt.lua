-- adopt(partition, epoch): this node serves the partition from now on, under an epoch that the store has given.
local bad = guard()
if bad then return bad end
local p = key('part', ARGV[5])
local e = tonumber(redis.call('HGET', p, 'e') or '0')
if tonumber(ARGV[6]) < e then return {'EPOCH', string.format('%.0f', e)} end
redis.call('HSET', p, 'serving', NODE, 'e', ARGV[6])
announce('part', cmsgpack.pack({ARGV[5], NODE, ARGV[6]}))
return {'OK'}

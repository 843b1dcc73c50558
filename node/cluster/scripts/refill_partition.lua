-- refill_partition(home, serving, epoch): as the store has it.
local bad = recovering()
if bad then return bad end
local p = key('part', ARGV[5])
if tonumber(redis.call('HGET', p, 'e') or '0') < tonumber(ARGV[7]) then
  redis.call('HSET', p, 'serving', ARGV[6], 'e', ARGV[7])
end
return {'OK'}

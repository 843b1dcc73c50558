-- recover(run): this incarnation of Redis belongs to the generation that the store has given; nobody has effects until
-- it is open. Answers how far the streams had come that survived.
local gen = redis.call('HMGET', P .. 'gen', 'g', 'state', 'survived')
if tonumber(gen[1] or '0') > tonumber(G) then return {'GEN', gen[1], gen[2] or 'none'} end
if gen[1] == G then return {'OK', gen[2], gen[3]} end
local survived = redis.call('GET', P .. 'seq') or '0'
-- Above every id that was ever given in an earlier generation: what was lost is never given again.
local base = tonumber(G) * 1e10
if tonumber(survived) < base then redis.call('SET', P .. 'seq', string.format('%.0f', base)) end
local time = redis.call('TIME')
redis.call('HSET', P .. 'gen', 'g', G, 'run', ARGV[5], 'state', 'recovering', 'survived', survived,
  'began', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
redis.call('DEL', P .. 'refilled', P .. 'stage', P .. 'read')
return {'OK', 'recovering', survived}

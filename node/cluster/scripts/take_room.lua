-- take_room(room, home, id, epoch, knows): this node serves the home that the room's row (id, epoch) names, and is about to
-- load it: from now on only it has effects. `knows`: all nodes look for a room's home in Redis.
local bad = guard()
if bad then return bad end
local serving = redis.call('HGET', key('part', ARGV[6]), 'serving')
if serving and serving ~= NODE then return {'OWNER'} end
if ARGV[9] == '1' then
  local known, before = set_home(ARGV[5], ARGV[6], ARGV[7], ARGV[8])
  if not known then return {'OLD'} end
  if before and before ~= ARGV[6] then announce('room-home', cmsgpack.pack({ARGV[5], ARGV[6]})) end
end
return {'OK'}

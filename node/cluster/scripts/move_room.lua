-- move_room(room, home, id, epoch, position): the room's row (id, epoch) names another home: what is written for the room goes
-- there from now on, and its node is told to load it. `position`: where the owner stands who gives it away; empty: whoever
-- finds the move half done. To be repeated at will: an older row changes nothing.
local bad = guard()
if bad then return bad end
local r = key('r', ARGV[5])
if ARGV[9] ~= '' then
  local home = redis.call('HGET', r, 'home')
  local serving = home and redis.call('HGET', key('part', home), 'serving')
  if serving and serving ~= NODE then return {'OWNER'} end
  if (redis.call('HGET', r, 'pos') or '0') ~= ARGV[9] then return {'ORDER'} end
end
if not set_home(ARGV[5], ARGV[6], ARGV[7], ARGV[8]) then return {'OLD'} end
announce('room-home', cmsgpack.pack({ARGV[5], ARGV[6]}))
return {'OK'}

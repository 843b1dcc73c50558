-- end(sid, g, e, L, held, farewell): everything due is stored; if nothing came since, the session leaves the route.
local bad = guard()
if bad then return bad end
local sid, s = ARGV[5], key('s', ARGV[5])
if not owned(sid, ARGV[6], ARGV[7]) then return {'OWNER'} end
if redis.call('HGET', s, 'L') ~= ARGV[8] or redis.call('XLEN', s .. ':held') ~= tonumber(ARGV[9]) then return {'GREW'} end
drop_session(sid)
effects(cmsgpack.unpack(ARGV[10]))
return {'OK', last_seq()}

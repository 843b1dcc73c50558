-- number(sid, g, e, L, k, …): stanza numbers of log entries, before the stanzas are written to the socket.
local bad = guard()
if bad then return bad end
local sid = ARGV[5]
if not owned(sid, ARGV[6], ARGV[7]) then return {'OWNER'} end
local k = key('s', sid) .. ':k'
for i = 8, #ARGV, 1000 do redis.call('HSET', k, unpack(ARGV, i, math.min(i + 999, #ARGV))) end
return {'OK'}

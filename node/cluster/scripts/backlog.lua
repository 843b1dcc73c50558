-- backlog(sid, nodes …): whether the login backlog of a session can be taken: nothing that belongs to it is on its way from
-- a session that is ending, or waits for the store.
local bad = guard()
if bad then return bad end
local sid = ARGV[5]
local r = redis.call('HMGET', key('s', sid), 'acc', 'fill', 'jid')
if not r[1] then return {'NONE'} end
for _, other in ipairs(redis.call('HKEYS', key('u', string.match(r[3], '^[^/]*')))) do
  if string.sub(other, 1, 2) == 's:' and other ~= 's:' .. sid
    and redis.call('HGET', key('s', string.sub(other, 3)), 'st') == 'ending' then
    return {'WAIT'}
  end
end
for i = 6, #ARGV do
  if redis.call('XLEN', key('spill', ARGV[i])) > 0 then return {'WAIT'} end
end
return {'OK', r[1], r[2] or '0'}

-- claim(sid, account, mode): this node becomes the carrier; epoch +1. mode 'adopt': without a client, `until` in ARGV[8].
local bad = guard()
if bad then return bad end
local sid, s = ARGV[5], key('s', ARGV[5])
local r = redis.call('HMGET', s, 'acc', 'st', 'e', 'node', 'jid', 'g')
if not r[1] then return {'NONE'} end
if ARGV[6] ~= '' and r[1] ~= ARGV[6] then return {'ACCOUNT'} end
if r[2] == 'ending' and ARGV[7] ~= 'end' then return {'ENDING'} end
-- An adopter takes what the lost node still carries, not what a client has resumed elsewhere meanwhile.
if ARGV[7] ~= 'resume' and ARGV[9] ~= '' and r[4] ~= ARGV[9] then return {'MOVED'} end
local e = tonumber(r[3]) + 1
if tonumber(r[6]) < tonumber(G) then e = 1 end
local old = r[4]
redis.call('HSET', s, 'node', NODE, 'g', G, 'e', string.format('%.0f', e))
if ARGV[7] == 'adopt' then
  if r[2] == 'attached' then redis.call('HSET', s, 'st', 'detached', 'until', ARGV[8]) end
elseif ARGV[7] == 'resume' then
  redis.call('HSET', s, 'st', 'attached')
end
announce('claim', cmsgpack.pack({sid, r[5], NODE}))
if old ~= NODE then publish(old, 'lost', cmsgpack.pack({sid})) end
local entries = redis.call('XRANGE', s .. ':log', '-', '+')
local out = {}
for i, entry in ipairs(entries) do
  local l = string.match(entry[1], '^%d+')
  out[i] = {l, redis.call('HGET', s .. ':k', l) or '0', entry[2][2]}
end
local held = {}
for i, entry in ipairs(redis.call('XRANGE', s .. ':held', '-', '+')) do held[i] = entry[2][2] end
return {'OK', redis.call('HGETALL', s), out, held}

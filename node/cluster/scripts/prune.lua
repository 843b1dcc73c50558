-- prune(account): entries of a route whose sessions are not there leave it. How many.
local bad = guard()
if bad then return bad end
local u, gone = key('u', ARGV[5]), 0
for _, field in ipairs(redis.call('HKEYS', u)) do
  if string.sub(field, 1, 2) == 's:' and redis.call('EXISTS', key('s', string.sub(field, 3))) == 0 then
    redis.call('HDEL', u, field)
    gone = gone + 1
  end
end
if gone > 0 then
  redis.call('HINCRBY', u, 'v', 1)
  if redis.call('HLEN', u) <= 1 then redis.call('EXPIRE', u, 3600) end
end
return {'OK', gone}

-- stage(output…): what this node committed, or may have committed, and Redis may have lost.
local bad = recovering()
if bad then return bad end
for i = 5, #ARGV do redis.call('RPUSH', P .. 'stage', ARGV[i]) end
return {'OK'}

-- keep_lease(ms): makes the lease last longer that this node holds; takes none. For a thread of its own, which knows nothing of
-- the rest of the node.
local no = guard()
if no then return no end
redis.call('PEXPIRE', P .. 'lease:' .. NODE, ARGV[5])
return {'OK'}

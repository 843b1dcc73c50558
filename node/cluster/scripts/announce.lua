-- announce(account): an administrator changed it; every node reads it again.
local bad = guard()
if bad then return bad end
announce('account', ARGV[5])
return {'OK'}

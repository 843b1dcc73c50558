-- held_room(room): this node has the room in its memory; the node that had it before need not keep its copy.
local bad = guard()
if bad then return bad end
hold_room(ARGV[5], false)
return {'OK'}

-- Common to all scripts. ARGV: 1 key prefix, 2 generation, 3 node, 4 node incarnation, 5 … the script's own.
-- All keys of a cluster carry one hash tag (the prefix), so a script may touch any of them.
local P, G, NODE, NE = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local function key(kind, name) return P .. kind .. ':' .. name end

-- Generation and lease: nobody acts in a Redis of another generation, or without his own lease.
local function guard()
  local gen = redis.call('HMGET', P .. 'gen', 'g', 'state')
  if gen[1] ~= G then return {'GEN', gen[1] or '0', gen[2] or 'none'} end
  if gen[2] ~= 'open' then return {'GEN', gen[1], gen[2] or 'none'} end
  if redis.call('GET', P .. 'lease:' .. NODE) ~= NE then return {'LEASE'} end
end

-- One order for all streams of the cluster: ids are a counter, so that a reader can merge the streams it reads.
local newest
local function next_id()
  newest = redis.call('INCR', P .. 'seq')
  return string.format('%.0f-0', newest)
end
local function last_seq()
  return newest and string.format('%.0f', newest) or redis.call('GET', P .. 'seq') or '0'
end
local function publish(node, kind, bytes)
  redis.call('XADD', P .. 'bus:' .. node, 'MAXLEN', '~', 50000, next_id(), 'k', kind, 'd', bytes)
end
local function announce(kind, bytes)
  redis.call('XADD', P .. 'chg', 'MAXLEN', '~', 200000, next_id(), 'k', kind, 'd', bytes)
end

-- A session's record if it is this node's and the epoch is the one given.
local function owned(sid, g, e)
  local r = redis.call('HMGET', key('s', sid), 'node', 'g', 'e', 'st', 'in')
  return r[1] == NODE and r[2] == g and r[3] == e and r
end

-- An origin is taken once per target: the highest (n, sub) of each source is kept.
local function take_origin(hash, source, n, sub)
  if source == '' then return true end
  local field, value = 'o:' .. source, n * 4096 + sub
  local last = tonumber(redis.call('HGET', hash, field) or '-1')
  if value <= last then return false end
  redis.call('HSET', hash, field, string.format('%.0f', value))
  return true
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- One entry of a session's log, or of what waits behind its backlog. `shared`: its stanza-id if other devices have it too.
local function write_entry(s, part, position, e, source, value, shared)
  redis.call('XADD', s .. ':' .. part, position, 'e', e, 's', source, 'v', value, 'c', shared or '')
  if shared and shared ~= '' then redis.call('HSET', s, 'shared', '1') end
end
local function shared_id(entry) return entry[2][8] or '' end

-- What one of several devices has acknowledged is not due when another one ends: remembered for fifteen minutes.
local function remember_got(account, entries)
  local got, now = key('got', account), now_ms()
  for _, entry in ipairs(entries) do
    local id = shared_id(entry)
    if id ~= '' then redis.call('ZADD', got, string.format('%.0f', now), id) end
  end
  redis.call('ZREMRANGEBYSCORE', got, '-inf', string.format('%.0f', now - 900000))
  redis.call('EXPIRE', got, 900)
end

-- Appends to a session's log; hands the entry to its carrier. The position, 0 if nothing was appended. `r`: what the target's
-- record says, if that has been read and nothing has changed it since.
local function target_of(a) return redis.call('HMGET', key('s', a.t), 'node', 'mode', 'L', 'o:' .. a.src) end
local function append(a, r)
  local s, value = key('s', a.t), a.n * 4096 + a.sub
  r = r or target_of(a)
  if not r[1] then return 0 end
  if a.src ~= '' and value <= tonumber(r[4] or '-1') then return 0 end
  value = string.format('%.0f', value)
  if r[2] == 'filling' and a.held then
    if a.src ~= '' then redis.call('HSET', s, 'o:' .. a.src, value) end
    write_entry(s, 'held', '*', a.e, a.src, value, a.shared)
    publish(r[1], 'held', cmsgpack.pack({a.t, a.e}))  -- the carrier's memory is the second place
    return 0
  end
  local l = tonumber(r[3] or '0') + 1
  local last = string.format('%.0f', l)
  if a.src == '' then redis.call('HSET', s, 'L', last) else redis.call('HSET', s, 'L', last, 'o:' .. a.src, value) end
  write_entry(s, 'log', last .. '-0', a.e, a.src, value, a.shared)
  publish(r[1], 'entry', cmsgpack.pack({a.t, l, a.e}))
  return l
end

-- A route: version and the entries of its sessions. Every change is announced with the version it led to.
local function route_change(c)
  local u = key('u', c.u)
  if c.ended then
    redis.call('HDEL', u, 's:' .. c.sid)
  else
    redis.call('HSET', u, 's:' .. c.sid, c.entry)
  end
  local v
  if c.moves or c.ended then v = redis.call('HINCRBY', u, 'v', 1) else v = tonumber(redis.call('HGET', u, 'v') or '0') end
  if c.ended and redis.call('HLEN', u) <= 1 then redis.call('EXPIRE', u, 3600) else redis.call('PERSIST', u) end
  announce('route', cmsgpack.pack({c.u, v, c.change}))
  if c.gone and c.gone ~= '' then
    -- For a node that starts: a client that resumes there was told by nobody who went in the last ten minutes.
    local now = now_ms()
    redis.call('ZADD', P .. 'gone', string.format('%.0f', now), c.gone)
    redis.call('ZREMRANGEBYSCORE', P .. 'gone', '-inf', string.format('%.0f', now - 600000))
  end
end

-- A room's home as the latest row (id, epoch) said that a node has told Redis of. Whether this one is none older, and the home
-- before it.
local function set_home(room, home, id, epoch)
  local r = key('r', room)
  local at = redis.call('HMGET', r, 'home', 'hid', 'he')
  local known_id, known_epoch = tonumber(at[2] or '0'), tonumber(at[3] or '0')
  id, epoch = tonumber(id), tonumber(epoch)
  if id < known_id or (id == known_id and epoch < known_epoch) then return false end
  redis.call('HSET', r, 'home', home, 'hid', string.format('%.0f', id), 'he', string.format('%.0f', epoch))
  return true, at[1]
end

-- Who has a room in memory, for a Redis that comes back empty: the holder, and until that has read it the node before.
local function hold_room(room, former)
  local r = key('r', room)
  local holder = redis.call('HGET', r, 'held')
  if holder == NODE then return end
  if former and holder then return publish(NODE, 'room-held', cmsgpack.pack({room})) end
  redis.call('HSET', r, 'held', NODE)
  if holder then publish(holder, 'room-held', cmsgpack.pack({room})) end
end

local function drop_session(sid)
  local s = key('s', sid)
  redis.call('DEL', s, s .. ':log', s .. ':held', s .. ':k')
  redis.call('SREM', P .. 'sessions', sid)
end

-- During a recovery only its own steps are allowed.
local function recovering()
  local gen = redis.call('HMGET', P .. 'gen', 'g', 'state')
  if gen[1] ~= G or gen[2] ~= 'recovering' then return {'GEN', gen[1] or '0', gen[2] or 'none'} end
end

-- The effects that a commit and a session's end have in common. Answers positions of appends and of room inputs. `targets`: of
-- appends, as far as they have been read.
local function effects(b, targets)
  for _, r in ipairs(b.sessions or {}) do
    local s = key('s', r.sid)
    local known = redis.call('HMGET', s, 'node', 'g', 'e')
    -- One that was under way while the session was ended must not bring it back.
    if not known[1] and r.fresh then
      redis.call('HSET', s, 'jid', r.jid, 'acc', r.acc, 'node', NODE, 'g', r.g, 'e', r.e, 'in', '0', 'L', '0', 'mode', r.mode)
      redis.call('SADD', P .. 'sessions', r.sid)
    end
    -- A record that was under way while the session was claimed elsewhere says nothing any more.
    if (not known[1] and r.fresh) or (known[1] == NODE and known[2] == r.g and known[3] == r.e) then
      redis.call('HSET', s, 'st', r.st, 'until', r.till, 'res', r.res, 'state', r.state)
    end
  end
  for _, sid in ipairs(b.filling or {}) do redis.call('HSET', key('s', sid), 'mode', 'filling') end
  -- First: whoever hears of the change and acts on it finds his node knowing that its copy is old.
  for _, a in ipairs(b.accounts or {}) do announce('account', a) end
  local positions, rooms = {}, {}
  for i, a in ipairs(b.appends or {}) do positions[i] = append(a, targets and targets[i]) end
  for i, m in ipairs(b.rooms or {}) do
    local r = key('r', m.room)
    if take_origin(r, m.src, m.n, m.sub) then
      local p = redis.call('HINCRBY', r, 'last', 1)
      redis.call('XADD', r .. ':in', p .. '-0', 'e', m.e)
      redis.call('SADD', P .. 'rooms', m.room)
      -- Not where the sender believes that it lives: it may have moved.
      local home = redis.call('HGET', r, 'home') or m.home
      local owner = redis.call('HGET', key('part', home), 'serving') or home
      publish(owner, 'room', cmsgpack.pack({m.room, p, m.e}))
      rooms[i] = p
    else
      rooms[i] = 0
    end
  end
  for _, o in ipairs(b.occupants or {}) do
    local f = key('r', o.room) .. ':occ'
    if o.removed then redis.call('HDEL', f, o.sid) else redis.call('HSET', f, o.sid, o.bytes) end
  end
  for _, c in ipairs(b.routes or {}) do route_change(c) end
  for _, n in ipairs(b.notices or {}) do publish(n.node, 'notice', n.bytes) end
  return positions, rooms
end

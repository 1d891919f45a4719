#!lua flags=allow-oom
-- Applies one commit of the fold, or nothing.
--
-- KEYS  1 cur  2 experiments  3 producers  4 seen  5 dead  6 dead-size, then the stats hash of each experiment in the plan,
--       then the set of each bucket of marks, then the sets that expired.
-- ARGV  1 expected run  2 expected cursor id  3 plan (JSON; every number in it is a string)
--       4 how many stats hashes  5 how many buckets  6 … the marks of each bucket, 19 digits each, joined.
-- returns 1 if applied, 0 if the cursor has moved.
--
-- Invariant: cursor and state change together, so state is always the fold of the log up to the cursor.
-- allow-oom: a full server is relieved by draining, so draining must work on a full server.

local function is_a(key, wanted)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == wanted
end

-- A script that fails half-way is not rolled back, so whatever could fail is looked at before the first write.
local wanted = {'hash', 'set', 'hash', 'hash', 'stream', 'hash'}
local n_stats, n_buckets = tonumber(ARGV[4]), tonumber(ARGV[5])
for i, key in ipairs(KEYS) do
  local kind = wanted[i] or (i <= 6 + n_stats and 'hash' or 'set')
  if not is_a(key, kind) then
    return redis.error_reply('CORRUPT ' .. key .. ' is not a ' .. kind)
  end
end

if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] then
  return 0
end

-- Lua hands at most some 8,000 values to a call.
local function in_pieces(values, piece, call)
  for first = 1, #values, piece do
    call(unpack(values, first, math.min(first + piece - 1, #values)))
  end
end

local function set_fields(key, pairs)
  in_pieces(pairs, 4000, function(...) redis.call('HSET', key, ...) end)
end

local function drop_fields(key, fields)
  in_pieces(fields, 4000, function(...) redis.call('HDEL', key, ...) end)
end

local plan = cjson.decode(ARGV[3])
set_fields(KEYS[1], plan.partition)
in_pieces(plan.experiments, 4000, function(...) redis.call('SADD', KEYS[2], ...) end)
set_fields(KEYS[3], plan.producers)
drop_fields(KEYS[3], plan.forgotten)
set_fields(KEYS[4], plan.scopes)
drop_fields(KEYS[4], plan.expired_scopes)
for i = 1, n_stats do
  drop_fields(KEYS[6 + i], plan.removed[i])
  set_fields(KEYS[6 + i], plan.stats[i])
end
for i = 1, n_buckets do
  local packed, marks = ARGV[5 + i], {}
  for at = 1, #packed, 19 do
    marks[#marks + 1] = packed:sub(at, at + 18)
  end
  in_pieces(marks, 4000, function(...) redis.call('SADD', KEYS[6 + n_stats + i], ...) end)
end
for i = 7 + n_stats + n_buckets, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
if #plan.dead > 0 then
  local size = redis.call('XLEN', KEYS[5]) > 0 and tonumber(redis.call('HGET', KEYS[6], 'bytes') or '0') or 0
  local dropped = 0
  for _, letter in ipairs(plan.dead) do
    redis.call('XADD', KEYS[5], '*', 'letter', letter)
    size = size + #letter
  end
  while size > tonumber(plan.max_dead_bytes) do
    local oldest = redis.call('XRANGE', KEYS[5], '-', '+', 'COUNT', 1)[1]
    if not oldest then -- somebody deleted letters by hand, so the sum was too high
      size = 0
      break
    end
    redis.call('XDEL', KEYS[5], oldest[1])
    size = size - #oldest[2][2]
    dropped = dropped + 1
  end
  redis.call('HSET', KEYS[6], 'bytes', string.format('%d', size))
  redis.call('HINCRBY', KEYS[6], 'dropped', dropped)
end
return 1

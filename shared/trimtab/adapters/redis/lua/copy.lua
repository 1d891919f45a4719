#!lua flags=allow-oom
-- Replaces one space of a partition's state by another, if the source still stands where it was read.
--
-- KEYS  1 source cur  2 target cur  3 the target's dead  4 its dead-size, then pairs of source and target key, then
--       target keys without a source.
-- ARGV  1 run of the source  2 its cursor id  3 run of the target  4 its cursor id  5 how many pairs
--       6 run that the copy begins.
-- returns 1 if copied, 0 if source or target has moved.
--
-- Invariant: a space is always a whole state at one cursor; a copy is a new life, so nobody who remembers the replaced
-- state, or the copied one, can commit to it.
-- allow-oom: a full server is relieved by a trim, which takes a snapshot first.

local function is_a(key, wanted)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == wanted
end

-- A damaged state is replaced, too: what it does not say, or cannot, is empty.
local function stands_at(key, run, id)
  if not is_a(key, 'hash') then
    return run == '' and id == ''
  end
  return (redis.call('HGET', key, 'run') or '') == run and (redis.call('HGET', key, 'id') or '') == id
end

if not (stands_at(KEYS[1], ARGV[1], ARGV[2]) and stands_at(KEYS[2], ARGV[3], ARGV[4])) then
  return 0
end
local last = 4 + 2 * tonumber(ARGV[5])
for i = 5, last, 2 do
  if redis.call('COPY', KEYS[i], KEYS[i + 1], 'REPLACE') == 0 then
    redis.call('UNLINK', KEYS[i + 1])
  end
end
for i = last + 1, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
redis.call('HSET', KEYS[2], 'run', ARGV[6])
-- Letters are no part of the copied state; but where none can be kept, no commit succeeds.
if not is_a(KEYS[3], 'stream') then
  redis.call('UNLINK', KEYS[3])
end
if not is_a(KEYS[4], 'hash') then
  redis.call('UNLINK', KEYS[4])
end
return 1

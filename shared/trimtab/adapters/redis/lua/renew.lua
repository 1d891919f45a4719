#!lua flags=allow-oom
-- Begins a partition's log anew, or goes on in one that another was replaced by, with the state as it is.
--
-- KEYS  1 cur  2 events.
-- ARGV  1 expected run  2 expected cursor id  3 run that begins  4 cursor id in the new log  5 '1' to delete the old one.
-- returns 1 if done, 0 if the cursor has moved.
--
-- Invariant: whoever read the old log cannot commit: the run is another.
-- allow-oom: nothing is added.

if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] then
  return 0
end
if ARGV[5] == '1' then
  redis.call('UNLINK', KEYS[2])
end
redis.call('HSET', KEYS[1], 'run', ARGV[3], 'id', ARGV[4])
return 1

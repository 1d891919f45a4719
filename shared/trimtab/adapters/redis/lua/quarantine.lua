#!lua flags=allow-oom
-- Sets an entry of the log aside: every fold of it, also a later one, counts it as a dead letter without reading it.
--
-- KEYS  1 cur  2 quarantined.  ARGV  1 expected run  2 expected cursor id  3 the entry's id  4 run that begins.
-- returns 1 if set aside, 0 if the cursor has moved.
--
-- Invariant: it is set aside before any state counts it, and whoever read it before cannot commit: the run is another.
-- allow-oom: a full server is relieved by draining, and this entry is in the way of it.

if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] then
  return 0
end
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[1], 'run', ARGV[4])
return 1

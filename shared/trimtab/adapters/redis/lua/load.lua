#!lua flags=allow-oom
-- Reads a state but for its experiments; an empty one begins where there is none.
--
-- KEYS  1 cur  2 producers  3 seen  4 quarantined.  ARGV  1 run of a new state  2 cursor id of a new state.
-- returns the three hashes, each as a list of names and values in turn, and the quarantined ids.
--
-- Invariant: all are of one moment, and a state has a run and a cursor id from its first reading on.
-- allow-oom: a full server refuses MULTI, even around reads.

if redis.call('HEXISTS', KEYS[1], 'run') == 0 then
  redis.call('HSET', KEYS[1], 'run', ARGV[1])
end
if redis.call('HEXISTS', KEYS[1], 'id') == 0 then
  redis.call('HSET', KEYS[1], 'id', ARGV[2])
end
return {
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]),
  redis.call('SMEMBERS', KEYS[4]),
}

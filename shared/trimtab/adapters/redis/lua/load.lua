#!lua flags=allow-oom
-- Reads a state but for its experiments; an empty one begins where there is none.
--
-- KEYS  1 cur  2 producers  3 seen  4 quarantined  5 experiments.
-- ARGV  1 run of a new state  2 cursor id of a new state.
-- returns the three hashes, each as a list of names and values in turn, and the quarantined ids.
--
-- Invariant: all are of one moment, and a state has a run and a cursor id from its first reading on. One that has lost
--       them is not a new one: folded again from the log's start over what is left, events would count twice.
-- allow-oom: a full server refuses MULTI, even around reads.

local function is_there(key) return redis.call('TYPE', key).ok ~= 'none' end

if not (is_there(KEYS[1]) or is_there(KEYS[2]) or is_there(KEYS[3]) or is_there(KEYS[5])) then
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'id', ARGV[2])
end
if redis.call('HEXISTS', KEYS[1], 'run') + redis.call('HEXISTS', KEYS[1], 'id') < 2 then
  return redis.error_reply('CORRUPT ' .. KEYS[1] .. ' does not say where the state stands')
end
return {
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]),
  redis.call('SMEMBERS', KEYS[4]),
}

#!lua flags=allow-oom
-- Writes an epoch's control entry to the log, unless that epoch or a later one was announced before.
--
-- KEYS  1 events  2 epochs.  ARGV  1 experiment  2 epoch, then names and values of its fields in turn.
-- returns 1 if written, 0 if not.
--
-- Invariant: epochs of an experiment appear in its log in rising order, each once.
-- allow-oom: weights must move, and a halt take effect, also while the server is full.

if tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0') >= tonumber(ARGV[2]) then
  return 0
end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1

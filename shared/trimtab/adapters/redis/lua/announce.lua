#!lua flags=allow-oom
-- Writes an epoch's control entry to the log, unless that epoch or a later one was announced before.
--
-- KEYS  1 events  2 epochs.
-- ARGV  1 experiment  2 epoch  3 in which process of the server it was chosen ('' where the caller may not know),
--       then names and values of its fields in turn.
-- returns 1 if written, 0 if not.
--
-- Invariant: epochs of an experiment appear in its log in rising order, each once; also once in all that was ever served
-- where the server lost the end of its log, for a number that was chosen before is not taken after.
-- allow-oom: weights must move, and a halt take effect, also while the server is full.

if tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0') >= tonumber(ARGV[2]) then
  return 0
end
local info = ARGV[3] ~= '' and redis.pcall('INFO', 'server')
local life = type(info) == 'string' and info:match('run_id:(%x+)')
if life and life ~= ARGV[3] then
  return 0
end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1

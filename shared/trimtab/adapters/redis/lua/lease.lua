#!lua flags=allow-oom
-- Takes or renews a lease.
--
-- KEYS  1 lease.  ARGV  1 holder  2 milliseconds.
-- returns 1 if the holder has it now, 0 if another has.
--
-- Invariant: a lease has one holder, and ends by itself.
-- allow-oom: a full server is relieved by draining, and a drain asks for this first.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

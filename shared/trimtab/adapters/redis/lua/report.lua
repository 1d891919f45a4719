#!lua flags=allow-oom
-- Notes that a drain is alive now.
--
-- KEYS  1 drain.  ARGV  1 now, milliseconds.
-- returns 1.
--
-- Invariant: the key holds when a drain last reported.
-- allow-oom: a full server is relieved by draining, and its decisions must not look stale meanwhile.

redis.call('SET', KEYS[1], ARGV[1])
return 1

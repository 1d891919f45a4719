#!lua flags=allow-oom
-- Writes something, so that WAITAOF on the same connection has a write to wait for.
--
-- KEYS  1 fence.  ARGV  1 anything.
-- returns 1.
--
-- Invariant: the append-only file is written in order, so once this write is on disk, so is all that was read before it.
-- allow-oom: a full server publishes allocations, and they must become visible.

redis.call('SET', KEYS[1], ARGV[1])
return 1

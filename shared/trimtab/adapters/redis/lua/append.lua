#!lua flags=allow-oom
-- Adds an entry to the log.
--
-- KEYS  1 events.  ARGV  1 field  2 payload.
-- returns the entry's id.
--
-- Invariant: what people order and what relieves the server enters the log of a full one; events do not come this way.

return redis.call('XADD', KEYS[1], '*', ARGV[1], ARGV[2])

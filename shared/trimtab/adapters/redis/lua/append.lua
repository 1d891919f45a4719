#!lua flags=allow-oom
-- Adds an entry to the log.
--
-- KEYS  1 events.  ARGV  names and values of its fields in turn.
-- returns the entry's id.
--
-- Invariant: what people order and what relieves the server enters the log of a full one; events do not come this way.

return redis.call('XADD', KEYS[1], '*', unpack(ARGV))

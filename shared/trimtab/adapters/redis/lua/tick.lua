#!lua flags=allow-oom
-- Claims a recompute slot.
--
-- KEYS  1 tick.  ARGV  1 milliseconds until the claim is forgotten.
-- returns 1 to the first who claims it, 0 to all others.
--
-- Invariant: a slot is claimed once.
-- allow-oom: guardrails must halt what harms also while the server is full.

return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) and 1 or 0

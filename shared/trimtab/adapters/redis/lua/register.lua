#!lua flags=allow-oom
-- Adds a published experiment to the set of all.
--
-- KEYS  1 experiments.  ARGV  1 experiment.
-- returns 1 if it is new there, 0 if not.
--
-- Invariant: none beyond the set's own; the experiment's keys are in another slot of a cluster, so this is a step after.
-- allow-oom: what is published already must be found, and every later publication passes here again.

return redis.call('SADD', KEYS[1], ARGV[1])

#!lua flags=no-writes,allow-oom
-- Reads the public side of an experiment.
--
-- KEYS  1 definition  2 weights.
-- returns the definition's names and values in turn, and the allocation JSON (nil for none).
--
-- Invariant: the two are of one publication.
-- allow-oom: a full server refuses MULTI, even around reads.

return {redis.call('HGETALL', KEYS[1]), redis.call('GET', KEYS[2])}

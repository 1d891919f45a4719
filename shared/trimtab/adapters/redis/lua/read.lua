#!lua flags=no-writes,allow-oom
-- Reads the public side of an experiment.
--
-- KEYS  1 definition  2 weights.
-- returns the definition's names and values in turn, the allocation JSON (nil for none), and which process of the
--         server answers ('' where the caller may not know).
--
-- Invariant: all are of one moment.
-- allow-oom: a full server refuses MULTI, even around reads.

local info = redis.pcall('INFO', 'server')
local life = type(info) == 'string' and info:match('run_id:(%x+)') or ''
return {redis.call('HGETALL', KEYS[1]), redis.call('GET', KEYS[2]), life}

#!lua flags=allow-oom
-- Publishes: definition, allocation, ledger entry and notice in one step, or nothing.
--
-- KEYS  1 weights  2 definition  3 ledger.
-- ARGV  1 expected revision  2 data_until ('' without an allocation)  3 allocation JSON ('' for none)
--       4 definition fields (JSON list of names and values)  5 ledger id ('' for none)  6 ledger entry
--       7 ledger id that this entry replaces ('' for none)  8 longest ledger  9 channel
--       10 which process of the server the revision was read from ('' where the caller may not know)
-- returns 1 if published, -1 if the revision or the server is another, -3 if newer outcomes are published already.
--
-- Invariant: revisions grow by one, outcomes in the published weights never grow older.

if (redis.call('HGET', KEYS[2], 'revision') or '') ~= ARGV[1] then
  return -1
end
-- A server that lost its newest writes stands at an older revision: what was read before does not count as read.
local info = redis.pcall('INFO', 'server')
local life = type(info) == 'string' and info:match('run_id:(%x+)')
if ARGV[10] ~= '' and life and life ~= ARGV[10] then
  return -1
end
if ARGV[3] ~= '' and tonumber(ARGV[2]) < tonumber(redis.call('HGET', KEYS[2], 'data_until') or '0') then
  return -3
end
redis.call('HSET', KEYS[2], unpack(cjson.decode(ARGV[4])))
redis.call('HSET', KEYS[2], 'life', life or ARGV[10])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], 'data_until', ARGV[2])
  redis.call('SET', KEYS[1], ARGV[3])
end
if ARGV[5] ~= '' then
  redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[8], ARGV[5], 'entry', ARGV[6])
  if ARGV[7] ~= '' then
    redis.call('XDEL', KEYS[3], ARGV[7])
  end
end
redis.call('PUBLISH', ARGV[9], redis.call('HGET', KEYS[2], 'revision'))
return 1

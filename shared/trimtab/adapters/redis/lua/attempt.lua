#!lua flags=allow-oom
-- Notes what a drain tries, for whoever comes after its death.
--
-- KEYS  1 attempt.  ARGV  1 note  2 '1' to leave a note that is there as it is.
-- returns the note that was there, '' for none.
--
-- Invariant: none; a note that is lost costs another death, nothing more.
-- allow-oom: a full server is relieved by draining, and a drain notes this first.

local found = redis.call('GET', KEYS[1]) or ''
if found == '' or ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
end
return found

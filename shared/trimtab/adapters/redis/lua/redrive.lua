-- Moves a dead letter back to the log.
--
-- KEYS  1 events  2 dead  3 dead-size.  ARGV  1 the letter's id, then names and values of the entry's fields in turn.
-- returns 1 if moved, 0 if there is no such letter (any more).
--
-- Invariant: a letter goes back to the log once, however often that is asked for. A full server refuses it, as events.

local found = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not found then
  return 0
end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
redis.call('XDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'bytes', -#found[2][2])
return 1

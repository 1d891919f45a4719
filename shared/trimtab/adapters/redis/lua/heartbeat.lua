#!lua flags=allow-oom
-- Notes that a process is alive.
--
-- KEYS  1 heartbeat.  ARGV  1 its name  2 milliseconds until the note is forgotten.
-- returns 1.
--
-- Invariant: the key exists while its owner renews it.
-- allow-oom: a worker that relieves a full server must not be restarted for seeming dead.

redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

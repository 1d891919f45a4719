#!lua flags=no-writes
-- Tells which marks are set.
--
-- KEYS  one set per question.  ARGV  the marks asked for in each, 19 digits each, joined.
-- returns one string of 0 and 1 per question, a digit per mark.

local answers = {}
for i, key in ipairs(KEYS) do
  local packed, found = ARGV[i], {}
  for first = 1, #packed, 19 * 4000 do
    local marks = {}
    for at = first, math.min(first + 19 * 4000, #packed + 1) - 1, 19 do
      marks[#marks + 1] = packed:sub(at, at + 18)
    end
    found[#found + 1] = table.concat(redis.call('SMISMEMBER', key, unpack(marks)))
  end
  answers[i] = table.concat(found)
end
return answers

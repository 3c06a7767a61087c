-- Decides a batch of checks in one step.
--
-- KEYS: one sorted set per item, then the version of the policy (not on a cluster).
-- ARGV: 1 the version that the caller's limits are from; 2 the caller's clock in ms, or '' for Redis's; 3 a prefix that
--       makes the members of this batch unique; 4 the number of items; then per item: number of requests, limit,
--       window in ms, blocked until (ms), suffix of the members, different for every item; then anything, if the
--       counters are to be deleted again.
-- Reply: empty if the version is a different one; else the time in ms, and per item: the number allowed
--       (-1: the key is not a sorted set), the number in the window before, and ms until the next is allowed.

local items = tonumber(ARGV[4])
if #KEYS > items and (redis.call('GET', KEYS[items + 1]) or '') ~= ARGV[1] then
  return {}
end

local time = redis.call('TIME')
local now = tonumber(ARGV[2]) or (time[1] * 1000 + math.floor(time[2] / 1000))

-- Formatting a number is slow in Lua, so it is done once for all items.
local written = {}
local function text(number)
  local known = written[number]
  if not known then
    known = string.format('%.0f', number)
    written[number] = known
  end
  return known
end

-- Redis's clock went back: what lies in the future counts as now. Otherwise it would block until the clock has caught up.
-- A caller that uses its own clock changes nothing: it is the one that is wrong.
local function settle(key, window)
  local newest = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  local ahead = (tonumber(newest[2]) or now) - now
  if ahead <= 0 or ARGV[2] ~= '' then
    return
  end
  local late = redis.call('ZRANGEBYSCORE', key, '(' .. text(now), '+inf')
  for first = 1, #late, 1000 do
    local entries = {}
    for i = first, math.min(first + 999, #late) do
      entries[#entries + 1] = text(now)
      entries[#entries + 1] = late[i]
    end
    redis.call('ZADD', key, 'XX', unpack(entries))
  end
  -- The key's end was set by the clock as it was; -1 is none.
  local ttl = redis.call('PTTL', key)
  if ttl > window then
    redis.call('PEXPIRE', key, text(math.max(window, ttl - ahead)))
  end
end

-- If the key's TTL exceeds this window, checks with a longer window use the key too: their entries stay.
local function add(key, window, count, suffix)
  local ttl = redis.call('PTTL', key)
  if ttl > window then
    settle(key, window)
    ttl = redis.call('PTTL', key)
  end
  if ttl <= window then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - window))
  end
  local entries = {}
  for i = 1, count do
    entries[2 * i - 1] = text(now)
    entries[2 * i] = ARGV[3] .. '.' .. text(i) .. suffix
  end
  redis.call('ZADD', key, unpack(entries))
  if ttl < window then
    redis.call('PEXPIRE', key, text(window))
  end
end

-- The next request fits when fewer than `limit` are left, that is, when the `limit`-youngest leaves the window.
local function wait(key, limit, window)
  if limit == 0 then
    return window
  end
  local last = redis.call('ZREVRANGE', key, text(limit - 1), text(limit - 1), 'WITHSCORES')
  return math.max(1, (last[2] or now) + window - now)
end

local answer = { now }
for item = 1, items do
  local key, at = KEYS[item], 5 * item
  local wanted, limit, window = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local blocked_ms = tonumber(ARGV[at + 3]) - now
  -- A member counts if it is younger than the window; one of exactly that age does not.
  local before = redis.pcall('ZCOUNT', key, '(' .. text(now - window), '+inf')
  local allowed, wait_ms = 0, 0
  if type(before) == 'table' then
    if string.sub(before.err, 1, 9) ~= 'WRONGTYPE' then
      return before
    end
    allowed, before = -1, 0
  elseif blocked_ms > 0 then
    wait_ms = blocked_ms
  else
    allowed = math.max(0, math.min(wanted, limit - before))
    if allowed > 0 then
      add(key, window, allowed, ARGV[at + 4])
    end
    if allowed < wanted then
      settle(key, window)
      wait_ms = wait(key, limit, window)
    end
  end
  answer[3 * item - 1] = allowed
  answer[3 * item] = before
  answer[3 * item + 1] = wait_ms
end
if #ARGV > 4 + 5 * items then
  redis.call('DEL', unpack(KEYS, 1, items))
end
return answer

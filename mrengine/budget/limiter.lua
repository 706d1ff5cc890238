-- One limit that machines share: the arithmetic of limiter.py, bucket.py, wait_queue.py and server_bucket.py, on state
-- that Redis holds. All of an exchange happens in one call of this script, so no one ever waits for another.
--
-- KEYS[1]: the state. ARGV[1], msgpack: {id, process, limit, ops, at?, seed?, fresh?}. Returns msgpack: {empty = true}
-- where there is no state and none was given, else {now, results, learned, state}. Numbers are explained in limiter.py.

local EPSILON, STEPS, MINUTE_S, HEADROOM_S = 1e-6, 128, 60, 0.6
local SHARES, RELEASE_S, KEPT_S, PATIENCE_S, PASSES = {0, 0.3, 0.6}, 20, 0.5, 60, 4
local LEAST_LOOK_S, MOST_LOOK_S, GRACE_S, NEARLY_EMPTY, UNLIMITED_AT = 0.005, 1, 2, 0.1, 256
local NEWEST, TROUBLE, PROBE_AFTER_S, LONGEST_HOLD_S, PROBE_FACTOR, YOUNG_S = 0.25, 0.4, 15, 60, 1.25, 5
local MARGIN_S, TRAVEL_S = 0.2, 0.25
local NEVER, REQUESTS = -1e18, 4
local UNUSED_MS = 86400000

local request = cmsgpack.unpack(ARGV[1])
local me, limit = request.process, request.limit
local time = redis.call('TIME')
local now = request.at or (tonumber(time[1]) + tonumber(time[2]) / 1e6)
local min, max = math.min, math.max

-- state

local raw = redis.call('GET', KEYS[1])
local s
if raw then
  s = cmsgpack.unpack(raw)
elseif request.seed then
  s = cmsgpack.unpack(request.seed)
  for process in pairs(s.signs) do s.signs[process] = now end -- nobody could show life while the server was away
elseif request.fresh then
  s = {own = {}, seen = {}, queue = {{}, {}, {}}, last_seen = {}, served = {now, now, now}, in_flight = {},
       hold_until = NEVER, ceiling = UNLIMITED_AT, refused_at = NEVER, refused = 0, trouble = 0, misses = 0,
       tolerated = 0, call_s = 1, number = 0, signs = {}, last = {}}
  for rank = 1, 3 do s.last_seen[rank] = request.fresh.idle[rank] and NEVER or now end
else
  return cmsgpack.pack({empty = true})
end
local own, seen = {}, {} -- by dimension, 1 to 4
for _, b in pairs(s.own) do own[b.i] = b end
for _, b in pairs(s.seen) do seen[b.i] = b end
for i, mine in ipairs(limit.own) do
  if mine then
    if own[i] then
      own[i].cap, own[i].rate = mine[1], mine[2]
      own[i].level = min(own[i].level, mine[1])
    else
      own[i] = {i = i, cap = mine[1], rate = mine[2], level = min(mine[3], mine[1]), at = now, marks = 0, lows = {}}
    end
  end
end

-- buckets

local function refill()
  for _, all in ipairs({own, seen}) do
    for _, b in pairs(all) do
      if now > b.at then
        b.level = min(b.cap, b.level + b.rate * (now - b.at))
        b.at = now
      end
    end
  end
end

local function bucket_wait(b, need, ahead, floor, least, falling)
  local missing = min(need + floor, b.cap) + ahead - b.level
  if missing <= EPSILON then return 0 end
  local wait = missing / (b.rate + falling)
  if falling ~= 0 then wait = max(wait, (missing - (floor - least)) / b.rate) end
  return wait
end

local function bucket_take(b, amount)
  local gap, lows = b.cap - b.level, b.lows
  while #lows > 0 and lows[#lows][2] >= gap do table.remove(lows) end
  b.marks = b.marks + 1
  if #lows > 0 and lows[#lows][2] + b.cap / STEPS > gap then gap = table.remove(lows)[2] end
  lows[#lows + 1] = {b.marks, gap}
  b.level = b.level - amount
  return b.marks
end

local function give_back(b, amount, mark)
  if amount > 0 then
    local least = amount
    for _, low in ipairs(b.lows) do
      if low[1] > mark then
        least = low[2]
        break
      end
    end
    amount = max(0, min(amount, least, b.cap - b.level))
  end
  b.level = b.level + amount
end

-- the wait queue

local index = {{}, {}, {}} -- by rank and key
local function name_of(owner, number) return owner .. '\0' .. number end
for rank = 1, 3 do
  for _, r in ipairs(s.queue[rank]) do index[rank][name_of(r.owner, r.number)] = r end
end

local function waits_in(rank) return next(index[rank]) ~= nil end

local function remove(r)
  r.gone = true
  index[r.rank][name_of(r.owner, r.number)] = nil
end

local function starved_of(rank)
  for _, r in ipairs(s.queue[rank]) do
    if not r.gone then
      if r.expires < now or now - max(r.since, s.served[rank]) < PATIENCE_S then return nil end
      return r
    end
  end
end

local function in_order(visit)
  local first = {}
  for _, r in pairs({starved_of(2) or false, starved_of(3) or false}) do
    if r then first[#first + 1] = r end
  end
  for _, r in ipairs(first) do visit(r, true) end
  for rank = 1, 3 do
    for _, r in ipairs(s.queue[rank]) do
      if not r.gone then
        if r.expires < now then
          remove(r)
        elseif r ~= first[1] and r ~= first[2] then
          visit(r, false)
        end
      end
    end
    if waits_in(rank) then s.last_seen[rank] = now end
  end
end

local function reserve(rank, b)
  local silence = 1 / 0
  for higher = 1, rank - 1 do silence = waits_in(higher) and 0 or min(silence, now - s.last_seen[higher]) end
  if silence > 1e17 then return 0, 0, 0 end
  local least = rank == 3 and min(KEPT_S * b.rate, b.cap) or 0
  local share = SHARES[rank] * b.cap
  return max(least, share * (1 - silence / RELEASE_S)), least, silence > 0 and share / RELEASE_S or 0
end

-- grants

local function slots()
  if not s.window then return limit.concurrent end
  return limit.concurrent and min(limit.concurrent, s.window) or s.window
end

local function in_flight()
  local sum = 0
  for _, count in pairs(s.in_flight) do sum = sum + count end
  return sum
end

local function occupy() s.in_flight[me] = (s.in_flight[me] or 0) + 1 end

local function vacate()
  local left = (s.in_flight[me] or 0) - 1
  s.in_flight[me] = left > 0 and left or nil
end

local function take(need)
  s.number = s.number + 1
  local marks = {false, false, false, false}
  for i, b in pairs(own) do marks[i] = bucket_take(b, need[i]) end
  for i, b in pairs(seen) do b.level = b.level - need[i] end
  occupy()
  return {need = need, marks = marks, at = now, number = s.number}
end

local function wait_of(r, ahead, skipped, starved)
  local wait = max(0, s.hold_until - now)
  for i, b in pairs(own) do
    local amount = r.need[i]
    if amount ~= 0 and amount > b.level - ahead[i] - SHARES[r.rank] * b.cap then
      local floor, least, falling = 0, 0, 0
      if not starved then floor, least, falling = reserve(r.rank, b) end
      wait = max(wait, bucket_wait(b, amount, ahead[i], floor, least, falling))
    end
  end
  for i, b in pairs(seen) do
    if r.need[i] ~= 0 then wait = max(wait, bucket_wait(b, r.need[i], ahead[i], 0, 0, 0)) end
  end
  local most = slots()
  if not most then return wait end
  local free = most - in_flight()
  for _, other in ipairs(skipped) do
    if other.passed >= PASSES then free = free - 1 end
  end
  if free >= 1 then return wait end
  return max(wait, min(MOST_LOOK_S, max(LEAST_LOOK_S, s.call_s * (#skipped + 1) / most)))
end

local op = {}

function op.serve(wanted)
  local keys, granted, waits = {}, {}, {}
  for _, key in ipairs(wanted) do keys[name_of(key[1], key[2])] = true end
  local ahead, position, skipped = {0, 0, 0, 0}, 0, {}
  refill()
  in_order(function(r, starved)
    if keys[name_of(r.owner, r.number)] then
      local wait = wait_of(r, ahead, skipped, starved)
      if wait <= 0 then
        remove(r)
        s.served[r.rank], s.last_seen[r.rank] = now, now
        granted[#granted + 1] = {r.owner, r.number, take(r.need)}
        if slots() then
          for _, other in ipairs(skipped) do other.passed = other.passed + 1 end
        end
        return
      end
      r.expires = now + wait + GRACE_S
      waits[#waits + 1] = {r.owner, r.number, wait, position + 1}
    end
    position = position + 1
    skipped[#skipped + 1] = r
    for i = 1, 4 do ahead[i] = ahead[i] + r.need[i] end
  end)
  return {granted, waits}
end

function op.join(owner, number, rank, need, stays_s)
  rank = rank + 1
  s.last_seen[rank] = now
  local r = index[rank][name_of(owner, number)]
  if not r then
    r = {owner = owner, number = number, rank = rank, since = now, passed = 0}
    index[rank][name_of(owner, number)] = r
    table.insert(s.queue[rank], r)
  end
  r.need, r.expires = need, now + stays_s
end

function op.leave(owner, number)
  for rank = 1, 3 do
    local r = index[rank][name_of(owner, number)]
    if r then return remove(r) end
  end
end

op.occupy, op.vacate = occupy, vacate

function op.charge(used)
  refill()
  for i, b in pairs(own) do bucket_take(b, used[i]) end
end

-- ended calls

local function widen()
  s.misses = 0
  if now - s.refused_at > PROBE_AFTER_S then
    s.ceiling, s.refused_at = max(s.ceiling + 1, math.floor(s.ceiling * PROBE_FACTOR)), now
  end
  s.window = min(s.window + 1, s.ceiling)
  if s.window >= UNLIMITED_AT then s.window = nil end
end

function op.settle(held, used)
  refill()
  vacate()
  s.call_s = s.call_s + 0.2 * (now - held.at - s.call_s)
  if not used then return end
  if used[1] ~= 0 then
    s.trouble = s.trouble - NEWEST * s.trouble
    if s.window and held.number > s.refused then widen() end
  end
  for i, mark in ipairs(held.marks) do
    if mark and own[i] then give_back(own[i], held.need[i] - used[i], mark) end
  end
  for i, b in pairs(seen) do
    if held.number > b.number then b.level = min(b.cap, b.level + held.need[i] - used[i]) end
  end
end

local function narrow(seconds, age_s)
  if now >= s.hold_until then
    s.misses = s.window == 1 and min(s.misses + 1, 16) or 0
    seconds = max(seconds, min(seconds * 2 ^ s.misses, LONGEST_HOLD_S))
    s.tolerated = in_flight()
    s.refused_at, s.refused = now + seconds, s.number
    s.window = max(1, math.floor((s.tolerated + 1) / 2))
    if age_s > YOUNG_S and s.misses == 0 then s.ceiling = max(1, s.tolerated) end
  elseif s.window then
    s.tolerated = s.tolerated - 1
    s.window = max(1, min(s.window, s.tolerated))
  end
  return seconds
end

local function provider_bucket(i, rate, per_minute, remaining, held, others)
  local later, travelling = 0, 0
  for _, other in ipairs(others) do
    if not held or other.number > held.number then
      later = later + other.need[i]
      if now - other.at < TRAVEL_S then travelling = travelling + other.need[i] end
    end
  end
  local since = held and now - held.at or 0
  local level = remaining + min(rate * since - later, -travelling) - MARGIN_S * rate
  return {i = i, cap = per_minute, rate = rate, level = min(level, per_minute), at = now, marks = 0, lows = {},
          number = held and held.number or s.number}
end

local function truncated(x) return x < 0 and math.ceil(x) or math.floor(x) end

function op.observe(headers, held, refused, others, taken, age_s)
  refill()
  if headers.retry_after_s then
    s.trouble = s.trouble + NEWEST * (1 - s.trouble)
    if s.trouble > TROUBLE then
      local seconds = headers.retry_after_s
      if next(own) == nil then seconds = narrow(seconds, age_s) end
      s.hold_until = max(s.hold_until, now + seconds)
    end
  end
  for i, pair in ipairs(headers.pairs) do
    local per_minute, remaining = pair[1], pair[2]
    if per_minute == 0 then per_minute = false end
    if per_minute and not own[i] then
      local cap = max(0, (min(limit.burst_s, MINUTE_S) - HEADROOM_S) * per_minute / MINUTE_S)
      own[i] = {i = i, cap = cap, rate = per_minute / MINUTE_S, level = cap, at = now, marks = 0, lows = {}}
    end
    local mine = own[i]
    if refused and held and remaining == false and s.trouble > TROUBLE then
      remaining = mine and headers.retry_after_s
        and truncated(held.need[i] - mine.rate * headers.retry_after_s) or false
    end
    if remaining and mine then
      local rate = per_minute and min(mine.rate, per_minute / MINUTE_S) or mine.rate
      if remaining - taken[i] - MARGIN_S * rate >= mine.level then
        seen[i] = nil
      elseif not seen[i] or not held or held.number >= seen[i].number then
        seen[i] = provider_bucket(i, rate, per_minute or mine.rate * MINUTE_S, remaining, held, others)
      end
    end
  end
end

function op.remaining()
  local least = 2 ^ 62
  for i, b in pairs(own) do if i ~= REQUESTS then least = min(least, b.level) end end
  for i, b in pairs(seen) do if i ~= REQUESTS then least = min(least, b.level) end end
  return max(0, math.floor(least))
end

function op.nearly_empty()
  for _, all in ipairs({own, seen}) do
    for _, b in pairs(all) do if b.level < NEARLY_EMPTY * b.cap then return true end end
  end
  return false
end

function op.holders()
  local found = {}
  for process, count in pairs(s.in_flight) do found[#found + 1] = {process, count} end
  return found
end

-- who shows no life any more holds nothing

s.signs[me] = now
for process, at in pairs(s.signs) do
  if at < now - request.alive_s then
    s.signs[process], s.last[process], s.in_flight[process] = nil, nil, nil
    for rank = 1, 3 do
      for _, r in ipairs(s.queue[rank]) do
        if string.sub(r.owner, 1, #process + 1) == process .. '/' then remove(r) end
      end
    end
  end
end

-- the exchange; one whose reply was lost is not done twice

local results = {}
if s.last[me] and s.last[me].id == request.id then
  results = s.last[me].results
else
  for n, one in ipairs(request.ops) do
    local found = op[one[1]](unpack(one, 2))
    if found == nil then found = false end -- no hole in the list
    results[n] = found
  end
  if #request.ops > 0 then s.last[me] = {id = request.id, results = results} end
end

s.own, s.seen = {}, {}
local learned = {}
for i, b in pairs(own) do
  s.own[#s.own + 1] = b
  learned[#learned + 1] = {i, b.cap, b.rate}
end
for _, b in pairs(seen) do s.seen[#s.seen + 1] = b end
for rank = 1, 3 do
  local left = {}
  for _, r in ipairs(s.queue[rank]) do
    if not r.gone then left[#left + 1] = r end
  end
  s.queue[rank] = left
end
local packed = cmsgpack.pack(s)
redis.call('SET', KEYS[1], packed, 'PX', UNUSED_MS)
return cmsgpack.pack({now = now, results = results, learned = learned, state = packed})

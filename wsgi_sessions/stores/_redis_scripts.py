"""What a RedisStore does on the server, each in one step and with one key, as a cluster demands.

A script is sent by its SHA-1; only a server that does not know it yet is sent the text.
"""

from __future__ import annotations

from hashlib import sha1


class Script:
    """A script in Lua.

    :param text: the key is ``KEYS[1]``.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        # The name that Redis gives it; nothing depends on its being hard to forge.
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()


# Positions count from 1 in Lua: of the version, the end and the owner, see _packed.
_HEAD = """
local head = redis.call('GETRANGE', KEYS[1], 0, 35)
local version, expires = tonumber(string.sub(head, 2, 16)), tonumber(string.sub(head, 17, 32))
if string.sub(head, 1, 1) ~= '1' or not version or not expires or expires <= tonumber(ARGV[1]) then
    return 0
end
if version ~= tonumber(ARGV[2]) then
    return -version
end
"""

#: Arguments: now, the version to replace, the new value, when the server may forget it, and whether the owner's index
#: knows it. Answers 0 if there is no live record, minus the version if it is another one, 1 when it is done, and
#: 2 if nothing was done because the owner is another one and must be noted first.
SAVE = Script(
    _HEAD
    + """
local length = tonumber(string.sub(ARGV[3], 33, 36))
if length > 0 and ARGV[5] == '0' then
    if redis.call('GETRANGE', KEYS[1], 32, 35 + length) ~= string.sub(ARGV[3], 33, 36 + length) then
        return 2
    end
end
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[4])
return 1
"""
)

#: Arguments: now, the version, the new end as it is packed, when the server may forget it. Answers like SAVE.
TOUCH = Script(
    _HEAD
    + """
redis.call('SETRANGE', KEYS[1], 16, ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return 1
"""
)

#: An id that was noted less than an hour ago may belong to a record that is still on its way.
NOTED_LONG_AGO_SECONDS = 3600
_OLD = f"""
local now = redis.call('TIME')
local old = tonumber(now[1]) - {NOTED_LONG_AGO_SECONDS}
"""

#: Notes an id in the index of an owner, with the server's time. Argument: the id. Answers the ids, at most five, that
#: were noted longest ago, more than an hour: the records of some of them may be gone.
NOTE = Script(
    _OLD
    + """
redis.call('ZADD', KEYS[1], now[1], ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', old, 'LIMIT', 0, 5)
"""
)

#: Removes the ids from an index whose records are gone, and puts those that live at its end. Arguments: how many are
#: gone, those, and the others. One that was noted again meanwhile stays.
PRUNE = Script(
    _OLD
    + """
local gone = tonumber(ARGV[1])
for place = 2, #ARGV do
    local noted = redis.call('ZSCORE', KEYS[1], ARGV[place])
    if noted and tonumber(noted) <= old then
        if place <= gone + 1 then
            redis.call('ZREM', KEYS[1], ARGV[place])
        else
            redis.call('ZADD', KEYS[1], now[1], ARGV[place])
        end
    end
end
return 1
"""
)

//! What a fake was asked.

use crate::Protocol;

/// HTTP methods that change nothing.
const READING_METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// RESP commands that change something, or can.
const CHANGING_COMMANDS: [&str; 60] = [
    "APPEND",
    "BLPOP",
    "BRPOP",
    "COPY",
    "DECR",
    "DECRBY",
    "DEL",
    "EVAL",
    "EVALSHA",
    "EXPIRE",
    "EXPIREAT",
    "FAILOVER",
    "FCALL",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION",
    "GEOADD",
    "GETDEL",
    "GETEX",
    "GETSET",
    "HDEL",
    "HINCRBY",
    "HINCRBYFLOAT",
    "HMSET",
    "HSET",
    "HSETNX",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "LPOP",
    "LPUSH",
    "LREM",
    "LSET",
    "LTRIM",
    "MIGRATE",
    "MOVE",
    "MSET",
    "PERSIST",
    "PEXPIRE",
    "PFADD",
    "PSETEX",
    "PUBLISH",
    "RENAME",
    "RESTORE",
    "RPOP",
    "RPUSH",
    "SADD",
    "SET",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "SHUTDOWN",
    "SMOVE",
    "SPOP",
    "SREM",
    "UNLINK",
    "XADD",
    "ZADD",
    "ZINCRBY",
    "ZREM",
];

/// One request, as far as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The protocol of the fake.
    pub protocol: Protocol,
    /// `GET /path` or `SET key value`; of plain TCP the first bytes, as text.
    pub line: String,
    /// The body of an HTTP request.
    pub body: Vec<u8>,
}

impl Exchange {
    /// Whether it asks for a change; `None` where that cannot be known (plain TCP, another version of HTTP).
    pub fn changes(&self) -> Option<bool> {
        let first = self.line.split(' ').next().unwrap_or_default();
        match self.protocol {
            Protocol::Http if first == "PRI" => None,
            Protocol::Http => Some(!READING_METHODS.contains(&first)),
            Protocol::Resp => {
                let command = first.to_ascii_uppercase();
                Some(CHANGING_COMMANDS.contains(&command.as_str()))
            }
            Protocol::Tcp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_distinguished_from_a_read() {
        let of = |protocol, line: &str| {
            Exchange {
                protocol,
                line: line.into(),
                body: Vec::new(),
            }
            .changes()
        };
        assert_eq!(of(Protocol::Http, "GET /x"), Some(false));
        assert_eq!(of(Protocol::Http, "DELETE /x"), Some(true));
        assert_eq!(of(Protocol::Http, "PRI * HTTP/2.0"), None);
        assert_eq!(of(Protocol::Resp, "get key"), Some(false));
        assert_eq!(of(Protocol::Resp, "set key 1"), Some(true));
        assert_eq!(of(Protocol::Tcp, "SET key 1"), None);
    }
}

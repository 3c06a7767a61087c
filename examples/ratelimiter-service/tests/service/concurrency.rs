//! 20,000 checks of one key, all in flight before any is answered, through three nodes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Node, Redis, eventually};

const LIMIT: u64 = 1_000;
const CONNECTIONS: usize = 200;
/// Pipelined on each connection before its first reply is read.
const CHECKS_EACH: usize = 100;
const BODY: &str = r#"{"key":"crowd","limit":1000,"window_ms":600000}"#;

/// Number of replies per status.
type StatusCounts = BTreeMap<u16, u64>;

fn nodes(redis: &Redis, args: &[&str]) -> [Node; 3] {
    ["a", "b", "c"].map(|id| Node::start(id, redis, args))
}

/// Sends all checks while the nodes are stopped, so that every one is waiting when the nodes continue.
fn send_all(nodes: &[Node; 3]) -> Vec<TcpStream> {
    let check = format!(
        "POST /check HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let checks = check.repeat(CHECKS_EACH);
    nodes.iter().for_each(Node::freeze);
    let connections = (0..CONNECTIONS).map(|connection| {
        let port = nodes[connection % nodes.len()].port;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(checks.as_bytes()).unwrap();
        stream
    });
    let connections = connections.collect();
    nodes.iter().for_each(Node::thaw);
    connections
}

fn read_all(connections: Vec<TcpStream>) -> StatusCounts {
    let mut answers = StatusCounts::new();
    for connection in connections {
        let mut connection = BufReader::new(connection);
        for _ in 0..CHECKS_EACH {
            *answers.entry(read_status(&mut connection)).or_default() += 1;
        }
    }
    answers
}

/// Reads one complete reply.
fn read_status(connection: &mut impl BufRead) -> u16 {
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if status.is_none() {
            status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            assert!(status.is_some(), "no reply: {line:?}");
        } else if let Some(number) = line.strip_prefix("content-length: ") {
            length = number.parse().unwrap();
        } else if line.is_empty() {
            break;
        }
    }
    connection.read_exact(&mut vec![0; length]).unwrap();
    status.unwrap()
}

fn counted(redis: &Redis) -> u64 {
    redis.query(&["ZCARD", "ratelimit:crowd"])
}

#[test]
fn of_20_000_checks_in_flight_at_once_exactly_the_limit_is_admitted() {
    let redis = Redis::start();
    // A busy machine must not make Redis seem unavailable: the next test covers that.
    let nodes = nodes(&redis, &["--redis-timeout-ms", "20000"]);
    let answers = read_all(send_all(&nodes));
    assert_eq!(answers, StatusCounts::from([(200, LIMIT), (429, 19_000)]));
    assert_eq!(counted(&redis), LIMIT);
    let reported = nodes
        .iter()
        .filter_map(|node| node.allowed_in_window("crowd"));
    assert_eq!(
        reported.sum::<u64>(),
        LIMIT,
        "the sum of what the nodes report as allowed"
    );
}

#[test]
fn cut_off_from_redis_in_the_middle_the_nodes_admit_no_more_than_the_limit() {
    let redis = Redis::start();
    let nodes = nodes(&redis, &[]);
    let connections = send_all(&nodes);
    let all_answered = AtomicBool::new(false);
    let (answers, cuts) = std::thread::scope(|scope| {
        let cutting = scope.spawn(|| {
            let mut cuts = 0;
            while !all_answered.load(Ordering::Relaxed) {
                let cut: u64 = redis.query(&["CLIENT", "KILL", "TYPE", "normal"]);
                cuts += u64::from(cut > 0);
            }
            cuts
        });
        let answers = read_all(connections);
        all_answered.store(true, Ordering::Relaxed);
        (answers, cutting.join().unwrap())
    });
    assert!(cuts > 1, "the connections were cut only {cuts} times");
    let of = |status| answers.get(&status).copied().unwrap_or_default();
    assert_eq!(of(200) + of(429) + of(503), 20_000, "{answers:?}");
    assert!(of(200) <= LIMIT, "{answers:?}");
    // If a reply was lost, Redis counted the check but no client was admitted.
    assert!((of(200)..=LIMIT).contains(&counted(&redis)), "{answers:?}");
    // Once nothing is cut off any more, the remaining room is filled exactly.
    eventually("the limit is reached", || {
        (nodes[0].post("/check", BODY).status == 429).then_some(())
    });
    assert_eq!(counted(&redis), LIMIT, "{answers:?}");
}

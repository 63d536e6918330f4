//! The end of a server: requests under way are answered, watches end as streams do, and what was not answered was not begun.

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::tls::Served;

/// What a client saw of one request on an open connection.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Answer,
    /// The connection ended before a byte of an answer.
    Closed,
    /// Part of an answer.
    Torn(String),
}

fn request(stream: &mut (impl Read + Write), path: &str) -> Seen {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    if stream.write_all(head.as_bytes()).is_err() {
        return Seen::Closed;
    }
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if length == Some(body.len()) {
                return Seen::Answer;
            }
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
            _ if seen.is_empty() => return Seen::Closed,
            _ => return Seen::Torn(text),
        }
    }
}

#[test]
fn no_answer_is_torn_when_the_server_ends() {
    let served = Served::start();
    let answered = Arc::new(AtomicUsize::new(0));
    let torn = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut stream = served.connect(Some(&served.admin));
                let answered = answered.clone();
                scope.spawn(move || {
                    loop {
                        match request(&mut stream, "/api/v1/namespaces/kube-system/configmaps") {
                            Seen::Answer => answered.fetch_add(1, Ordering::Relaxed),
                            other => return other,
                        };
                    }
                })
            })
            .collect();
        while answered.load(Ordering::Relaxed) < 40 {
            std::thread::yield_now();
        }
        assert!(served.runtime.block_on(served.tasks.shutdown(Duration::from_secs(20))).is_empty(), "all ends in time");
        clients.into_iter().map(|client| client.join().unwrap()).find(|end| *end != Seen::Closed)
    });
    assert_eq!(torn, None);
    assert!(std::net::TcpStream::connect(served.address).is_err());
}

#[test]
fn a_watch_ends_as_a_stream_ends() {
    let served = Served::start();
    let mut stream = served.connect(Some(&served.admin));
    stream.write_all(b"GET /api/v1/namespaces?watch=1 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("ADDED") {
        let count = stream.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..count]);
    }
    assert!(served.runtime.block_on(served.tasks.shutdown(Duration::from_secs(20))).is_empty());
    // The last chunk has no bytes: that is the end, and not a connection that broke.
    let _ = stream.read_to_end(&mut seen);
    assert!(seen.ends_with(b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&seen));
}

//! Clients that ask and do not read: they lose their connection, and others do not.

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serve::{Body, Limits};
use support::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Http2, INITIAL_WINDOW_SIZE, Served, WINDOW_UPDATE, get, setting,
};
use tokio::sync::Notify;

const LIMITS: fn() -> Limits = || Limits { stall: Duration::from_millis(100), ..Limits::default() };

/// Counts what lives.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Alive {
        count.fetch_add(1, Ordering::SeqCst);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Bytes that the systems' buffers between two sockets take, more than any have.
const SOCKET_BYTES: usize = 32 << 20;

/// `/endless` sends without end but for a limit, `/quiet` when it is told to, `/large` a body of 8 MB, anything else little.
fn serve(limits: Limits) -> (Served, Arc<AtomicUsize>, Arc<Notify>) {
    let (alive, tell) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counts, told) = (alive.clone(), tell.clone());
    let served = Served::start(limits, move |request| {
        let guard = Alive::new(&counts);
        let body: Body = match request.uri().path() {
            "/endless" => {
                let mut taken = 0;
                serve::stream(move |_| {
                    let _ = &guard;
                    taken += 16 << 10;
                    let more = taken < SOCKET_BYTES;
                    // What is taken beyond that is kept somewhere, and the client sees the end of it.
                    Poll::Ready(more.then(|| Ok(Bytes::from_static(&[b'x'; 16 << 10]))))
                })
            }
            "/quiet" => {
                let told = told.clone();
                let mut wait = Box::pin(async move { told.notified().await });
                let mut done = false;
                serve::stream(move |context| {
                    let _ = &guard;
                    if done {
                        return Poll::Pending;
                    }
                    wait.as_mut().poll(context).map(|()| {
                        done = true;
                        Some(Ok(Bytes::from_static(b"something happened")))
                    })
                })
            }
            "/large" => serve::full(vec![b'x'; 8 << 20]),
            _ => serve::full("hello"),
        };
        async move { Response::new(body) }
    });
    (served, alive, tell)
}

#[test]
fn who_does_not_read_a_stream_loses_the_connection_however_lively_it_is() {
    for (path, window) in [("/endless", 0), ("/endless", 1), ("/endless", 60_000), ("/large", 1), ("/hello", 0)] {
        let (served, alive, _) = serve(LIMITS());
        let mut client = Http2::connect(&served, &setting(INITIAL_WINDOW_SIZE, window));
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get(path)).unwrap();
        let mut read = 0;
        // It acknowledges settings and pings, and opens no window.
        while let Some(frame) = client.next() {
            read += if frame.kind == DATA { frame.payload.len() } else { 0 };
        }
        assert_eq!(read, (window as usize).min(if path == "/hello" { 5 } else { usize::MAX }), "{path}");
        while alive.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        assert!(served.answers());
    }
}

#[test]
fn who_does_not_read_a_socket_loses_the_connection() {
    for path in ["/endless", "/large"] {
        // Whoever comes next has to wait until the connection is over.
        let (served, ..) = serve(Limits { connections: 1, ..LIMITS() });
        let mut client = served.socket();
        client.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
        assert!(served.answers(), "{path}");
        if path == "/endless" {
            let mut read = Vec::new();
            let _ = client.read_to_end(&mut read);
            assert!(!read.ends_with(b"0\r\n\r\n"), "no more is taken from a body than fits into the sockets");
        }
    }
}

#[test]
fn an_upgraded_connection_has_its_place_until_it_ends() {
    let (upgraded, over) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (says, waits) = (upgraded.clone(), over.clone());
    let served = Served::start(Limits { connections: 1, ..Limits::default() }, move |mut request| {
        let mut response = Response::new(serve::empty());
        if request.uri().path() == "/upgrade" {
            *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", http::HeaderValue::from_static("x"));
            response.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
            let (says, waits) = (says.clone(), waits.clone());
            world::World::real().spawn("upgraded", async move {
                let own = hyper::upgrade::on(&mut request).await;
                says.notify_one();
                waits.notified().await;
                drop(own);
            });
        }
        async move { response }
    });
    let mut client = served.socket();
    client.write_all(b"GET /upgrade HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").unwrap();
    served.runtime.block_on(upgraded.notified());
    let mut second = served.socket();
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(second.read(&mut [0; 1]).is_err(), "the upgraded connection has the only place");
    over.notify_one();
    second.set_read_timeout(Some(support::DEADLINE)).unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_quiet_stream_and_a_reader_stay() {
    let (served, _, tell) = serve(LIMITS());
    let mut quiet = Http2::connect(&served, &[]);
    quiet.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/quiet")).unwrap();
    assert_eq!(quiet.on(1).unwrap().kind, HEADERS, "it has begun");
    let mut reader = Http2::connect(&served, &setting(INITIAL_WINDOW_SIZE, 10));
    reader.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/endless")).unwrap();
    let mut other = Http2::connect(&served, &setting(INITIAL_WINDOW_SIZE, 10));
    other.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/endless")).unwrap();
    // One reads on, until the one that reads nothing has lost its connection.
    std::thread::scope(|scope| {
        let ended = scope.spawn(move || while other.next().is_some() {});
        let mut read = 0;
        while !ended.is_finished() {
            for id in [0, 1] {
                reader.send(WINDOW_UPDATE, 0, id, &(64_u32 << 10).to_be_bytes()).unwrap();
            }
            let wanted = read + (64 << 10);
            while read < wanted {
                let frame = reader.next().expect("it reads");
                read += if frame.kind == DATA { frame.payload.len() } else { 0 };
            }
        }
    });
    tell.notify_one();
    let frame = quiet.on(1).expect("a stream on which nothing happens is nobody's fault");
    assert_eq!((frame.kind, frame.payload.as_slice()), (DATA, &b"something happened"[..]));
}

#[test]
fn a_body_comes_whole_and_with_its_length() {
    let (served, ..) = serve(LIMITS());
    let mut client = served.socket();
    client.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(String::from_utf8_lossy(&answer[..head]).to_lowercase().contains("content-length: 8388608"));
    assert!(answer[head..].len() == 8 << 20 && answer[head..].iter().all(|byte| *byte == b'x'));
}

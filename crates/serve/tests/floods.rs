//! Floods of HTTP/2 frames: each ends its own connection or waits, and nothing of it is kept without a limit.

mod support;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use serve::Limits;
use support::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, INITIAL_WINDOW_SIZE, PING, RST_STREAM, SETTINGS,
    Served, WINDOW_UPDATE, frame, get, header, setting,
};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
/// Bytes that a system keeps between two sockets of its own, more than any does.
const SOCKET_BYTES: usize = 32 << 20;

/// Says hello, and how many requests there are at a time at most.
fn hello(limits: Limits) -> (Served, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let served = Served::start(limits, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Response::new(serve::full("hello")) }
    });
    (served, seen)
}

/// Sends until the connection is over.
fn flood(client: &mut Http2, mut next: impl FnMut(u32) -> Vec<u8>) {
    for number in 0..1_000_000 {
        if client.0.write_all(&next(number)).is_err() {
            return;
        }
    }
    panic!("a million are taken");
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    let (served, seen) = hello(Limits::default());
    let mut client = Http2::connect(&served, &[]);
    let block = get("/hello");
    flood(&mut client, |number| {
        let stream = 2 * number + 1;
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &block), frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())]
            .concat()
    });
    let seen = seen.load(Ordering::SeqCst);
    assert!(seen < 100_000, "{seen} requests were begun");
    assert!(served.answers());
}

#[test]
fn a_head_without_an_end_ends_the_connection() {
    let (served, seen) = hello(Limits::default());
    let mut client = Http2::connect(&served, &[]);
    client.send(HEADERS, END_STREAM, 1, &get("/hello")).unwrap();
    let more = header("x", &"y".repeat(8 << 10));
    let mut sent = 0;
    while sent < SOCKET_BYTES && client.send(CONTINUATION, 0, 1, &more).is_ok() {
        sent += more.len();
    }
    let code = client.goaway();
    assert!(sent < SOCKET_BYTES, "{sent} bytes of one head were taken");
    assert!([None, Some(ENHANCE_YOUR_CALM), Some(PROTOCOL_ERROR)].contains(&code), "{code:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 0, "it was never a request");
    assert!(served.answers());
}

#[test]
fn a_head_that_is_too_long_is_refused_and_the_connection_goes_on() {
    let (served, seen) = hello(Limits { header_bytes: 16 << 10, ..Limits::default() });
    let mut client = Http2::connect(&served, &[]);
    let block = [get("/hello"), header("x", &"y".repeat(14 << 10))].concat();
    client.send(HEADERS, END_STREAM, 1, &block).unwrap();
    client.send(CONTINUATION, END_HEADERS, 1, &header("z", &"y".repeat(14 << 10))).unwrap();
    let answer = client.on(1).expect("an answer");
    // `:status: 431`, in Huffman's code.
    assert_eq!((answer.kind, &answer.payload[..]), (HEADERS, &[0x48, 0x83, 0x69, 0x90, 0xff][..]));
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    client.send(HEADERS, END_HEADERS | END_STREAM, 3, &get("/hello")).unwrap();
    assert_eq!(client.on(3).unwrap().kind, HEADERS);
    assert!(served.answers());
}

#[test]
fn answers_that_nobody_reads_are_not_kept() {
    let (served, _) = hello(Limits { stall: Duration::from_millis(100), ..Limits::default() });
    let floods = [
        ("pings", frame(PING, 0, 0, b"12345678").repeat(1_000)),
        ("settings", frame(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 70_000)).repeat(1_000)),
    ];
    for (what, flood) in floods {
        // As soon as the sockets are full the server reads no more, and after a while it gives the client up.
        let mut client = Http2::connect(&served, &[]);
        let mut sent = 0;
        while client.0.write_all(&flood).is_ok() {
            sent += flood.len();
            assert!(sent < 2 * SOCKET_BYTES, "{sent} bytes of {what} were answered");
        }
        assert!(served.answers());
    }
}

#[test]
fn more_streams_than_allowed_are_refused_one_by_one() {
    let limit = 10;
    let began = Arc::new(AtomicUsize::new(0));
    let count = began.clone();
    let served = Served::start(Limits { streams: limit, ..Limits::default() }, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    let mut client = Http2::connect(&served, &[]);
    let mut refused = 0;
    for number in 0..30 {
        client.send(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &get("/wait")).unwrap();
    }
    while refused < 20 {
        let frame = client.next().expect("the connection goes on");
        assert_eq!((frame.kind, frame.payload), (RST_STREAM, REFUSED_STREAM.to_be_bytes().to_vec()));
        refused += 1;
    }
    while began.load(Ordering::SeqCst) < limit as usize {
        std::thread::yield_now();
    }
    assert_eq!(began.load(Ordering::SeqCst), limit as usize);
}

#[test]
fn frames_that_make_no_sense_end_the_connection() {
    let cases: [(&str, Vec<u8>); 7] = [
        ("data of no stream", frame(DATA, 0, 1, b"x")),
        ("a head of stream 0", frame(HEADERS, END_HEADERS, 0, &get("/"))),
        ("an even stream", frame(HEADERS, END_HEADERS, 2, &get("/"))),
        ("a block that is no HPACK", frame(HEADERS, END_HEADERS, 1, &[0xff; 40])),
        ("a window of more than 2 GB", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("a frame that is too long", [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 64]].concat()),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &get("/"))),
    ];
    let (served, seen) = hello(Limits::default());
    for (what, bytes) in cases {
        let mut client = Http2::connect(&served, &[]);
        client.0.write_all(&bytes).unwrap();
        let code = client.goaway();
        assert!(code.is_none_or(|code| code != NO_ERROR), "{what}: {code:?}");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    assert!(served.answers());
}

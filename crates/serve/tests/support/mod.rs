//! A server on a plain socket, and clients that speak HTTP/2 frame by frame, as no library lets them.
#![allow(dead_code)] // Not every test file uses all of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use serve::{Body, Handler, Limits, Options, Peer};
use world::{BoxFuture, Tasks, World};

/// Longer than anything takes; only what never comes waits for it.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const INITIAL_WINDOW_SIZE: u16 = 4;

type Answer = dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync;

/// Answers with a function.
struct With(Box<Answer>);

impl Handler for With {
    fn handle(&self, _: &Arc<Peer>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        (self.0)(request)
    }
}

pub struct Served {
    pub runtime: tokio::runtime::Runtime,
    pub address: SocketAddr,
    pub tasks: Tasks,
}

impl Served {
    pub fn start<F>(limits: Limits, answer: impl Fn(Request<Body>) -> F + Send + Sync + 'static) -> Served
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let handler = With(Box::new(move |request| Box::pin(answer(request))));
        let (address, tasks) = runtime.block_on(async {
            let tasks = World::real().tasks("test");
            let options = Options { limits, tls: None };
            (serve::start(listener, Arc::new(handler), options, &tasks).unwrap().address(), tasks)
        });
        Served { runtime, address, tasks }
    }

    /// A connection that fails a test instead of waiting for ever.
    pub fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    /// Whether a new client is answered.
    pub fn answers(&self) -> bool {
        let mut socket = self.socket();
        socket.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// The header block of `GET path`.
pub fn get(path: &str) -> Vec<u8> {
    let literal = |index: u8, text: &str| [&[index, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // Of HPACK's table: `:method: GET`, `:scheme: http`; 4 is `:path`, 1 is `:authority`.
    [vec![0x82, 0x86], literal(4, path), literal(1, "a")].concat()
}

/// A header of a block that is in no table.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    fn text(text: &str, to: &mut Vec<u8>) {
        // An integer with a prefix of seven bits.
        let mut length = text.len();
        if length < 127 {
            to.push(length as u8);
        } else {
            to.push(127);
            length -= 127;
            while length >= 128 {
                to.push((length % 128 + 128) as u8);
                length /= 128;
            }
            to.push(length as u8);
        }
        to.extend_from_slice(text.as_bytes());
    }
    let mut block = vec![0];
    text(name, &mut block);
    text(value, &mut block);
    block
}

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// One HTTP/2 connection.
pub struct Http2(pub TcpStream);

impl Http2 {
    pub fn connect(served: &Served, settings: &[u8]) -> Http2 {
        let mut socket = served.socket();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, settings)).unwrap();
        Http2(socket)
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&frame(kind, flags, stream, payload))
    }

    /// The next frame; `None` at the end. Settings and pings are acknowledged, as by a client that is well. What it may send is no answer,
    /// and comes at any time.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            match self.0.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the server neither sends nor ends the connection")
                }
                Err(_) => return None,
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let frame = Frame { kind: head[3], flags: head[4], stream, payload };
            match (frame.kind, frame.flags & ACK) {
                (SETTINGS | PING, ACK) | (WINDOW_UPDATE, _) => {}
                (SETTINGS, _) => drop(self.send(SETTINGS, ACK, 0, &[])),
                (PING, _) => drop(self.send(PING, ACK, 0, &frame.payload)),
                _ => return Some(frame),
            }
        }
    }

    /// The next frame of a stream.
    pub fn on(&mut self, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.stream == stream {
                return Some(frame);
            }
        }
    }

    /// Reads to the end; the error code of the GOAWAY, if there was one.
    pub fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                code = frame.payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
            }
        }
        code
    }
}

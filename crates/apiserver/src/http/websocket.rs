//! Watches over WebSocket (RFC 6455), as browsers and dashboards ask for them: each event is a message, text for JSON and binary for
//! protobuf. What a client says is not listened to, but for pings and its farewell.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{
    CONNECTION, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serve::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authn::BEARER_PROTOCOL;
use super::negotiate::Format;
use super::{header, joined, respond};
use crate::core::Core;

/// What the key is answered with (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The one version that there is.
const VERSION: &str = "13";
/// How long a client may take to read what it is sent.
const MAX_WRITE: Duration = Duration::from_secs(60);
/// Bytes of the payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL: u64 = 125;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Whether a client wants a WebSocket.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    let upgrades = header(headers, CONNECTION).to_lowercase().split(',').any(|token| token.trim() == "upgrade");
    upgrades && header(headers, UPGRADE).eq_ignore_ascii_case("websocket")
}

/// Answers with the events of a watch as messages. `watch` is the answer that the watch would have without.
pub(super) fn answer(core: &Core, parts: &Parts, watch: Response<Body>, format: Format) -> Response<Body> {
    let refused = |status| {
        let mut response = respond::empty(status);
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        response
    };
    let key = header(&parts.headers, SEC_WEBSOCKET_KEY);
    if key.is_empty() || header(&parts.headers, SEC_WEBSOCKET_VERSION) != VERSION {
        return refused(StatusCode::BAD_REQUEST);
    }
    // Upstream wants to know from which page a client comes, and takes any.
    if header(&parts.headers, ORIGIN).is_empty() {
        return refused(StatusCode::FORBIDDEN);
    }
    let protocols = joined(&parts.headers, SEC_WEBSOCKET_PROTOCOL);
    let protocols = protocols.split(',').map(str::trim);
    let protocols: Vec<&str> =
        protocols.filter(|name| !name.is_empty() && !name.starts_with(BEARER_PROTOCOL)).collect();
    let Some(upgrade) = parts.extensions.get::<OnUpgrade>().cloned().filter(|_| protocols.len() <= 1) else {
        return refused(StatusCode::BAD_REQUEST);
    };
    let mut response = Response::new(serve::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(value) = HeaderValue::from_str(&accept(key)) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, value);
    }
    if let Some(value) = protocols.first().and_then(|name| HeaderValue::from_str(name).ok()) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    for warning in watch.headers().get_all(http::header::WARNING) {
        headers.append(http::header::WARNING, warning.clone());
    }
    let (stop, world) = (core.stop.clone(), core.world.clone());
    core.tasks.spawn("websocket", async move {
        let told = async {
            // The client may have gone by now; then there is nobody to tell.
            if let Ok(own) = upgrade.await {
                tell(&world, TokioIo::new(own), watch.into_body(), format).await;
            }
        };
        stop.or(told).await;
    });
    response
}

fn accept(key: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

/// Sends what a watch tells until it ends, or the client goes.
async fn tell<S>(world: &world::World, socket: S, mut watch: Body, format: Format)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let (mut from, mut to) = tokio::io::split(socket);
    let (mut heard, mut received) = (Incoming::default(), BytesMut::with_capacity(1024));
    loop {
        let mut out = BytesMut::new();
        let mut over = false;
        tokio::select! {
            biased;
            read = from.read_buf(&mut received) => match read {
                Ok(1..) => over = heard.answer(&mut received, &mut out),
                _ => return,
            },
            told = watch.frame() => match told {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => messages(data, format, &mut out),
                    Err(_) => continue,
                },
                _ => {
                    frame(&mut out, CLOSE, &[]);
                    over = true;
                }
            },
        }
        let write = async {
            to.write_all(&out).await?;
            to.flush().await
        };
        let written = world.timeout(MAX_WRITE, write).await;
        if over || !matches!(written, Ok(Ok(()))) {
            let _ = to.shutdown().await;
            return;
        }
    }
}

/// Each event of a part of a watch as a message.
fn messages(mut data: Bytes, format: Format, out: &mut BytesMut) {
    match format {
        // Each begins with its length.
        Format::Protobuf => {
            while data.len() >= 4 {
                let length = (data.get_u32() as usize).min(data.len());
                frame(out, BINARY, &data.split_to(length));
            }
        }
        Format::Json | Format::PrettyJson | Format::Yaml => {
            data.split_inclusive(|byte| *byte == b'\n').for_each(|event| frame(out, TEXT, event));
        }
    }
}

/// A frame that is a whole message; servers do not mask.
fn frame(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    out.reserve(payload.len() + 10);
    out.put_u8(0x80 | kind);
    match payload.len() {
        length @ ..=125 => out.put_u8(length as u8),
        length @ ..=0xffff => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
    out.put_slice(payload);
}

/// What comes from a client: nothing of it is kept but the frame that is being read, if it is a short one about the connection.
#[derive(Default)]
struct Incoming {
    /// Bytes of a message that are still to come and that nobody reads.
    skipped: u64,
}

impl Incoming {
    /// Reads what has come and answers to it; whether the client wants to end.
    fn answer(&mut self, received: &mut BytesMut, out: &mut BytesMut) -> bool {
        loop {
            let here = self.skipped.min(received.len() as u64);
            received.advance(here as usize);
            self.skipped -= here;
            let Some(head) = Head::read(received) else { return false };
            let control = head.kind >= CLOSE;
            if !head.masked || (control && head.length > MAX_CONTROL) {
                // It is no WebSocket client.
                return true;
            }
            if !control {
                received.advance(head.bytes);
                self.skipped = head.length;
                continue;
            }
            let whole = head.bytes + head.length as usize;
            if received.len() < whole {
                return false;
            }
            let frame_bytes = received.split_to(whole);
            let (mask, payload) = frame_bytes[head.bytes - 4..].split_at(4);
            let payload: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            match head.kind {
                CLOSE => {
                    frame(out, CLOSE, &payload);
                    return true;
                }
                PING => frame(out, PONG, &payload),
                _ => {}
            }
        }
    }
}

/// The beginning of a frame.
struct Head {
    kind: u8,
    masked: bool,
    /// Of the payload.
    length: u64,
    /// Of the head itself, with the mask.
    bytes: usize,
}

impl Head {
    /// `None` while not all of it has come.
    fn read(bytes: &[u8]) -> Option<Head> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, size) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let masked = second & 0x80 != 0;
        let size = if masked { size + 4 } else { size };
        (bytes.len() >= size).then_some(Head { kind: first & 0x0f, masked, length, bytes: size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_the_standard_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        for (length, head) in
            [(5, vec![0x81, 5]), (126, vec![0x81, 126, 0, 126]), (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0])]
        {
            let mut out = BytesMut::new();
            frame(&mut out, TEXT, &vec![b'x'; length]);
            assert_eq!((&out[..head.len()], out.len()), (&head[..], head.len() + length));
        }
    }

    #[test]
    fn events_are_messages_of_their_own() {
        let told = |data: &'static [u8], format| {
            let mut out = BytesMut::new();
            messages(Bytes::from_static(data), format, &mut out);
            out.to_vec()
        };
        assert_eq!(told(b"{}\n[]\n", Format::Json), b"\x81\x03{}\n\x81\x03[]\n");
        assert_eq!(told(b"\0\0\0\x02ab\0\0\0\x01c", Format::Protobuf), b"\x82\x02ab\x82\x01c");
    }

    /// However a client cuts what it sends.
    #[test]
    fn pings_and_farewells_are_answered_and_the_rest_is_skipped() {
        let masked = |kind: u8, payload: &[u8]| {
            let mut bytes = vec![0x80 | kind, 0x80 | payload.len() as u8, 1, 2, 3, 4];
            bytes.extend(payload.iter().zip([1_u8, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
            bytes
        };
        let said =
            [masked(TEXT, &[7; 100]), masked(PING, b"hello"), masked(PONG, b""), masked(CLOSE, &[3, 232])].concat();
        for size in [1, 3, 7, said.len()] {
            let (mut incoming, mut received, mut out) = (Incoming::default(), BytesMut::new(), BytesMut::new());
            let mut over = false;
            for part in said.chunks(size) {
                received.extend_from_slice(part);
                over |= incoming.answer(&mut received, &mut out);
            }
            assert!(over, "{size}");
            assert_eq!(&out[..], b"\x8a\x05hello\x88\x02\x03\xe8", "{size}");
        }
        for nonsense in [&b"\x81\x05hello"[..], b"\x89\xfe\x01\x00\0\0\0\0"] {
            let mut received = BytesMut::from(nonsense);
            assert!(Incoming::default().answer(&mut received, &mut BytesMut::new()), "{nonsense:?}");
        }
    }
}

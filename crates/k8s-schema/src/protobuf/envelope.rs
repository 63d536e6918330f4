//! What stands around a message: the envelope that names its kind, frames of watches, and lists joined from encoded items.

use super::decode::text_of;
use super::wire::{BYTES, Payload, Reader, Writer, varint_length};
use super::{MAGIC, ProtobufError, broken};

/// The encoding and type of the content, which Go writes though they are empty.
const TAIL: [u8; 4] = [3 << 3 | BYTES, 0, 4 << 3 | BYTES, 0];
/// Fields of lists.
const METADATA: u32 = 1;
const ITEMS: u32 = 2;

/// An envelope, opened.
pub(super) struct Opened<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, ProtobufError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin with the magic number"))?;
    let mut opened = Opened { api_version: String::new(), kind: String::new(), raw: &[] };
    for field in Reader::new(envelope) {
        match field.map_err(broken)? {
            (1, Payload::Bytes(meta)) => {
                for field in Reader::new(meta) {
                    match field.map_err(broken)? {
                        (1, Payload::Bytes(text)) => opened.api_version = text_of(text)?,
                        (2, Payload::Bytes(text)) => opened.kind = text_of(text)?,
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(bytes)) => opened.raw = bytes,
            (3, Payload::Bytes(encoding)) if !encoding.is_empty() => return Err(broken("its content is encoded")),
            (4, Payload::Bytes(content)) if ![&b""[..], b"application/vnd.kubernetes.protobuf"].contains(&content) => {
                return Err(broken("its content is of another type"));
            }
            _ => {}
        }
    }
    Ok(opened)
}

fn bytes_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

fn type_meta_length(api_version: &str, kind: &str) -> usize {
    bytes_length(api_version.len()) + bytes_length(kind.len())
}

fn head(out: &mut Writer, api_version: &str, kind: &str, raw: usize) {
    out.raw(MAGIC);
    out.tag(1, BYTES);
    out.varint(type_meta_length(api_version, kind) as u64);
    for (number, text) in [(1, api_version), (2, kind)] {
        out.tag(number, BYTES);
        out.varint(text.len() as u64);
        out.raw(text.as_bytes());
    }
    out.tag(2, BYTES);
    out.varint(raw as u64);
}

/// Bytes of a message in its envelope.
fn length(api_version: &str, kind: &str, raw: usize) -> usize {
    MAGIC.len() + bytes_length(type_meta_length(api_version, kind)) + bytes_length(raw) + TAIL.len()
}

/// A message in its envelope.
pub fn protobuf_envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Writer::with_capacity(length(api_version, kind, message.len()));
    head(&mut out, api_version, kind, message.len());
    out.raw(message);
    out.raw(&TAIL);
    out.into_bytes()
}

/// One event of a watch: its type and object, in a frame that says its length first (apimachinery `LengthDelimitedFramer`).
pub fn protobuf_event(event: &str, api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let object = length(api_version, kind, message.len());
    let extension = bytes_length(object);
    let total = bytes_length(event.len()) + bytes_length(extension);
    let mut out = Writer::with_capacity(4 + total);
    // Objects have a limit far below this one.
    out.raw(&u32::try_from(total).unwrap_or(u32::MAX).to_be_bytes());
    out.tag(1, BYTES);
    out.varint(event.len() as u64);
    out.raw(event.as_bytes());
    out.tag(2, BYTES);
    out.varint(extension as u64);
    out.tag(1, BYTES);
    out.varint(object as u64);
    head(&mut out, api_version, kind, message.len());
    out.raw(message);
    out.raw(&TAIL);
    out.into_bytes()
}

/// A list around items that are encoded already: what comes before them, before each, and after the last.
pub struct ProtobufList;

impl ProtobufList {
    /// What stands after the items.
    pub const TAIL: &'static [u8] = &TAIL;

    /// What stands before the items: from the encoded `ListMeta`, and the bytes of all items with what stands before each.
    pub fn head(api_version: &str, kind: &str, metadata: &[u8], items: usize) -> Vec<u8> {
        let mut out = Writer::default();
        head(&mut out, api_version, kind, bytes_length(metadata.len()) + items);
        out.tag(METADATA, BYTES);
        out.varint(metadata.len() as u64);
        out.raw(metadata);
        out.into_bytes()
    }

    /// Bytes of an item of so many bytes with what stands before it.
    pub fn item_length(length: usize) -> usize {
        bytes_length(length)
    }

    /// What stands before an item of so many bytes: at most 11 bytes.
    pub fn before_item(length: usize) -> Vec<u8> {
        let mut out = Writer::with_capacity(11);
        out.tag(ITEMS, BYTES);
        out.varint(length as u64);
        out.into_bytes()
    }
}

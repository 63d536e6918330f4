//! Answers in protobuf: objects as messages that are kept beside their JSON, lists and watches joined from them.

use bytes::{Bytes, BytesMut};
use k8s_client::Items;
use k8s_object::{ApiError, Object};
use k8s_schema::{ProtobufError, ProtobufKind, ProtobufList, encode_protobuf, protobuf_envelope, protobuf_event};
use serde_json::Value;

use super::lists::{About, Rest};

fn internal(error: &ProtobufError) -> ApiError {
    ApiError::internal(format!("the object cannot be encoded in protobuf: {error}"))
}

/// The message of an object, made when it is first wanted and shared by everybody who reads this revision.
///
/// # Errors
/// For objects of kinds that have no message.
fn message(object: &Object) -> Result<Bytes, ApiError> {
    let kind = object.kind();
    object.protobuf(|json| {
        let found = ProtobufKind::find(&kind.group, &kind.version, &kind.kind);
        let found = found.ok_or_else(|| ApiError::internal(format!("{} has no protobuf form", kind.kind)))?;
        found.encode(json).map(Bytes::from).map_err(|error| internal(&error))
    })
}

/// One object.
///
/// # Errors
/// For objects of kinds that have no message.
pub(super) fn object(object: &Object) -> Result<Bytes, ApiError> {
    Ok(protobuf_envelope(&object.kind().api_version(), &object.kind().kind, &message(object)?).into())
}

/// Any document; none if its kind has no message.
pub(super) fn value(value: &Value) -> Result<Option<Vec<u8>>, ApiError> {
    encode_protobuf(value).map_err(|error| internal(&error))
}

/// What stands before the rest of a list, which has so many bytes.
pub(super) fn list_head(about: &About<'_>, rest: usize) -> Result<Vec<u8>, ApiError> {
    let meta = ProtobufKind::find("", "v1", "ListMeta").ok_or_else(|| ApiError::internal("ListMeta has no message"))?;
    let metadata = meta.encode(about.metadata.to_string().as_bytes()).map_err(|error| internal(&error))?;
    let items = rest - ProtobufList::TAIL.len();
    Ok(ProtobufList::head(about.api_version, about.kind, &metadata, items))
}

/// The items of a list and its end.
///
/// # Errors
/// For objects of kinds that have no message.
pub(super) fn list_rest(items: &Items) -> Result<Rest, ApiError> {
    let messages: Vec<Bytes> = items.iter().map(|object| message(object)).collect::<Result<_, _>>()?;
    let length = messages.iter().map(|message| ProtobufList::item_length(message.len())).sum::<usize>();
    let mut messages = messages.into_iter();
    let next = move |to: &mut BytesMut| {
        let Some(message) = messages.next() else { return false };
        to.extend_from_slice(&ProtobufList::before_item(message.len()));
        to.extend_from_slice(&message);
        true
    };
    Ok(Rest { next: Box::new(next), tail: ProtobufList::TAIL, length: length + ProtobufList::TAIL.len() })
}

/// A frame of a watch with an object as it is.
///
/// # Errors
/// For objects of kinds that have no message.
pub(super) fn event(event: &str, object: &Object) -> Result<Vec<u8>, ApiError> {
    Ok(protobuf_event(event, &object.kind().api_version(), &object.kind().kind, &message(object)?))
}

/// A frame of a watch with any document: a view of an object, a bookmark, a `Status`.
///
/// # Errors
/// For documents of kinds that have no message.
pub(super) fn event_of(event: &str, value: &Value) -> Result<Vec<u8>, ApiError> {
    let (api_version, kind) = (&value["apiVersion"], &value["kind"]);
    let (api_version, kind) = (api_version.as_str().unwrap_or(""), kind.as_str().unwrap_or(""));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let found = ProtobufKind::find(group, version, kind);
    let found = found.ok_or_else(|| ApiError::internal(format!("{kind} has no protobuf form")))?;
    let message = found.encode(value.to_string().as_bytes()).map_err(|error| internal(&error))?;
    Ok(protobuf_event(event, api_version, kind, &message))
}

//! Small things that the handlers of all services need.

use cloud_wire::AwsError;
use serde::de::DeserializeOwned;
use serde_json::Value;
pub use world::BoxFuture;

/// Reads an operation's input into its typed form. The model has checked it before, so a failure is a disagreement between the
/// model and the type.
///
/// # Errors
/// `ValidationError`.
pub fn decode_input<T: DeserializeOwned>(input: &Value) -> Result<T, AwsError> {
    T::deserialize(input)
        .map_err(|error| AwsError::new("ValidationError", 400, format!("The input is not valid: {error}")))
}

/// Encodes everything but unreserved characters, as IAM returns policy documents.
pub fn encode_percent(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

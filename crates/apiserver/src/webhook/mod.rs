//! Calls that the API server makes to others: HTTPS with a CA of its own per client, bounded in time and size.
//!
//! A [`Client`] belongs to one `clientConfig` and keeps a few connections; whoever compiles the configuration holds it. There are no
//! tasks: a connection moves only while somebody waits for an answer on it, and ends when it is dropped.

mod address;
mod client;
mod dial;
mod tls;

#[allow(unused_imports)] // For clients of what is no webhook.
pub(crate) use address::Address;
#[allow(unused_imports)]
pub(crate) use client::{Answer, CallError, Client, dial_error, tls_error};
pub use dial::{Connection, Dialer, Sockets};
pub(crate) use tls::{ClientIdentity, Trust, check_bundle, config as client_config};

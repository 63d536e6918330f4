//! Accepts connections, speaks TLS and HTTP/1.1 and HTTP/2 on them, limits and drains them.
//!
//! The only crate that names tokio's sockets and hyper's timers. It knows nothing of what is served: it hands each request,
//! with who sent it, to a [`Handler`].

mod body;
mod connect;
mod linger;
mod server;
mod stall;
mod tls;
mod unsent;

pub use body::{Body, BoxError, ReadError, chunks, empty, full, read_limited, stream};
pub use connect::connect;
pub use server::{Handler, Limits, Options, Peer, ServeError, Server, start};
pub use tls::{Clients, Tls, TlsError};

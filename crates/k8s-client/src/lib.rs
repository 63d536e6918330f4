//! The port through which components talk to an API server.
//!
//! [`Api`] is what an API server offers in its own process: the same pipeline (authentication's result, authorization,
//! admission, audit) that a request over a socket takes, without the socket. [`Client`] is one component's use of it,
//! under its own identity. [`Informers`] keep what components watch, as pointers into the server's objects, not copies.

mod client;
mod informers;
mod request;

pub use client::{Api, Client, Identity, Watch, WatchEvent, WatchSource};
pub use informers::{Change, Index, Indexer, Informers, InformersBuilder, Reader};
pub use request::{Body, Items, Options, PatchType, Preconditions, Propagation, Reply, Request, Verb};

//! Serves a store over etcd's gRPC API, version 3, so that clients of etcd, `etcdctl` and API servers among them, work on it.
//!
//! Translates and nothing else: what a request means is the store's to say, and connections are those of `serve`. It must never
//! answer what it does not do: such a method, or such a field, is refused with UNIMPLEMENTED and its name.

mod convert;
mod kv;
mod lease;
mod maintenance;
mod service;
mod status;
mod watch;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use serve::{ServeError, Server};
use store::{Revision, Store};
use world::{Tasks, World};

/// What etcd allows a request to hold beside keys and values, in bytes.
const REQUEST_OVERHEAD_BYTES: usize = 512 << 10;

/// Streams at a time on one connection. Clients put all their watches on one connection, and etcd itself sets no limit.
const MAX_STREAMS: u32 = 20_000;

/// How to serve.
pub struct Options {
    pub serve: serve::Options,
    /// The name of the one member.
    pub name: String,
    /// Where clients should connect; they are told, nothing listens there. Empty: the listener's own address.
    pub client_urls: Vec<String>,
    /// The version of etcd that clients may take it for: some ask before they use a feature.
    pub version: String,
    /// Keys and values of one request, in bytes: no more than the store takes.
    pub request_bytes: usize,
    /// How often a watch that asks for it and has no events is told how far it is.
    pub progress_interval: Duration,
}

impl Default for Options {
    fn default() -> Options {
        let limits = serve::Limits { streams: MAX_STREAMS, ..serve::Limits::default() };
        Options {
            serve: serve::Options { limits, ..serve::Options::default() },
            name: "minato".to_owned(),
            client_urls: Vec::new(),
            version: "3.5.21".to_owned(),
            request_bytes: store::Limits::default().request_bytes,
            progress_interval: Duration::from_secs(10 * 60),
        }
    }
}

/// Serves `store` on `listener` in `tasks`, until those are shut down.
///
/// # Errors
/// If the socket or the TLS identity cannot be used.
pub fn start(store: Store, listener: TcpListener, options: Options, tasks: &Tasks) -> Result<Server, ServeError> {
    let Options { serve, name, mut client_urls, version, request_bytes, progress_interval } = options;
    if client_urls.is_empty() {
        let scheme = if serve.tls.is_some() { "https" } else { "http" };
        let address = listener.local_addr().map_err(ServeError::Listener)?;
        client_urls.push(format!("{scheme}://{address}"));
    }
    let face = Face {
        store,
        tasks: tasks.clone(),
        name,
        client_urls,
        version,
        message_bytes: request_bytes + REQUEST_OVERHEAD_BYTES,
        progress_interval,
    };
    serve::start(listener, Arc::new(service::Service(Arc::new(face))), serve, tasks)
}

/// What answering a request needs.
pub(crate) struct Face {
    pub store: Store,
    pub tasks: Tasks,
    pub name: String,
    pub client_urls: Vec<String>,
    pub version: String,
    /// The largest message that is read, in bytes.
    pub message_bytes: usize,
    pub progress_interval: Duration,
}

impl Face {
    /// The cluster and its one member have the same name in every answer; there is no election, so there is one term.
    pub const CLUSTER_ID: u64 = 0x6d69_6e61_746f_0001;
    pub const MEMBER_ID: u64 = 0x6d69_6e61_746f_0002;
    pub const RAFT_TERM: u64 = 1;

    pub fn world(&self) -> &World {
        self.tasks.world()
    }

    pub fn header(&self, revision: Revision) -> Option<etcd_wire::ResponseHeader> {
        Some(header(revision))
    }
}

pub(crate) fn header(revision: Revision) -> etcd_wire::ResponseHeader {
    etcd_wire::ResponseHeader {
        cluster_id: Face::CLUSTER_ID,
        member_id: Face::MEMBER_ID,
        revision,
        raft_term: Face::RAFT_TERM,
    }
}

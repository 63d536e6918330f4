//! One API server behind a real socket with TLS, and a plain HTTP/1.1 client of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use k8s_auth::pki::{Authority, Identity, Purpose};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use store::Store;
use world::{Tasks, World};

pub struct Served {
    pub runtime: tokio::runtime::Runtime,
    pub address: std::net::SocketAddr,
    pub tasks: Tasks,
    pub ca: Authority,
    pub admin: Identity,
    pub stranger: Identity,
}

impl Served {
    pub fn start() -> Served {
        Served::start_with(|_| {})
    }

    /// As [`Served::start`], with other options.
    pub fn start_with(change: impl FnOnce(&mut apiserver::Options)) -> Served {
        Served::start_limited(change, serve::Limits::default())
    }

    /// As [`Served::start_with`], with other limits.
    pub fn start_limited(change: impl FnOnce(&mut apiserver::Options), limits: serve::Limits) -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, tasks, ca, admin, stranger) = runtime.block_on(async {
            let world = World::real();
            let ca = Authority::generate(&world, "kubernetes").unwrap();
            let change = |options: &mut apiserver::Options| {
                options.authentication.client_authorities = vec![ca.certificate().clone()];
                change(options);
            };
            let cluster = super::start_with(&world, &Store::memory(&world, store::Limits::default()), change).await;
            let server = Purpose::Server { names: vec!["localhost".into()], addresses: vec![] };
            let server = ca.issue(&world, &server).unwrap();
            let client = |user: &str, group: &str| Purpose::Client { user: user.into(), group: Some(group.into()) };
            let admin = ca.issue(&world, &client("admin", "system:masters")).unwrap();
            let other = Authority::generate(&world, "other").unwrap();
            let stranger = other.issue(&world, &client("admin", "system:masters")).unwrap();
            let tls = serve::Tls {
                chain: vec![server.certificate.clone()],
                key: server.key.to_der(),
                clients: serve::Clients::MayShow(vec![ca.certificate().clone()]),
            };
            let options = serve::Options { tls: Some(tls), limits };
            let served = serve::start(listener, cluster.server.handler(), options, &cluster.tasks).unwrap();
            (served.address(), cluster.tasks.clone(), ca, admin, stranger)
        });
        Served { runtime, address, tasks, ca, admin, stranger }
    }

    /// How a client trusts the server, and who it is.
    pub fn client(&self, identity: Option<&Identity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        match identity {
            Some(identity) => {
                builder.with_client_auth_cert(vec![identity.certificate.clone()], identity.key.to_der()).unwrap()
            }
            None => builder.with_no_client_auth(),
        }
    }

    pub fn connect(&self, identity: Option<&Identity>) -> StreamOwned<ClientConnection, TcpStream> {
        let config = Arc::new(self.client(identity));
        let connection = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        StreamOwned::new(connection, socket)
    }

    /// One request on its own connection: status, headers, body.
    pub fn call(&self, identity: Option<&Identity>, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
        let mut stream = self.connect(identity);
        let mut request =
            format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for header in headers {
            request += &format!("{header}\r\n");
        }
        request += "\r\n";
        request += body;
        let mut answer = Vec::new();
        if stream.write_all(request.as_bytes()).is_ok() {
            // A peer that closes without saying so at the TLS level has said all there is.
            let _ = stream.read_to_end(&mut answer);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, head.to_lowercase(), body.to_owned())
    }

    pub fn admin(&self, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
        self.call(Some(&self.admin), line, headers, body)
    }
}

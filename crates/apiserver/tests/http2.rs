//! Watches on one HTTP/2 connection, as client-go and kube hold them.

mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use support::tls::Served;
use world::World;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Longer than any answer takes; only what never comes waits for it.
const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of a stream that the client takes before it reads them.
const WINDOW: u32 = 64 << 10;

async fn within<F: Future>(future: F) -> F::Output {
    World::real().timeout(DEADLINE, future).await.expect("an answer in time")
}

struct Client(SendRequest<Full<Bytes>>);

impl Client {
    async fn connect(served: &Served) -> Client {
        let mut config = served.client(Some(&served.admin));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket = tokio::net::TcpStream::connect(served.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let socket = connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
        // It ends with the runtime of the test.
        World::real().tasks("client").spawn("connection", async move {
            let _ = connection.await;
        });
        Client(sender)
    }

    async fn send(&mut self, method: &str, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        let request = request.header("content-type", "application/json").body(Full::new(body.into())).unwrap();
        within(self.0.send_request(request)).await.unwrap()
    }
}

/// The events of a watch.
struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// Type and name of the next; `None` at the end.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                return Some((text(&event["type"]), text(&event["object"]["metadata"]["name"])));
            }
            let frame = within(self.body.frame()).await?.unwrap();
            self.read.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        }
    }
}

#[test]
fn many_watches_share_a_connection_with_other_requests() {
    let served = Served::start();
    served.runtime.block_on(async {
        let mut client = Client::connect(&served).await;
        let mut watches = Vec::new();
        for query in ["watch=true", "watch=true&fieldSelector=metadata.name%3Db"] {
            let response = client.send("GET", &format!("{CONFIG_MAPS}?{query}"), "").await;
            assert_eq!(response.status(), 200);
            watches.push(Events { body: response.into_body(), read: Vec::new() });
        }
        for name in ["a", "b"] {
            let created = client.send("POST", CONFIG_MAPS, format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)).await;
            assert_eq!(created.status(), 201);
        }
        let added = |name: &str| Some(("ADDED".to_owned(), name.to_owned()));
        assert_eq!((watches[0].next().await, watches[0].next().await), (added("a"), added("b")));
        assert_eq!(watches[1].next().await, added("b"));

        let left = served.tasks.shutdown(DEADLINE).await;
        assert!(left.is_empty(), "open watches do not hold up the end: {left:?}");
        for mut watch in watches {
            assert_eq!(watch.next().await, None, "it ends as a stream does, not as one that broke");
        }
    });
}

#[test]
fn a_client_that_does_not_read_its_watch_holds_up_nothing_else() {
    let served = Served::start();
    served.runtime.block_on(async {
        let mut client = Client::connect(&served).await;
        let watch = client.send("GET", &format!("{CONFIG_MAPS}?watch=true"), "").await;
        let data = "x".repeat(WINDOW as usize);
        for index in 0..10 {
            let object = format!(r#"{{"metadata":{{"name":"m{index}"}},"data":{{"k":"{data}"}}}}"#);
            assert_eq!(client.send("POST", CONFIG_MAPS, object).await.status(), 201);
        }
        let other = client.send("GET", "/api/v1/namespaces/default", "").await;
        assert_eq!(other.status(), 200, "the same connection answers");
        let mut events = Events { body: watch.into_body(), read: Vec::new() };
        for index in 0..10 {
            assert_eq!(events.next().await, Some(("ADDED".to_owned(), format!("m{index}"))), "nothing was dropped");
        }
    });
}

#[test]
fn a_body_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let served = Served::start();
    served.runtime.block_on(async {
        let mut client = Client::connect(&served).await;
        for megabytes in [4, 20, 4] {
            let refused = client.send("POST", CONFIG_MAPS, vec![b' '; megabytes << 20]).await;
            assert_eq!(refused.status(), 413);
            let status = within(refused.into_body().collect()).await.unwrap().to_bytes();
            let status: Value = serde_json::from_slice(&status).unwrap();
            assert_eq!(status["reason"], "RequestEntityTooLarge");
            assert_eq!(client.send("GET", "/api/v1/namespaces/default", "").await.status(), 200);
        }
    });
}

#[test]
fn head_is_answered_without_a_body() {
    let served = Served::start();
    served.runtime.block_on(async {
        let mut client = Client::connect(&served).await;
        for path in ["/version", "/nothing"] {
            let whole = client.send("GET", path, "").await;
            let head = client.send("HEAD", path, "").await;
            assert_eq!(head.status(), whole.status(), "{path}");
            let body = within(whole.into_body().collect()).await.unwrap().to_bytes();
            assert_eq!(head.headers()["content-length"], body.len().to_string(), "{path}");
            // A body would be an error in the protocol.
            assert!(within(head.into_body().collect()).await.unwrap().to_bytes().is_empty(), "{path}");
        }
    });
}

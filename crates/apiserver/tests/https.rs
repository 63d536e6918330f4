//! The wire: TLS, client certificates, forms of answers, watches and errors, as a client over HTTPS sees them.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use k8s_auth::pki::{Authority, Identity, Purpose};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use store::Store;
use world::{Tasks, World};

struct Served {
    runtime: tokio::runtime::Runtime,
    address: std::net::SocketAddr,
    tasks: Tasks,
    ca: Authority,
    admin: Identity,
    stranger: Identity,
}

impl Served {
    fn start() -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, tasks, ca, admin, stranger) = runtime.block_on(async {
            let world = World::real();
            let cluster = support::start(&world, &Store::memory(&world, store::Limits::default())).await;
            let ca = Authority::generate(&world, "kubernetes").unwrap();
            let server = Purpose::Server { names: vec!["localhost".into()], addresses: vec![] };
            let server = ca.issue(&world, &server).unwrap();
            let client = |user: &str, group: &str| Purpose::Client { user: user.into(), group: Some(group.into()) };
            let admin = ca.issue(&world, &client("admin", "system:masters")).unwrap();
            let other = Authority::generate(&world, "other").unwrap();
            let stranger = other.issue(&world, &client("admin", "system:masters")).unwrap();
            let tls = serve::Tls {
                chain: vec![server.certificate.clone()],
                key: server.key.to_der(),
                client_ca: vec![ca.certificate().clone()],
            };
            let options = serve::Options { tls: Some(tls), ..serve::Options::default() };
            let served = serve::start(listener, cluster.server.handler(), options, &cluster.tasks).unwrap();
            (served.address(), cluster.tasks.clone(), ca, admin, stranger)
        });
        Served { runtime, address, tasks, ca, admin, stranger }
    }

    fn connect(&self, identity: Option<&Identity>) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match identity {
            Some(identity) => {
                builder.with_client_auth_cert(vec![identity.certificate.clone()], identity.key.to_der()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        StreamOwned::new(connection, socket)
    }

    /// One request on its own connection: status, headers, body.
    fn call(&self, identity: Option<&Identity>, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
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

    fn admin(&self, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
        self.call(Some(&self.admin), line, headers, body)
    }
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn clients_are_known_by_their_certificates() {
    let served = Served::start();
    let cases = [
        (Some(&served.admin), "/api/v1/pods", "", 200),
        (Some(&served.stranger), "/api/v1/pods", "", 0),
        (None, "/api/v1/pods", "", 401),
        (None, "/api/v1/pods", "authorization: Bearer nonsense", 401),
        (None, "/apis", "", 401),
        (None, "/healthz", "", 200),
        (None, "/version", "", 200),
    ];
    for (identity, path, header, status) in cases {
        let headers: &[&str] = if header.is_empty() { &[] } else { &[header] };
        assert_eq!(served.call(identity, &format!("GET {path}"), headers, "").0, status, "{path} {header}");
    }
}

#[test]
fn answers_come_in_the_form_that_is_asked_for() {
    let served = Served::start();
    let created = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}, "extra": 1}).to_string();
    let (status, head, _) = served.admin(&format!("POST {CONFIG_MAPS}"), &["content-type: application/json"], &created);
    assert_eq!(status, 201);
    assert!(head.contains(r#"warning: 299 - "unknown field \"extra\"""#), "{head}");
    let table = "accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let partial = "accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let cases: [(String, &str, u16, &str, Value); 9] = [
        (CONFIG_MAPS.into(), "accept: */*", 200, "/kind", json!("ConfigMapList")),
        (CONFIG_MAPS.into(), "accept: application/json", 200, "/items/0/data/k", json!("v")),
        (CONFIG_MAPS.into(), table, 200, "/rows/0/cells/1", json!(1)),
        (format!("{CONFIG_MAPS}/a"), table, 200, "/columnDefinitions/0/name", json!("Name")),
        (CONFIG_MAPS.into(), partial, 200, "/items/0/kind", json!("PartialObjectMetadata")),
        (CONFIG_MAPS.into(), "accept: application/vnd.kubernetes.protobuf", 406, "/reason", json!("NotAcceptable")),
        (
            CONFIG_MAPS.into(),
            "accept: application/vnd.kubernetes.protobuf,application/json",
            200,
            "/kind",
            json!("ConfigMapList"),
        ),
        (format!("{CONFIG_MAPS}/b"), "accept: */*", 404, "/details/kind", json!("configmaps")),
        (
            "/apis".into(),
            "accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
            200,
            "/kind",
            json!("APIGroupDiscoveryList"),
        ),
    ];
    for (path, accept, status, pointer, expected) in cases {
        let (own, _, body) = served.admin(&format!("GET {path}"), &[accept], "");
        let value: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!((own, value.pointer(pointer)), (status, Some(&expected)), "{path} {accept}: {body}");
    }
    let (_, _, yaml) = served.admin(&format!("GET {CONFIG_MAPS}/a"), &["accept: application/yaml"], "");
    assert!(yaml.contains("\n  name: a\n"), "{yaml}");
    let yaml = "metadata:\n  name: y\ndata:\n  k: v\n";
    assert_eq!(served.admin(&format!("POST {CONFIG_MAPS}"), &["content-type: application/yaml"], yaml).0, 201);
    // A ConfigMap named `p` with k=v, as client-go writes it.
    let inner = b"\n\x03\n\x01p\x12\x06\n\x01k\x12\x01v";
    let mut bytes = b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12".to_vec();
    bytes.push(inner.len() as u8);
    bytes.extend_from_slice(inner);
    let text = String::from_utf8(bytes).unwrap();
    let (status, _, body) =
        served.admin(&format!("POST {CONFIG_MAPS}"), &["content-type: application/vnd.kubernetes.protobuf"], &text);
    assert!(status == 201 && body.contains(r#""data":{"k":"v"}"#), "{body}");
    assert_eq!(served.admin(&format!("POST {CONFIG_MAPS}"), &["content-type: text/plain"], "x").0, 415);
    assert_eq!(served.admin("GET /nonsense", &[], "").2, "404 page not found\n");
    assert_eq!(served.admin("PUT /api/v1/pods", &[], "").0, 405);
    let (_, head, body) = served.admin("GET /openapi/v3", &[], "");
    assert!(head.contains("etag: ") && body.contains("/openapi/v3/apis/apps/v1?hash="), "{head}");
    let big = format!("{{\"metadata\":{{\"name\":\"big\"}},\"data\":{{\"k\":\"{}\"}}}}", "x".repeat(4 << 20));
    assert!([413, 0].contains(&served.admin(&format!("POST {CONFIG_MAPS}"), &[], &big).0), "refused before it is read");
}

#[test]
fn a_watch_streams_until_the_server_stops() {
    let served = Served::start();
    let mut stream = served.connect(Some(&served.admin));
    let path = format!(
        "{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    );
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || loop {
        let line = lines.next()?.ok()?;
        if let Some(event) = line.find('{').and_then(|at| serde_json::from_str::<Value>(&line[at..]).ok()) {
            return Some(event);
        }
    };
    let initial = next().unwrap();
    assert_eq!(initial["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{initial}");
    for (method, path, body, kind) in [
        ("POST", CONFIG_MAPS.to_owned(), r#"{"metadata":{"name":"a"}}"#, "ADDED"),
        ("PATCH", format!("{CONFIG_MAPS}/a"), r#"{"data":{"k":"v"}}"#, "MODIFIED"),
        ("DELETE", format!("{CONFIG_MAPS}/a"), "", "DELETED"),
    ] {
        let content = if method == "PATCH" {
            "content-type: application/merge-patch+json"
        } else {
            "content-type: application/json"
        };
        let (status, _, answer) = served.admin(&format!("{method} {path}"), &[content], body);
        assert!(status < 300, "{answer}");
        let event = next().unwrap();
        assert_eq!((event["type"].as_str(), event["object"]["metadata"]["name"].as_str()), (Some(kind), Some("a")));
    }
    let left = served.runtime.block_on(served.tasks.shutdown(Duration::from_secs(10)));
    assert!(left.is_empty(), "{left:?}");
    assert!(next().is_none(), "the stream has ended");
}

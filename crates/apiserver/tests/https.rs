//! The wire: TLS, client certificates, forms of answers, watches and errors, as a client over HTTPS sees them.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use support::tls::Served;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn clients_are_known_by_their_certificates() {
    let served = Served::start();
    let cases = [
        (Some(&served.admin), "/api/v1/pods", "", 200),
        (Some(&served.stranger), "/api/v1/pods", "", 401),
        (Some(&served.stranger), "/healthz", "", 401),
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
    // Whoever shows a certificate has its key: one of somebody else opens no connection.
    let key = any_supported_type(&served.stranger.key.to_der()).unwrap();
    let stolen = CertifiedKey::new(vec![served.admin.certificate.clone()], key);
    let mut config = served.client(None);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(stolen));
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(served.address).unwrap());
    let mut answer = Vec::new();
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(stream.read_to_end(&mut answer).is_err(), "{}", String::from_utf8_lossy(&answer));
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
        (CONFIG_MAPS.into(), "accept: text/html", 406, "/reason", json!("NotAcceptable")),
        (
            CONFIG_MAPS.into(),
            "accept: application/json,application/vnd.kubernetes.protobuf",
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
    let (status, head, body) = served.admin("GET /openapi/v2", &["accept-encoding: gzip"], "");
    assert!(status == 200 && head.contains("content-encoding: gzip") && !body.is_empty(), "{head}");
    let (_, head, body) = served.admin("GET /openapi/v3/apis/apps/v1", &["accept: application/json"], "");
    assert!(
        head.contains("content-type: application/json") && body.contains("io.k8s.api.apps.v1.Deployment"),
        "{head}"
    );
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

/// The types, names and revisions that a watch tells, up to what happens to the object `end`. It must be so little that no chunk
/// ends within an event.
fn told<'scope>(
    scope: &'scope Scope<'scope, '_>,
    served: &Served,
    path: &str,
) -> ScopedJoinHandle<'scope, Vec<String>> {
    let mut stream = served.connect(Some(&served.admin));
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
    scope.spawn(move || {
        let mut told = Vec::new();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            let Some(event) = line.find('{').and_then(|at| serde_json::from_str::<Value>(&line[at..]).ok()) else {
                continue;
            };
            let metadata = &event["object"]["metadata"];
            told.push(format!("{} {} {}", event["type"], metadata["name"], metadata["resourceVersion"]));
            if metadata["name"] == "end" {
                break;
            }
        }
        told
    })
}

#[test]
fn many_watchers_are_told_the_same_in_the_same_order() {
    let served = Served::start();
    let post = |path: &str, name: &str, app: &str| {
        let object = json!({"metadata": {"name": name, "labels": {"app": app}}});
        let (status, _, answer) =
            served.admin(&format!("POST {path}"), &["content-type: application/json"], &object.to_string());
        assert_eq!(status, 201, "{answer}");
        let object: Value = serde_json::from_str(&answer).unwrap();
        object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    };
    const OTHERS: &str = "/api/v1/namespaces/kube-public/configmaps";
    let began = post(CONFIG_MAPS, "begin", "a");
    std::thread::scope(|scope| {
        let watch =
            |path: &str, rest: &str| told(scope, &served, &format!("{path}?watch=true&resourceVersion={began}{rest}"));
        let everywhere: Vec<_> = (0..10).map(|_| watch("/api/v1/configmaps", "")).collect();
        let here: Vec<_> = (0..10).map(|_| watch(CONFIG_MAPS, "")).collect();
        let labelled = watch(CONFIG_MAPS, "&labelSelector=app%3Da");
        let mut expected: Vec<(&str, String)> = Vec::new();
        for index in 0..120 {
            let (path, app) =
                (if index % 3 == 0 { OTHERS } else { CONFIG_MAPS }, if index % 2 == 0 { "a" } else { "b" });
            let name = format!("c{index}");
            let revision = post(path, &name, app);
            expected.push((path, format!("\"ADDED\" \"{name}\" \"{revision}\"")));
        }
        let revision = post(CONFIG_MAPS, "end", "a");
        expected.push((CONFIG_MAPS, format!("\"ADDED\" \"end\" \"{revision}\"")));
        // One that comes when all is over is told the same.
        let late = watch("/api/v1/configmaps", "");
        let all: Vec<String> = expected.iter().map(|(_, event)| event.clone()).collect();
        for watcher in everywhere.into_iter().chain([late]) {
            assert_eq!(watcher.join().unwrap(), all);
        }
        let own: Vec<String> =
            expected.iter().filter(|(path, _)| *path == CONFIG_MAPS).map(|(_, event)| event.clone()).collect();
        for watcher in here {
            assert_eq!(watcher.join().unwrap(), own);
        }
        let labelled = labelled.join().unwrap();
        assert!(labelled.len() > 30 && labelled.len() < own.len(), "{labelled:?}");
        assert!(labelled.iter().all(|event| own.contains(event)));
    });
}

/// Opens a WebSocket; the head of the answer, and the connection.
fn websocket(
    served: &Served,
    path: &str,
    headers: &[&str],
) -> (String, BufReader<rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>>) {
    let mut stream = served.connect(Some(&served.admin));
    let mut request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|count| count > 0) {}
    (head.to_lowercase(), reader)
}

/// A frame from the server: what it is, and what is in it.
fn message(reader: &mut impl std::io::Read) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    reader.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            reader.read_exact(&mut length).unwrap();
            usize::from(u16::from_be_bytes(length))
        }
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

#[test]
fn watches_are_told_over_websockets_too() {
    let served = Served::start();
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let (version, origin) = ("sec-websocket-version: 13", "origin: https://dashboard.example");
    let watch = format!("{CONFIG_MAPS}?watch=true&resourceVersion=0");
    let create = |name: &str| {
        let object = json!({"metadata": {"name": name}}).to_string();
        served.admin(&format!("POST {CONFIG_MAPS}"), &["content-type: application/json"], &object);
    };
    create("a");
    let protocol = "sec-websocket-protocol: base64.binary.k8s.io";
    let (head, mut reader) = websocket(&served, &watch, &[key, version, origin, protocol]);
    assert!(head.starts_with("http/1.1 101 ") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(head.contains(protocol), "{head}");
    for name in ["a", "b"] {
        let (kind, text) = message(&mut reader);
        let event: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((kind, &event["type"], &event["object"]["metadata"]["name"]), (0x81, &json!("ADDED"), &json!(name)));
        create("b");
    }
    // A ping is answered, and so is a farewell; frames of clients are masked, here with nothing.
    reader.get_mut().write_all(b"\x89\x82\0\0\0\0hi\x88\x80\0\0\0\0").unwrap();
    assert_eq!(message(&mut reader), (0x8a, b"hi".to_vec()));
    assert_eq!(message(&mut reader), (0x88, Vec::new()));

    for (headers, status) in [
        (&[key, version][..], "403"),
        (&[key, origin, "sec-websocket-version: 12"], "400"),
        (&[version, origin], "400"),
        (&[key, version, origin, "sec-websocket-protocol: a, b"], "400"),
    ] {
        let (head, _) = websocket(&served, &watch, headers);
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{headers:?}: {head}");
    }
    let (head, mut reader) = websocket(&served, &format!("{watch}&timeoutSeconds=1"), &[key, version, origin]);
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for expected in [0x81, 0x81, 0x88] {
        assert_eq!(message(&mut reader).0, expected, "it ends when its time is up");
    }
}

#[test]
fn watches_warn_of_what_is_deprecated() {
    let served = Served::start();
    let (status, head, _) = served.admin("GET /api/v1/endpoints?watch=true&timeoutSeconds=1", &[], "");
    assert_eq!(status, 200);
    assert!(head.contains("warning: 299 - \"v1 endpoints is deprecated in v1.33+"), "{head}");
}

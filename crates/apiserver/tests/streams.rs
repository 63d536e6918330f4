//! Streams of containers and requests to nodes, pods and Services, over HTTPS to a kubelet and backends that are not there but for their
//! sockets.

mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use apiserver::{Connection, Dialer};
use k8s_auth::pki::{Authority, Purpose};
use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use support::tls::Served;
use world::{BoxFuture, World};

/// Where nodes and pods of the test say that they are.
const NODE: &str = "10.0.0.5";
const POD: &str = "10.0.1.7";

/// Leads every address to one of two sockets of this machine: those with port 10250 to the kubelet, others to the backend.
struct Wires {
    kubelet: SocketAddr,
    backend: SocketAddr,
}

impl Dialer for Wires {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move {
            let address = match (host, port) {
                (NODE, 10250) => self.kubelet,
                (NODE | POD, 8080) => self.backend,
                _ => return Err(io::ErrorKind::ConnectionRefused.into()),
            };
            Ok(Box::new(tokio::net::TcpStream::connect(address).await?) as Box<dyn Connection>)
        })
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }
}

type Heads = Arc<Mutex<Vec<String>>>;

/// Reads up to the end of a head.
fn head(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Answers as a kubelet or a backend would.
fn serve_one(mut stream: impl Read + Write, heads: &Heads) {
    let head = head(&mut stream);
    let line = head.lines().next().unwrap_or("").to_owned();
    heads.lock().unwrap().push(head.clone());
    let lower = head.to_lowercase();
    if let Some(protocol) = lower.lines().find_map(|line| line.strip_prefix("upgrade: ")) {
        if line.contains("/nothere/") {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot there");
            let _ = stream.flush();
            return;
        }
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\nx-stream-protocol-version: v4.channel.k8s.io\r\n\r\nhello "
        );
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.flush();
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            if &bytes[..count] == b"bye" {
                return;
            }
            let _ = stream.write_all(&bytes[..count].to_ascii_uppercase());
            let _ = stream.flush();
        }
        return;
    }
    let answer = if line.contains("/containerLogs/default/p/b") {
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 12\r\n\r\nno such logs".to_owned()
    } else if line.contains("/containerLogs/") {
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n".to_owned()
    } else {
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nlocation: /elsewhere\r\naccess-control-allow-origin: *\r\ncontent-length: 4\r\n\r\nbody".to_owned()
    };
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.flush();
}

/// A server on threads of its own, with TLS or without.
fn start(world: &World, tls: bool, heads: Heads) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = tls.then(|| {
        let ca = Authority::generate(world, "kubelets").unwrap();
        let server = Purpose::Server { names: vec!["node".into()], addresses: Vec::new() };
        let identity = ca.issue(world, &server).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![identity.certificate.clone()], identity.key.to_der()).unwrap())
    });
    let inner = world.clone();
    world.spawn_thread("fake", move || {
        for socket in listener.incoming().flatten() {
            let (config, heads) = (config.clone(), heads.clone());
            inner.spawn_thread("fake connection", move || match config {
                Some(config) => serve_one(StreamOwned::new(ServerConnection::new(config).unwrap(), socket), &heads),
                None => serve_one(socket, &heads),
            });
        }
    });
    address
}

struct Bench {
    served: Served,
    kubelet: Heads,
    backend: Heads,
}

fn bench() -> Bench {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime.enter();
    let world = World::real();
    let (kubelet, backend) = (Heads::default(), Heads::default());
    let wires = Wires { kubelet: start(&world, true, kubelet.clone()), backend: start(&world, false, backend.clone()) };
    drop(guard);
    let served = Served::start_with(|options| {
        options.dialer = Some(Arc::new(wires));
        options.kubelets.simulated = Some("made:///");
    });
    let create = |path: &str, body: Value| {
        let (status, _, text) =
            served.admin(&format!("POST {path}"), &["content-type: application/json"], &body.to_string());
        assert_eq!(status, 201, "{text}");
    };
    let put = |path: &str, body: Value| {
        let patch = ["content-type: application/merge-patch+json"];
        let (status, _, text) = served.admin(&format!("PATCH {path}/status"), &patch, &body.to_string());
        assert_eq!(status, 200, "{text}");
    };
    create("/api/v1/nodes", json!({"metadata": {"name": "n"}}));
    let addresses = json!([{"type": "InternalIP", "address": NODE}]);
    put(
        "/api/v1/nodes/n",
        json!({"status": {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}}),
    );
    create("/api/v1/nodes", json!({"metadata": {"name": "made"}, "spec": {"providerID": "made:///zone/i-1"}}));
    put("/api/v1/nodes/made", json!({"status": {"addresses": addresses}}));
    create("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}}));
    let container = |name: &str| json!({"name": name, "image": "i", "ports": [{"name": "web", "containerPort": 8080}]});
    let pod = |name: &str, node: &str, containers: Value| json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"nodeName": node, "containers": containers}});
    let pods = "/api/v1/namespaces/default/pods";
    create(pods, pod("one", "n", json!([container("c")])));
    create(pods, pod("p", "n", json!([container("a"), container("b")])));
    create(pods, pod("homeless", "", json!([container("c")])));
    create(pods, pod("lost", "gone", json!([container("c")])));
    create(pods, pod("unreal", "made", json!([container("c")])));
    put(&format!("{pods}/unreal"), json!({"status": {"podIP": "10.0.1.8", "podIPs": [{"ip": "10.0.1.8"}]}}));
    put(&format!("{pods}/one"), json!({"status": {"podIP": POD, "podIPs": [{"ip": POD}]}}));
    let ports = json!([{"name": "web", "port": 80, "targetPort": "web"}]);
    create(
        "/api/v1/namespaces/default/services",
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}),
    );
    create(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        json!({
            "metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": [POD], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "one", "namespace": "default"}}],
            "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
        }),
    );
    kubelet.lock().unwrap().clear();
    Bench { served, kubelet, backend }
}

/// Upgrades a connection to the API server, says something and reads what comes back until it ends.
fn upgraded(bench: &Bench, line: &str, headers: &[&str], say: &[u8]) -> (String, String) {
    let mut stream = bench.served.connect(Some(&bench.served.admin));
    let mut request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let answer = head(&mut stream).to_lowercase();
    if !answer.starts_with("http/1.1 101") {
        return (answer, String::new());
    }
    stream.write_all(say).unwrap();
    let mut heard = vec![0; "hello ".len() + say.len()];
    stream.read_exact(&mut heard).unwrap();
    stream.write_all(b"bye").unwrap();
    let mut rest = Vec::new();
    // The backend has ended it, so that the server does.
    let _ = stream.read_to_end(&mut rest);
    heard.extend(rest);
    (answer, String::from_utf8_lossy(&heard).into_owned())
}

#[test]
fn bytes_of_upgraded_connections_go_both_ways() {
    let bench = bench();
    let pod = "/api/v1/namespaces/default/pods/one";
    let spdy = ["upgrade: SPDY/3.1", "x-stream-protocol-version: v4.channel.k8s.io", "content-length: 0"];
    let socket = [
        "upgrade: websocket",
        "sec-websocket-key: a",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: v5.channel.k8s.io",
    ];
    let cases = [
        (
            format!("POST {pod}/exec?command=echo&command=a+b&stdout=true&stderr=false&container=c"),
            &spdy[..],
            "POST /exec/default/one/c?command=echo&command=a+b&output=1 ",
        ),
        (
            format!("GET {pod}/exec?command=sh&stdin=1&tty=true"),
            &socket,
            "GET /exec/default/one/c?command=sh&input=1&tty=1 ",
        ),
        (format!("POST {pod}/attach?stdout=true"), &spdy, "POST /attach/default/one/c?output=1 "),
        (format!("POST {pod}/portforward?ports=8080"), &spdy, "POST /portForward/default/one?port=8080 "),
        ("GET /api/v1/nodes/n/proxy/run?x=y".to_owned(), &socket, "GET /run?x=y "),
    ];
    for (line, headers, expected) in cases {
        let (answer, heard) = upgraded(&bench, &line, headers, b"some bytes");
        assert!(answer.starts_with("http/1.1 101 ") && answer.contains(&headers[0].to_lowercase()), "{line}: {answer}");
        assert_eq!(heard, "hello SOME BYTES", "{line}");
        let sent = bench.kubelet.lock().unwrap().pop().unwrap();
        assert!(sent.starts_with(expected), "{line}: {sent}");
        let sent = sent.to_lowercase();
        assert!(sent.contains(&headers[1].to_lowercase()) && sent.contains("x-forwarded-for: 127.0.0.1"), "{sent}");
    }
}

#[test]
fn what_cannot_be_streamed_is_refused() {
    let bench = bench();
    let pods = "/api/v1/namespaces/default/pods";
    let upgrade = ["connection: upgrade", "upgrade: SPDY/3.1"];
    let nobody = "the nodes and pods of this cluster are simulated by Minato and answer no connections";
    let cases: [(String, &[&str], u16, &str); 17] = [
        (format!("POST {pods}/unreal/exec?command=a"), &upgrade, 503, nobody),
        (format!("POST {pods}/unreal/exec?container=x"), &upgrade, 400, "container x is not valid for pod unreal"),
        (format!("GET {pods}/unreal/log"), &[], 503, nobody),
        (format!("GET {pods}/unreal/proxy/"), &[], 503, nobody),
        ("GET /api/v1/nodes/made:8080/proxy/".to_owned(), &[], 503, nobody),
        (format!("POST {pods}/one/exec?command=a"), &[], 400, "Upgrade request required"),
        (
            format!("POST {pods}/p/exec?command=a"),
            &upgrade,
            400,
            "a container name must be specified for pod p, choose one of: [a b]",
        ),
        (format!("POST {pods}/p/exec?container=x"), &upgrade, 400, "container x is not valid for pod p"),
        (format!("POST {pods}/homeless/exec"), &upgrade, 400, "pod homeless does not have a host assigned"),
        (format!("POST {pods}/lost/exec"), &upgrade, 404, "nodes \\\"gone\\\" not found"),
        (format!("POST {pods}/none/exec"), &upgrade, 404, "pods \\\"none\\\" not found"),
        (format!("PUT {pods}/one/exec"), &upgrade, 405, "the server does not allow this method"),
        (format!("GET {pods}/p/log"), &[], 400, "choose one of: [a b]"),
        (format!("GET {pods}/p/log?container=b"), &[], 400, "no such logs"),
        (
            format!("GET {pods}/one/log?tailLines=-1"),
            &[],
            422,
            "PodLogOptions \\\"one\\\" is invalid: tailLines: Invalid value: -1",
        ),
        (
            format!("GET {pods}/one:9/proxy/"),
            &[],
            503,
            "error trying to reach service: dial tcp 10.0.1.7:9: connect: connection refused",
        ),
        (
            "GET /api/v1/namespaces/default/services/web:81/proxy/".to_owned(),
            &[],
            503,
            "no service port 81 found for service \\\"web\\\"",
        ),
    ];
    for (line, headers, status, message) in cases {
        let (own, _, body) = bench.served.admin(&line, headers, "");
        assert!(own == status && body.contains(message), "{line}: {own} {body}");
    }
}

#[test]
fn logs_and_requests_are_passed_on() {
    let bench = bench();
    let pods = "/api/v1/namespaces/default/pods";
    let (status, head, body) = bench.served.admin(&format!("GET {pods}/one/log?follow=true&tailLines=2"), &[], "");
    assert!(
        status == 200 && head.contains("content-type: text/plain") && body.contains("one\n") && body.contains("two\n"),
        "{head} {body}"
    );
    let sent = bench.kubelet.lock().unwrap().pop().unwrap();
    assert!(sent.starts_with("GET /containerLogs/default/one/c?follow=true&tailLines=2 "), "{sent}");
    assert_eq!(bench.served.admin(&format!("GET {pods}/homeless/log"), &[], "").0, 200);
    let services = "/api/v1/namespaces/default/services";
    let cases = [
        (format!("GET {pods}/one/proxy/a%2Fb/?watch=true&limit=x"), "GET /a%2Fb/?watch=true&limit=x "),
        (format!("GET {services}/web:80/proxy/"), "GET / "),
        (format!("PUT {services}/http:web:web/proxy/x"), "PUT /x "),
        ("DELETE /api/v1/nodes/n:8080/proxy/x".to_owned(), "DELETE /x "),
        (format!("OPTIONS {services}/web:80/proxy/x"), "OPTIONS /x "),
    ];
    for (line, expected) in cases {
        let (status, head, body) = bench.served.admin(&line, &["authorization: nothing", "x-remote-user: root"], "");
        assert!(status == 200 && body == "body" && !head.contains("access-control"), "{line}: {status} {head}");
        let sent = bench.backend.lock().unwrap().pop().unwrap();
        assert!(sent.starts_with(expected), "{line}: {sent}");
        let sent = sent.to_lowercase();
        assert!(
            !sent.contains("authorization")
                && !sent.contains("x-remote-user")
                && sent.contains("x-forwarded-uri: /api/v1/"),
            "{sent}"
        );
        let prefix = line.split(' ').nth(1).unwrap().split("/proxy").next().unwrap();
        assert!(head.contains(&format!("location: {prefix}/proxy/elsewhere")), "{head}");
    }
    let (status, head, _) = bench.served.admin(&format!("GET {services}/web:80/proxy?x=y"), &[], "");
    assert!(
        status == 301 && head.contains("location: /api/v1/namespaces/default/services/web:80/proxy/?x=y"),
        "{head}"
    );
}

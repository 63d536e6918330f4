//! Clients that ask for more than anybody needs, or leave the server waiting: they get upstream's statuses, and cost no more than a
//! limit. What floods of frames and clients that do not read do to connections is tested in `serve`.

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use serve::{Body, Limits, Peer};
use support::http::{CLIENT, ask, send, with_names};
use support::tls::Served;
use support::{Cluster, with_options};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MEGABYTE: usize = 1 << 20;

/// What a client starts to read.
async fn open(cluster: &Cluster, path: &str) -> Body {
    let request = Request::get(path).header("authorization", "Bearer user:admin").body(serve::empty()).unwrap();
    let peer = Arc::new(Peer { address: (CLIENT, 4711).into(), certificates: Vec::new(), tls: false });
    let response = cluster.server.handler().handle(&peer, request).await;
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// The next line of a watch.
async fn event(body: &mut Body) -> Value {
    let frame = body.frame().await.expect("the watch goes on").unwrap();
    let bytes = frame.into_data().unwrap();
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    serde_json::from_slice(line).unwrap()
}

async fn create(cluster: &Cluster, name: &str, data: &str) {
    let body = json!({"metadata": {"name": name}, "data": {"k": data}}).to_string();
    let answer = ask(cluster, "admin", &format!("POST {CONFIG_MAPS}"), &[], &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn a_body_that_does_not_come_ends_with_the_time_of_its_request() {
    with_options(with_names, |cluster| async move {
        let began = cluster.world.elapsed();
        for (line, seconds) in [
            (format!("POST {CONFIG_MAPS}?timeout=2s"), 2),
            (format!("PATCH {CONFIG_MAPS}/x"), 62),
            (format!("DELETE {CONFIG_MAPS}/x"), 122),
        ] {
            let mut first = Some(Bytes::from_static(b"{"));
            let body = serve::stream(move |_| match first.take() {
                Some(bytes) => Poll::Ready(Some(Ok(bytes))),
                None => Poll::Pending,
            });
            let headers = ["authorization: Bearer user:admin", "content-type: application/merge-patch+json"];
            let headers = if line.starts_with("PATCH") { &headers[..] } else { &headers[..1] };
            let answer = send(&cluster, &line, headers, body).await;
            assert_eq!((answer.status, &answer.json()["reason"]), (504, &json!("Timeout")), "{line}");
            assert_eq!((cluster.world.elapsed() - began).as_secs(), seconds, "{line}, on virtual time");
        }
    });
}

#[test]
fn thousands_of_watches_see_a_change_and_leave_nothing() {
    with_options(with_names, |cluster| async move {
        let open_watches = async || {
            let page = ask(&cluster, "admin", "GET /metrics", &[], "").await.text();
            let of_maps =
                |line: &&str| line.starts_with("apiserver_longrunning_requests") && line.contains("configmaps");
            page.lines().filter(of_maps).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
        };
        let mut watches = Vec::new();
        for number in 0..3_000 {
            let query = ["", "&fieldSelector=metadata.name%3Da", "&labelSelector=!x"][number % 3];
            watches.push(open(&cluster, &format!("{CONFIG_MAPS}?watch=1{query}")).await);
        }
        assert_eq!(open_watches().await, 3_000.0);
        create(&cluster, "a", "v").await;
        for watch in &mut watches {
            assert_eq!(event(watch).await["object"]["metadata"]["name"], "a");
        }
        drop(watches);
        assert_eq!(open_watches().await, 0.0);
    });
}

#[test]
fn a_watcher_that_does_not_read_is_told_to_list_again() {
    with_options(with_names, |cluster| async move {
        let mut lazy = open(&cluster, &format!("{CONFIG_MAPS}?watch=1")).await;
        let mut eager = open(&cluster, &format!("{CONFIG_MAPS}?watch=1")).await;
        // More than the history that is kept for watchers.
        let data = "x".repeat(MEGABYTE - 1_000);
        create(&cluster, "m", &data).await;
        event(&mut eager).await;
        for number in 0..40 {
            let patch = json!({"data": {"n": number.to_string()}}).to_string();
            let headers = ["content-type: application/merge-patch+json"];
            let answer = ask(&cluster, "admin", &format!("PATCH {CONFIG_MAPS}/m"), &headers, &patch).await;
            assert_eq!(answer.status, 200);
            assert_eq!(event(&mut eager).await["type"], "MODIFIED");
        }
        let told = event(&mut lazy).await;
        assert_eq!((&told["type"], &told["object"]["code"]), (&json!("ERROR"), &json!(410)), "{told}");
        assert!(lazy.frame().await.is_none(), "and that is the end");
        create(&cluster, "n", "v").await;
        assert_eq!(event(&mut eager).await["object"]["metadata"]["name"], "n", "others go on");
    });
}

#[test]
fn two_thousand_pages_of_one_are_the_list() {
    with_options(with_names, |cluster| async move {
        const COUNT: usize = 2_000;
        for number in 0..COUNT {
            create(&cluster, &format!("m{number:05}"), "v").await;
        }
        let (mut token, mut names) = (String::new(), Vec::new());
        loop {
            let path = format!("GET {CONFIG_MAPS}?limit=1&continue={token}");
            let page = ask(&cluster, "admin", &path, &[], "").await.json();
            names.push(page["items"][0]["metadata"]["name"].as_str().unwrap().to_owned());
            let rest = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
            assert_eq!(names.len() + rest as usize, COUNT, "the list is that of its first page");
            match page["metadata"]["continue"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
            // What happens meanwhile is not in it.
            if names.len() == 10 {
                create(&cluster, "z", "v").await;
                ask(&cluster, "admin", &format!("DELETE {CONFIG_MAPS}/m01000"), &[], "").await;
            }
        }
        assert_eq!(names, (0..COUNT).map(|number| format!("m{number:05}")).collect::<Vec<_>>());
    });
}

#[test]
fn selectors_of_thousands_of_terms_select() {
    with_options(with_names, |cluster| async move {
        create(&cluster, "a", "v").await;
        let labels: Vec<String> = (0..2_000).map(|number| format!("!k{number}")).collect();
        let values: Vec<String> = (0..2_000).map(|number| format!("v{number}")).collect();
        let fields: Vec<String> = (0..2_000).map(|number| format!("metadata.name!=n{number}")).collect();
        for (selector, count) in [
            (format!("labelSelector={}", labels.join(",")), 1),
            (format!("labelSelector=k+in+({})", values.join(",")), 0),
            (format!("labelSelector=k+notin+({})", values.join(",")), 1),
            (format!("fieldSelector={}", fields.join(",")), 1),
        ] {
            let answer = ask(&cluster, "admin", &format!("GET {CONFIG_MAPS}?{selector}"), &[], "").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["items"].as_array().map(Vec::len), Some(count), "{}", &selector[..40]);
        }
    });
}

/// Reads an answer from a connection that may be cut behind it: status and body.
fn answer(stream: &mut impl Read) -> (u16, String) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[test]
fn a_hundred_megabytes_are_refused_before_they_are_read() {
    let limits = Limits { linger: Duration::from_secs(20), ..Limits::default() };
    let served = Served::start_limited(|_| {}, limits);
    let kinds = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
    let patches = ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"];
    let patches = patches.map(|patch| format!("application/{patch}"));
    let create = kinds.iter().map(|kind| (format!("POST {CONFIG_MAPS}"), (*kind).to_owned()));
    let patch = patches.into_iter().map(|kind| (format!("PATCH {CONFIG_MAPS}/x?fieldManager=m"), kind));
    for (line, content_type) in create.chain(patch) {
        for length in [Some(100 * MEGABYTE), None] {
            let mut stream = served.connect(Some(&served.admin));
            let framing = match length {
                Some(length) => format!("content-length: {length}"),
                None => "transfer-encoding: chunked".to_owned(),
            };
            let head =
                format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            // What says its length is refused by that; what does not is read up to the limit, which is 3 MB.
            if length.is_none() {
                // And a little of it is still to come when it is refused.
                for bytes in [MEGABYTE, MEGABYTE, MEGABYTE, 200 << 10] {
                    let chunk = [format!("{bytes:x}\r\n").as_bytes(), &vec![b' '; bytes], b"\r\n"].concat();
                    stream.write_all(&chunk).unwrap();
                }
            }
            let (status, body) = answer(&mut stream);
            let told: Value = serde_json::from_str(&body).unwrap_or_default();
            let told = (status, &told["reason"]);
            assert_eq!(told, (413, &json!("RequestEntityTooLarge")), "{line} {content_type} {body}");
            let chunk = vec![b' '; MEGABYTE];
            stream.sock.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            let taken = (0..100).take_while(|_| stream.write_all(&chunk).is_ok()).count();
            assert!(taken < 100, "nobody reads the rest");
        }
    }
    assert_eq!(served.admin("GET /api/v1/namespaces/default", &[], "").0, 200);
}

#[test]
fn compressed_bodies_are_not_expanded() {
    // As upstream, which knows no encodings of bodies: it is not JSON.
    let served = Served::start();
    let bomb = "\u{1f}\u{8b}\u{8}\u{0}\u{0}\u{0}\u{0}\u{0}".repeat(100);
    let headers = ["content-type: application/json", "content-encoding: gzip"];
    assert_eq!(served.admin(&format!("POST {CONFIG_MAPS}"), &headers, &bomb).0, 400);
}

#[test]
fn heads_that_are_too_long_are_refused() {
    let served = Served::start();
    let selector = format!("/api/v1/pods?labelSelector={}", "a".repeat(100 << 10));
    let many: Vec<String> = (0..500).map(|number| format!("x-{number}: y")).collect();
    let long = format!("x: {}", "y".repeat(100 << 10));
    for (path, headers) in [
        (selector.as_str(), vec![]),
        ("/api/v1/pods", many.iter().map(String::as_str).collect()),
        ("/api/v1/pods", vec![long.as_str()]),
    ] {
        let mut stream = served.connect(Some(&served.admin));
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{}\r\n\r\n", headers.join("\r\n"));
        // It may be refused before its end.
        let _ = stream.write_all(head.as_bytes());
        let (status, _) = answer(&mut stream);
        assert!([414, 431].contains(&status), "{status}");
    }
}

#[test]
fn requests_that_are_sent_ahead_are_answered_in_order() {
    let served = Served::start();
    let mut stream = served.connect(Some(&served.admin));
    let paths = ["/api/v1/namespaces/default", "/nothing", "/api/v1/namespaces/kube-system"];
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let ahead: String = (0..300).map(|number| request(paths[number % 3])).collect();
    let last = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all((ahead + last).as_bytes()).unwrap();
    let mut answers = String::new();
    let _ = stream.read_to_string(&mut answers);
    let statuses: Vec<&str> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses.len(), 301);
    assert!(statuses.iter().take(300).enumerate().all(|(at, status)| *status == ["200", "404", "200"][at % 3]));
}

#[test]
fn handshakes_that_stall_end() {
    let limits = Limits { handshake_timeout: Duration::from_millis(50), connections: 1, ..Limits::default() };
    let served = Served::start_limited(|_| {}, limits);
    // Nothing, and the beginning of a ClientHello. Each has the only place until its time is up.
    for begin in [&b""[..], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]] {
        let mut socket = std::net::TcpStream::connect(served.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(begin).unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
    assert_eq!(served.admin("GET /api/v1/namespaces/default", &[], "").0, 200);
}

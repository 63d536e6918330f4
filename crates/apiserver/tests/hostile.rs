//! Requests that nobody means well with: whatever comes, the answer is the client's error, the server goes on, and nothing grows
//! without a limit.

mod support;

use serde_json::json;
use support::http::{ask, send, with_names};
use support::{Cluster, with_options};
use world::World;

const PODS: &str = "/api/v1/namespaces/default/pods";
const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"100m"}}}]}}"#;

/// Sends a body as a type; every status but an internal error will do.
async fn survives(cluster: &Cluster, line: &str, content_type: &str, body: Vec<u8>) {
    let header = format!("content-type: {content_type}");
    let headers = ["authorization: Bearer user:admin", header.as_str()];
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    let answer = send(cluster, line, &headers, serve::full(body)).await;
    // Upstream has 500 without a reason for strategic patches that contradict themselves.
    let upstreams = content_type.contains("strategic") && answer.json().get("reason").is_none();
    assert!(answer.status < 500 || upstreams, "{line} {content_type} {shown}: {} {}", answer.status, answer.text());
}

#[test]
fn deep_and_wide_bodies_are_the_clients_error() {
    with_options(with_names, |cluster| async move {
        let deep = |open: &str, close: &str, count: usize| {
            format!("{}{}", open.repeat(count), close.repeat(count)).into_bytes()
        };
        let line = format!("POST {PODS}");
        for count in [100, 1_000, 100_000] {
            survives(&cluster, &line, "application/json", deep("[", "]", count)).await;
            survives(&cluster, &line, "application/json", deep(r#"{"a":"#, "}", count)).await;
            survives(&cluster, &line, "application/yaml", deep("[", "]", count)).await;
            survives(&cluster, &line, "application/yaml", deep("{a: ", "}", count)).await;
        }
        let wide = (0..100_000).map(|n| format!(r#""k{n}":"v""#)).collect::<Vec<_>>().join(",");
        let wide = format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"w","labels":{{{wide}}}}}}}"#);
        survives(&cluster, &line, "application/json", wide.into_bytes()).await;
        // Nine levels of nine aliases: a billion strings if it were written out.
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let alias = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
        }
        let answer = ask(&cluster, "admin", &line, &["content-type: application/yaml"], &bomb).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        let nulls = "PATCH /api/v1/namespaces/default";
        survives(&cluster, nulls, "application/merge-patch+json", deep(r#"{"a":"#, "}", 50_000)).await;
    });
}

#[test]
fn a_body_over_the_limit_is_refused_without_reading_it() {
    with_options(with_names, |cluster| async move {
        let mut chunks = 0;
        let body = serve::stream(move |_| {
            chunks += 1;
            // A megabyte at a time, without an end.
            assert!(chunks < 10, "what is too long is not read on");
            std::task::Poll::Ready(Some(Ok(vec![b' '; 1 << 20].into())))
        });
        let answer = send(&cluster, &format!("POST {PODS}"), &["authorization: Bearer user:admin"], body).await;
        assert_eq!((answer.status, &answer.json()["reason"]), (413, &json!("RequestEntityTooLarge")));
        let answer = ask(&cluster, "admin", &format!("GET {PODS}"), &[], "").await;
        assert_eq!(answer.status, 200);
    });
}

/// Changes, cuts, doubles and swaps bytes of what is right.
fn mutate(world: &World, text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..=world.below(4) {
        let at = world.below(bytes.len().max(1) as u64) as usize;
        let end = (at + world.below(12) as usize).min(bytes.len());
        match world.below(6) {
            0 if !bytes.is_empty() => bytes[at] = world.below(256) as u8,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => drop(bytes.splice(at..end, *b"null")),
            _ => drop(bytes.splice(at..at, *b"-1e9")),
        }
    }
    bytes
}

#[test]
fn damaged_bodies_and_patches_are_the_clients_error() {
    with_options(with_names, |cluster| async move {
        ask(
            &cluster,
            "admin",
            "POST /api/v1/namespaces/default/serviceaccounts",
            &[],
            r#"{"metadata":{"name":"default"}}"#,
        )
        .await;
        ask(&cluster, "admin", &format!("POST {PODS}"), &[], POD).await;
        let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: y, labels: {a: b}}\nspec:\n  containers:\n  - &c {name: c, image: i}\n";
        let proto = b"k8s\0\n\x0b\n\x02v1\x12\x05Event\x12\x30\n\x1c\n\x01e\x12\x00\x1a\x07default\x22\x00*\x002\x008\0B\0\x12\x06\n\x03Pod\x12\x00\x1a\x00";
        let json_patch = r#"[{"op":"add","path":"/metadata/labels/x","value":"y"},{"op":"test","path":"/metadata/name","value":"p"},{"op":"move","from":"/metadata/labels/a","path":"/metadata/labels/b"}]"#;
        let strategic = r#"{"spec":{"containers":[{"name":"c","image":"j","$patch":"replace"}],"$setElementOrder/containers":[{"name":"c"}]}}"#;
        let create = format!("POST {PODS}");
        let patch = format!("PATCH {PODS}/p");
        let update = format!("PUT {PODS}/p");
        let delete = format!("DELETE {PODS}/none");
        let options = r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background","preconditions":{"uid":"x"}}"#;
        let cases: [(&str, &str, &[u8]); 9] = [
            (&create, "application/json", POD.as_bytes()),
            (&create, "application/yaml", yaml.as_bytes()),
            ("POST /api/v1/namespaces/default/events", "application/vnd.kubernetes.protobuf", proto),
            (&update, "application/json", POD.as_bytes()),
            (&patch, "application/json-patch+json", json_patch.as_bytes()),
            (&patch, "application/merge-patch+json", strategic.as_bytes()),
            (&patch, "application/strategic-merge-patch+json", strategic.as_bytes()),
            (&delete, "application/json", options.as_bytes()),
            (
                "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                "application/json",
                br#"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}"#,
            ),
        ];
        for (line, content_type, body) in cases {
            for _ in 0..150 {
                survives(&cluster, line, content_type, mutate(&cluster.world, body)).await;
            }
        }
    });
}

#[test]
fn damaged_paths_and_queries_are_the_clients_error() {
    with_options(with_names, |cluster| async move {
        let lines: [&[u8]; 6] = [
            b"/api/v1/namespaces/default/pods?labelSelector=a%20in%20(b,c),!d,e%21=f&limit=2&continue=eyJ2IjoibWV0YSJ9",
            b"/api/v1/pods?fieldSelector=spec.nodeName%3Dn,metadata.name!=x&resourceVersion=5&resourceVersionMatch=Exact",
            b"/apis/apps/v1/namespaces/default/deployments/x/scale?fieldManager=m&dryRun=All&pretty=true",
            b"/api/v1/namespaces/default/pods?watch=1&timeoutSeconds=1&resourceVersion=0&sendInitialEvents=true&allowWatchBookmarks=1",
            b"/openapi/v3/apis/apps/v1?hash=ABC",
            b"/readyz?verbose&exclude=etcd",
        ];
        for line in lines {
            for _ in 0..200 {
                let mutated = mutate(&cluster.world, line);
                let text: String =
                    mutated.iter().map(|byte| if byte.is_ascii_graphic() { *byte as char } else { '%' }).collect();
                let text = format!("/{}", text.trim_start_matches('/'));
                if text.parse::<http::Uri>().is_err() {
                    continue;
                }
                let answer = ask(&cluster, "admin", &format!("GET {text}"), &[], "").await;
                // Upstream takes it for its own mistake that a revision is no number.
                let no_revision =
                    answer.json()["message"].as_str().is_some_and(|told| told.starts_with("resourceVersion: "));
                assert!(answer.status < 500 || answer.status == 504 || no_revision, "{text}: {}", answer.text());
            }
        }
        let accepts = ["application/json;as=Table;v=v1;g=meta.k8s.io", "application/yaml, */*;q=0.1"];
        for accept in accepts {
            for _ in 0..100 {
                let mutated = mutate(&cluster.world, accept.as_bytes());
                let text: String =
                    mutated.iter().filter(|byte| byte.is_ascii_graphic()).map(|byte| *byte as char).collect();
                let answer = ask(&cluster, "admin", &format!("GET {PODS}"), &[&format!("accept: {text}")], "").await;
                assert!(answer.status < 500, "{text}: {}", answer.text());
            }
        }
    });
}

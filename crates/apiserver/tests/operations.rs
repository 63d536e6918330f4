//! What operators see of the server: metrics, health, the queues, and how it turns clients away.

mod support;

use http::Request;
use k8s_object::resources;
use serde_json::{Value, json};
use support::http::{ask, send, with_names};
use support::{Cluster, with_options};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn metrics(cluster: &Cluster) -> String {
    let answer = ask(cluster, "admin", "GET /metrics", &[], "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

#[test]
fn requests_are_counted_as_upstream_counts_them() {
    with_options(with_names, |cluster| async move {
        let map = r#"{"metadata": {"name": "a"}}"#;
        let maps = "/api/v1/namespaces/default/configmaps";
        for (line, body, status) in [
            (format!("POST {maps}?dryRun=All"), map, 201),
            (format!("POST {maps}"), map, 201),
            (format!("GET {maps}/a"), "", 200),
            (format!("GET {maps}"), "", 200),
            (format!("GET {maps}/b"), "", 404),
            (format!("GET {PODS}"), "", 200),
            ("GET /api/v1/pods".to_owned(), "", 200),
            ("GET /api/v1/nothings".to_owned(), "", 404),
            ("GET /readyz".to_owned(), "", 200),
        ] {
            assert_eq!(ask(&cluster, "admin", &line, &[], body).await.status, status, "{line}");
        }
        let page = metrics(&cluster).await;
        let of = |verb: &str, code: u16, dry_run: &str, resource: &str, scope: &str| {
            format!(
                r#"apiserver_request_total{{code="{code}",component="apiserver",dry_run="{dry_run}",group="",resource="{resource}",scope="{scope}",subresource="",verb="{verb}",version="v1"}} 1"#
            )
        };
        for expected in [
            of("POST", 201, "All", "configmaps", "resource"),
            of("POST", 201, "", "configmaps", "resource"),
            of("GET", 200, "", "configmaps", "resource"),
            of("GET", 404, "", "configmaps", "resource"),
            of("LIST", 200, "", "configmaps", "namespace"),
            of("LIST", 200, "", "pods", "namespace"),
            of("LIST", 200, "", "pods", "cluster"),
            r#"apiserver_request_total{code="200",component="",dry_run="",group="",resource="",scope="",subresource="/readyz",verb="GET",version=""} 1"#.to_owned(),
            r#"apiserver_storage_objects{resource="configmaps"} "#.to_owned(),
            r#"apiserver_storage_objects{resource="deployments.apps"} 0"#.to_owned(),
            r#"kubernetes_healthcheck{name="etcd",type="readyz"} 1"#.to_owned(),
            r#"kubernetes_build_info{"#.to_owned(),
            r#"apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"} "#.to_owned(),
            r#"apiserver_current_inflight_requests{request_kind="readOnly"} 1"#.to_owned(),
            r#"authentication_attempts{result="success"} "#.to_owned(),
        ] {
            assert!(page.contains(&expected), "{expected}\nin\n{page}");
        }
        assert!(!page.contains("nothings"), "what there is not has no series");
        assert!(!page.contains("process_"), "a simulated run does not depend on the machine");
    });
}

#[test]
fn the_page_is_well_formed() {
    with_options(with_names, |cluster| async move {
        let page = metrics(&cluster).await;
        let (mut last, mut kind) = (String::new(), String::new());
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let name = help.split(' ').next().unwrap().to_owned();
                assert!(name > last, "{name} after {last}");
                last = name;
            } else if let Some(text) = line.strip_prefix("# TYPE ") {
                let (name, of) = text.split_once(' ').unwrap();
                assert_eq!(name, last);
                assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
                kind = of.to_owned();
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let base = if kind == "histogram" {
                    ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap()
                } else {
                    name
                };
                assert_eq!(base, last, "{line}");
                let value = line.rsplit(' ').next().unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    });
}

#[test]
fn only_who_may_sees_metrics() {
    with_options(with_names, |cluster| async move {
        for path in ["/metrics", "/metrics/slis", "/debug/api_priority_and_fairness/dump_requests"] {
            assert_eq!(ask(&cluster, "jane", &format!("GET {path}"), &[], "").await.status, 403, "{path}");
            assert_eq!(send(&cluster, &format!("GET {path}"), &[], serve::empty()).await.status, 401, "{path}");
        }
    });
}

#[test]
fn what_components_ask_counts_and_what_is_stored_has_a_size() {
    with_options(with_names, |cluster| async move {
        let client = cluster.admin();
        let size = async || -> f64 {
            let page = metrics(&cluster).await;
            let line = page
                .lines()
                .find_map(|line| line.strip_prefix(r#"apiserver_storage_size_bytes{storage_cluster_id="etcd-0"} "#));
            line.unwrap().parse().unwrap()
        };
        let before = size().await;
        assert!(before > 0.0);
        let map = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(4096)}});
        client.create(&resources::CONFIG_MAPS, "default", map).await.unwrap();
        client.get(&resources::CONFIG_MAPS, "default", "a").await.unwrap();
        client.get(&resources::CONFIG_MAPS, "default", "b").await.unwrap_err();
        client.list(&resources::CONFIG_MAPS, "default").await.unwrap();
        let page = metrics(&cluster).await;
        for (verb, code, scope) in
            [("POST", 201, "resource"), ("GET", 200, "resource"), ("GET", 404, "resource"), ("LIST", 200, "namespace")]
        {
            let expected = format!(
                r#"apiserver_request_total{{code="{code}",component="apiserver",dry_run="",group="",resource="configmaps",scope="{scope}",subresource="",verb="{verb}",version="v1"}} 1"#
            );
            assert!(page.contains(&expected), "{expected}\nin\n{page}");
        }
        let grown = size().await - before;
        assert!((4096.0..6000.0).contains(&grown), "{grown}");
    });
}

#[test]
fn indicators_are_the_health_checks() {
    with_options(with_names, |cluster| async move {
        assert_eq!(ask(&cluster, "admin", "GET /livez?verbose", &[], "").await.status, 200);
        let page = ask(&cluster, "admin", "GET /metrics/slis", &[], "").await;
        let text = page.text();
        for expected in [
            r#"kubernetes_healthcheck{name="etcd",type="livez"} 1"#,
            r#"kubernetes_healthcheck{name="shutdown",type="readyz"} 1"#,
            r#"kubernetes_healthchecks_total{name="etcd",status="success",type="livez"} 1"#,
        ] {
            assert!(text.contains(expected), "{expected}\nin\n{text}");
        }
        assert!(!text.contains("apiserver_request_total") && !text.contains(r#"name="shutdown",type="livez""#));
    });
}

#[test]
fn health_is_told_check_by_check() {
    with_options(with_names, |cluster| async move {
        let cases = [
            ("/livez", 200, "ok"),
            ("/livez/etcd", 200, "ok"),
            ("/livez/shutdown", 404, "404 page not found\n"),
            ("/readyz/shutdown", 200, "ok"),
            ("/readyz/poststarthook/rbac/bootstrap-roles", 200, "ok"),
            ("/readyz/poststarthook/start-apiextensions-controllers", 200, "ok"),
            ("/readyz/none", 404, "404 page not found\n"),
        ];
        for (path, status, text) in cases {
            let answer = ask(&cluster, "admin", &format!("GET {path}"), &[], "").await;
            assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path}");
        }
        let line = "GET /readyz?verbose&exclude=etcd&exclude=b&exclude=a";
        let text = send(&cluster, line, &[], serve::empty()).await.text();
        assert!(text.starts_with("[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n[+]etcd-readiness ok\n"), "{text}");
        let end = "[+]shutdown ok\nwarn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nreadyz check passed\n";
        assert!(text.ends_with(end), "{text}");
        let server = cluster.server.clone();
        cluster.tasks.shutdown(std::time::Duration::from_secs(1)).await;
        assert!(!server.is_ready());
        let answer = send(&cluster, "GET /readyz", &[], serve::empty()).await;
        assert_eq!(answer.status, 500);
        assert!(answer.text().ends_with("[-]shutdown failed: reason withheld\nreadyz check failed\n"));
        assert_eq!(send(&cluster, "GET /livez", &[], serve::empty()).await.status, 200, "it lives until it is gone");
    });
}

#[test]
fn the_queues_can_be_looked_at() {
    with_options(with_names, |cluster| async move {
        let dump = |table: &'static str| {
            let cluster = &cluster;
            async move {
                let line = format!("GET /debug/api_priority_and_fairness/{table}");
                ask(cluster, "admin", &line, &[], "").await
            }
        };
        let levels = dump("dump_priority_levels").await.text();
        assert!(
            levels.starts_with("PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests,"),
            "{levels}"
        );
        assert!(levels.contains("\nexempt,"), "{levels}");
        let requests = dump("dump_requests?includeRequestDetails=1").await.text();
        // The request that asks is one of them.
        assert!(requests.contains("/debug/api_priority_and_fairness/dump_requests"), "{requests}");
        assert_eq!(dump("dump_queues").await.status, 200);
        assert_eq!(dump("dump_nothing").await.status, 404);
        assert_eq!(ask(&cluster, "admin", "GET /debug/pprof/heap", &[], "").await.status, 404);
    });
}

#[test]
fn a_watch_is_long_running_until_its_client_goes() {
    with_options(with_names, |cluster| async move {
        let request = Request::get(format!("{PODS}?watch=1")).header("authorization", "Bearer user:admin");
        let peer = serve::Peer { address: (support::http::CLIENT, 1).into(), certificates: Vec::new(), tls: false };
        let peer = std::sync::Arc::new(peer);
        let response = cluster.server.handler().handle(&peer, request.body(serve::empty()).unwrap()).await;
        let place = r#"{component="apiserver",group="",resource="pods",scope="namespace",subresource="",verb="WATCH",version="v1"}"#;
        let open = format!("apiserver_longrunning_requests{place}");
        assert!(metrics(&cluster).await.contains(&format!("{open} 1\n")));
        drop(response);
        let page = metrics(&cluster).await;
        assert!(page.contains(&format!("{open} 0\n")), "{page}");
        assert!(page.contains(
            r#"dry_run="",group="",resource="pods",scope="namespace",subresource="",verb="WATCH",version="v1"} 1"#
        ));
    });
}

#[test]
fn every_answer_says_how_it_was_classified_and_audited() {
    with_options(with_names, |cluster| async move {
        let answer = ask(&cluster, "admin", &format!("GET {PODS}"), &["audit-id: mine"], "").await;
        assert_eq!(answer.header("audit-id"), "mine");
        assert!(answer.headers.contains_key("x-kubernetes-pf-flowschema-uid"));
        assert!(answer.headers.contains_key("x-kubernetes-pf-prioritylevel-uid"));
        let answer = send(&cluster, &format!("GET {PODS}"), &[], serve::empty()).await;
        assert_eq!((answer.status, answer.header("audit-id").len()), (401, 36));
        let answer = ask(&cluster, "admin", &format!("GET {PODS}?timeout=soon"), &[], "").await;
        let message = r#"invalid timeout specified in the request URL - time: invalid duration "soon""#;
        assert_eq!((answer.status, &answer.json()["message"]), (400, &Value::from(message)));
    });
}

#[test]
fn a_request_that_takes_too_long_is_told_so() {
    with_options(with_names, |cluster| async move {
        // A body that never comes.
        let body = serve::stream(|_| std::task::Poll::Pending);
        let line = format!("POST {PODS}?timeout=5s");
        let answer = send(&cluster, &line, &["authorization: Bearer user:admin"], body).await;
        assert_eq!((answer.status, &answer.json()["reason"]), (504, &Value::from("Timeout")));
        // So clients tell it in words of their own.
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.json()["message"], "Timeout: request did not complete within the allotted timeout");
        assert_eq!(cluster.world.elapsed(), std::time::Duration::from_secs(5));
    });
}

#[test]
fn what_is_deprecated_is_counted_when_it_is_asked_for() {
    with_options(with_names, |cluster| async move {
        assert!(!metrics(&cluster).await.contains("apiserver_requested_deprecated_apis{"));
        assert_eq!(ask(&cluster, "admin", "GET /api/v1/endpoints", &[], "").await.status, 200);
        let expected = r#"apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1"#;
        let page = metrics(&cluster).await;
        assert!(page.contains(expected), "{page}");
    });
}

#[test]
fn pages_about_the_server_are_served_from_their_minor_on() {
    const FORM: &str = "accept: application/json;as=Statusz;g=config.k8s.io;v=v1beta1";
    for (minor, status) in [(35, 404), (36, 200)] {
        let options = move |options: &mut apiserver::Options| {
            with_names(options);
            options.minor = minor;
        };
        with_options(options, |cluster| async move {
            for path in ["/statusz", "/flagz"] {
                let answer = ask(&cluster, "admin", &format!("GET {path}"), &[], "").await;
                assert_eq!(answer.status, status, "{path} in 1.{minor}");
                assert_eq!(ask(&cluster, "jane", &format!("GET {path}"), &[], "").await.status, 403);
                let told = ask(&cluster, "admin", "GET /", &[], "").await.json();
                let listed = told["paths"].as_array().unwrap().contains(&Value::from(path));
                assert_eq!(listed, status == 200, "{path} in 1.{minor}");
            }
            if status == 200 {
                let told = ask(&cluster, "admin", "GET /statusz", &[FORM], "").await.json();
                assert_eq!((&told["kind"], &told["apiVersion"]), (&"Statusz".into(), &"config.k8s.io/v1beta1".into()));
                assert!(told["paths"].as_array().unwrap().contains(&"/livez".into()), "{told}");
                let flags = ask(&cluster, "admin", "GET /flagz", &[], "").await.text();
                assert!(flags.contains("service-cluster-ip-range: 172.20.0.0/16\n"), "{flags}");
                let plain = ask(&cluster, "admin", "GET /statusz", &["accept: application/json"], "").await;
                assert_eq!(plain.status, 406, "a form must be named");
            }
        });
    }
}

//! What a newcomer does, and sees.

use crate::harness::{Minato, have, text};

#[test]
fn a_first_cluster_runs_a_deployment() {
    if !have(&["kubectl"]) {
        return;
    }
    let minato = Minato::up(&[]);
    let nodes = minato.json("kubectl", &["get", "nodes", "-o", "json"]);
    let nodes = nodes["items"].as_array().expect("a list of nodes");
    assert_eq!(nodes.len(), 2);
    for node in nodes {
        let ready =
            node["status"]["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "Ready");
        assert_eq!(ready.unwrap()["status"], "True");
        assert_eq!(node["status"]["capacity"]["pods"], "29", "an m5.large has addresses for 29 pods");
        assert_eq!(node["metadata"]["labels"]["node.kubernetes.io/instance-type"], "m5.large");
        assert!(node["spec"]["providerID"].as_str().unwrap().starts_with("aws:///us-east-1"));
    }
    minato.ok("kubectl", &["create", "deployment", "web", "--image=nginx", "--replicas=3"]);
    let rollout = minato.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert!(rollout.contains("successfully rolled out"), "{rollout}");
    let table = minato.ok("kubectl", &["get", "pods", "-o", "wide"]);
    assert!(table.starts_with("NAME"), "{table}");
    assert_eq!(table.matches("Running").count(), 3, "{table}");
    minato.ok("kubectl", &["scale", "deployment/web", "--replicas=5"]);
    minato.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    minato.ok("kubectl", &["set", "image", "deployment/web", "nginx=nginx:2"]);
    minato.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    let images = minato.ok("kubectl", &["get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}"]);
    assert_eq!(images, ["nginx:2"; 5].join(" "));
    minato.ok("kubectl", &["rollout", "undo", "deployment/web"]);
    minato.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    minato.ok("kubectl", &["expose", "deployment/web", "--port=80"]);
    minato.ok(
        "kubectl",
        &[
            "wait",
            "--for=jsonpath={.endpoints[4]}",
            "endpointslice",
            "-l",
            "kubernetes.io/service-name=web",
            "--timeout=60s",
        ],
    );
    minato.ok("kubectl", &["delete", "deployment/web", "service/web", "--wait"]);
    minato.ok("kubectl", &["wait", "--for=delete", "pod", "--all", "--timeout=60s"]);
}

#[test]
fn manifests_are_applied_and_custom_resources_take_the_same_path() {
    if !have(&["kubectl"]) {
        return;
    }
    let minato = Minato::up(&[]);
    let crd = minato.file("crd.yaml", include_str!("crd.yaml"));
    minato.ok("kubectl", &["apply", "-f", &crd]);
    minato.ok("kubectl", &["wait", "--for=condition=Established", "crd/boats.harbour.example.com", "--timeout=60s"]);
    let boat = minato.file(
        "boat.yaml",
        "apiVersion: harbour.example.com/v1\nkind: Boat\nmetadata: {name: one}\nspec: {berths: 4}\n",
    );
    assert!(minato.ok("kubectl", &["apply", "-f", &boat]).contains("created"));
    assert!(minato.ok("kubectl", &["apply", "-f", &boat]).contains("unchanged"));
    let table = minato.ok("kubectl", &["get", "bt"]);
    assert!(table.lines().next().unwrap().contains("BERTHS"), "{table}");
    assert_eq!(
        minato.json("kubectl", &["get", "boat/one", "-o", "json"])["spec"]["colour"],
        "white",
        "the schema's default"
    );
    minato.ok("kubectl", &["scale", "boat/one", "--replicas=7"]);
    assert_eq!(minato.ok("kubectl", &["get", "boat/one", "-o", "jsonpath={.spec.berths}"]), "7");
    let wrong = minato.fails("kubectl", &["patch", "boat/one", "--type=merge", "-p", r#"{"spec":{"berths":-1}}"#]);
    assert!(wrong.contains("spec.berths"), "{wrong}");
    assert!(minato.ok("kubectl", &["explain", "boat.spec"]).contains("berths"));
    minato.ok("kubectl", &["delete", "-f", &crd]);
    let gone =
        minato.fails("kubectl", &["get", "boats", "--cache-dir", &minato.home().join("fresh").display().to_string()]);
    assert!(gone.contains("the server doesn't have a resource type"), "{gone}");
}

#[test]
fn the_region_is_shown_and_stops() {
    let minato = Minato::up(&["--nodes", "3", "--cluster", "first"]);
    let status = minato.json("minato", &["status", "--json"]);
    let cluster = &status["clusters"][0];
    assert_eq!(
        (&cluster["name"], &cluster["nodes"], &cluster["readyNodes"]),
        (&"first".into(), &3.into(), &3.into()),
        "{status}"
    );
    assert!(minato.ok("minato", &["status"]).contains("first"));
    let again = minato.fails("minato", &["up"]);
    assert!(again.contains("already runs") && again.contains("minato down"), "{again}");
    minato.ok("minato", &["cluster", "create", "second", "--nodes", "1"]);
    let list = minato.ok("minato", &["cluster", "list"]);
    assert!(list.contains("first") && list.contains("second"), "{list}");
    minato.ok("minato", &["cluster", "delete", "second"]);
    assert!(!minato.ok("minato", &["cluster", "list"]).contains("second"));
    let printed = minato.ok("minato", &["kubeconfig", "first", "--print"]);
    assert!(printed.contains("exec") && !printed.contains("client-key"), "{printed}");
    let unknown = minato.fails("minato", &["kubeconfig", "third"]);
    assert!(unknown.contains("No cluster found for name: third."), "{unknown}");
}

#[test]
fn a_killed_region_is_not_in_the_way_of_the_next() {
    let minato = Minato::up(&["--no-cluster"]);
    let status = std::fs::read_to_string(minato.home().join("region.json")).unwrap();
    let pid = serde_json::from_str::<serde_json::Value>(&status).unwrap()["pid"].to_string();
    assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    while std::path::Path::new(&format!("/proc/{pid}/stat")).exists()
        && !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ")
    {
        std::thread::yield_now();
    }
    assert!(text(&minato.minato(&["status"])).contains("minato up"));
    let again = minato.minato(&["up", "--port", "0", "--no-cluster"]);
    assert!(again.status.success(), "{}", text(&again));
}

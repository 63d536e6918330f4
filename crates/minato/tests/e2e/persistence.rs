//! What a region knows outlives its process, however that ends; it can be saved to a file, and a cluster brought back to its past.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Minato, fails, have, kill, scratch, succeeds, text};

/// `minato` with another home.
fn elsewhere(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minato"));
    command.arg("--home").arg(home).args(arguments);
    command
}

/// What must be the same after a restart: keys, addresses, the cluster, pods with their addresses.
fn facts(minato: &Minato) -> Value {
    let file = minato.region();
    let pods = "jsonpath={range .items[*]}{.metadata.uid} {.spec.nodeName} {.status.podIP} {.status.containerStatuses[0].restartCount} {.status.phase}{\"\\n\"}{end}";
    let nodes = "jsonpath={range .items[*]}{.metadata.uid} {.metadata.name} {.spec.providerID}{\"\\n\"}{end}";
    serde_json::json!({
        "keys": [file["access_key_id"], file["secret_access_key"], file["endpoint"], file["account"]],
        "cluster": minato.json("aws", &["eks", "describe-cluster", "--name", "minato", "--output", "json"]),
        "entries": minato.json("aws", &["eks", "list-access-entries", "--cluster-name", "minato", "--output", "json"]),
        "pods": minato.ok("kubectl", &["get", "pods", "-o", pods]),
        "nodes": minato.ok("kubectl", &["get", "nodes", "-o", nodes]),
        "settings": minato.ok("kubectl", &["get", "configmap", "settings", "-o", "jsonpath={.metadata.uid} {.data}"]),
        "kubeconfig": std::fs::read_to_string(minato.home().join("kubeconfig")).unwrap(),
    })
}

fn populate(minato: &Minato) {
    minato.ok("kubectl", &["create", "deployment", "web", "--image=nginx", "--replicas=3"]);
    minato.ok("kubectl", &["create", "configmap", "settings", "--from-literal=a=1"]);
    minato.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
}

#[test]
fn a_killed_region_is_the_same_afterwards() {
    if !have(&["aws", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&[]);
    populate(&minato);
    let user = minato.json("aws", &["iam", "create-user", "--user-name", "jane", "--output", "json"]);
    let arn = user["User"]["Arn"].as_str().unwrap();
    minato.ok("aws", &["eks", "create-access-entry", "--cluster-name", "minato", "--principal-arn", arn]);
    let token = minato.ok("kubectl", &["create", "token", "default", "--duration=1h"]);
    let before = facts(&minato);
    kill(&minato);
    let again = text(&minato.minato(&["up"]));
    assert!(again.contains("as it was, with cluster minato") && again.contains("2 nodes, 3 pods"), "{again}");
    assert_eq!(facts(&minato), before);
    let whoami = ["auth", "whoami", "--token", token.trim(), "-o", "jsonpath={.status.userInfo.username}"];
    assert_eq!(
        minato.ok("kubectl", &whoami),
        "system:serviceaccount:default:default",
        "an issued token is still valid"
    );
    minato.ok("kubectl", &["scale", "deployment/web", "--replicas=5"]);
    minato.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    minato.ok("kubectl", &["set", "image", "deployment/web", "nginx=nginx:2"]);
    minato.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);

    // In order, with another port in between, and back.
    let down = minato.ok("minato", &["down"]);
    assert!(down.contains("everything"), "{down}");
    let before = minato.home().join("store").display().to_string();
    let up = minato.ok("minato", &["up"]);
    assert!(up.contains("as it was") && up.contains(&before), "{up}");
    assert_eq!(minato.ok("kubectl", &["get", "pods", "--no-headers"]).matches("Running").count(), 5);
}

#[test]
fn data_has_one_user_and_belongs_to_one_region() {
    let minato = Minato::up(&["--no-cluster"]);
    let second = minato.fails("minato", &["up"]);
    assert!(second.contains("already runs") && second.contains("pid") && second.contains("minato down"), "{second}");
    let data = minato.home().join("store").display().to_string();
    let other = scratch();
    let taken = fails(elsewhere(&other, &["up", "--port", "0", "--data-dir", &data]));
    let home = minato.home().display().to_string();
    assert!(
        taken.contains(&data) && taken.contains("pid") && taken.contains(&home) && taken.contains("--data-dir"),
        "{taken}"
    );
    let status = minato.ok("minato", &["status"]);
    assert!(status.contains(&format!("data in {data}")) && status.contains("healthy"), "{status}");
    minato.ok("minato", &["down"]);
    for arguments in [["--account", "444455556666"], ["--region", "eu-west-1"]] {
        let refused = minato.fails("minato", &[&["up", "--port", "0"], &arguments[..]].concat());
        let about = ["region us-east-1 of account 111122223333", arguments[0], arguments[1], "--data-dir"];
        assert!(about.iter().all(|text| refused.contains(text)), "{refused}");
    }
    let file = minato.file("file", "");
    let unwritable = format!("{file}/data");
    let refused = minato.fails("minato", &["up", "--port", "0", "--data-dir", &unwritable]);
    assert!(refused.contains(&unwritable) && refused.contains("--ephemeral"), "{refused}");
    for (arguments, expected) in [
        (&["up", "--store", "mysql://a"][..], "etcd://HOST:PORT"),
        (&["up", "--ephemeral", "--data-dir", "x"], "cannot be used with"),
        (&["snapshot", "save", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["snapshot", "save", "x", "--data-dir", "/nowhere"], "there is no data in /nowhere"),
        (&["snapshot", "status", "/nowhere/file"], "/nowhere/file"),
        (&["snapshot", "status", &file], &file),
        (&["snapshot", "restore", "/nowhere/file", "--data-dir", "/tmp/minato-none"], "/nowhere/file"),
        (&["snapshot", "restore", &file], "only restored into an empty directory"),
        (&["cluster", "restore", "a", "--at", "5m"], "--replace"),
    ] {
        let refused = minato.fails("minato", arguments);
        assert!(refused.contains(expected), "{arguments:?}: {refused}");
    }
    let forgetful =
        minato.ok("minato", &["up", "--port", "0", "--no-cluster", "--ephemeral", "--account", "444455556666"]);
    assert!(forgetful.contains("forgets everything"), "{forgetful}");
    let down = minato.ok("minato", &["down"]);
    assert!(down.contains("gone"), "{down}");
    minato.ok("minato", &["up", "--port", "0"]);
    std::fs::remove_dir_all(other).unwrap();
}

/// A disk that breaks ends the region rather than let it answer what may not be there afterwards.
#[test]
fn a_region_ends_with_its_disk() {
    if !have(&["kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "0"]);
    // The files that are open live on without their directory, the next one cannot be made.
    std::fs::remove_dir_all(minato.home().join("store")).unwrap();
    let text_of = minato.file("large", &"x".repeat(900_000));
    let mut written = 0;
    while minato
        .command("kubectl", &["create", "configmap", &format!("c{written}"), "--from-file", &text_of])
        .output()
        .unwrap()
        .status
        .success()
    {
        written += 1;
        assert!(written < 100, "it notices");
    }
    let log = loop {
        let log = std::fs::read_to_string(minato.home().join("minato.log")).unwrap();
        if log.contains("has stopped") {
            break log;
        }
        std::thread::yield_now();
    };
    assert!(log.contains("minato up"), "{log}");
    while minato.minato(&["status"]).status.success() {
        std::thread::yield_now();
    }
    minato.ok("minato", &["up", "--port", "0"]);
}

#[test]
fn only_the_administrator_reads_or_replaces_everything() {
    if !have(&["aws"]) {
        return;
    }
    let minato = Minato::up(&["--no-cluster"]);
    minato.ok("aws", &["iam", "create-user", "--user-name", "jane"]);
    let policy = "arn:aws:iam::aws:policy/AdministratorAccess";
    minato.ok("aws", &["iam", "attach-user-policy", "--user-name", "jane", "--policy-arn", policy]);
    let keys = minato.json("aws", &["iam", "create-access-key", "--user-name", "jane", "--output", "json"]);
    let path = minato.home().join("region.json");
    let own = std::fs::read_to_string(&path).unwrap();
    let mut file: Value = serde_json::from_str(&own).unwrap();
    file["access_key_id"] = keys["AccessKey"]["AccessKeyId"].clone();
    file["secret_access_key"] = keys["AccessKey"]["SecretAccessKey"].clone();
    std::fs::write(&path, file.to_string()).unwrap();
    let target = minato.home().join("saved").display().to_string();
    assert!(minato.ok("minato", &["status"]).contains("no cluster"), "anybody may look");
    for arguments in [&["snapshot", "save", &target][..], &["cluster", "restore", "a", "--at", "1", "--replace"]] {
        let refused = minato.fails("minato", arguments);
        assert!(refused.contains("AccessDenied") && refused.contains("user/jane"), "{arguments:?}: {refused}");
    }
    assert!(!std::path::Path::new(&target).exists(), "nothing is left of a snapshot that failed");
    file["secret_access_key"] = "wrong".into();
    std::fs::write(&path, file.to_string()).unwrap();
    assert!(minato.fails("minato", &["snapshot", "save", &target]).contains("InvalidSignature"));
    std::fs::write(&path, own).unwrap();
}

#[test]
fn a_snapshot_starts_a_region_elsewhere() {
    if !have(&["aws", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&[]);
    populate(&minato);
    let file = minato.home().join("saved").display().to_string();
    let said = minato.ok("minato", &["snapshot", "save", &file]);
    assert!(said.contains(&file) && said.contains("revision"), "{said}");
    minato.ok("kubectl", &["delete", "configmap", "settings"]);
    let status = minato.json("minato", &["snapshot", "status", &file, "--json"]);
    assert_eq!(status["clusters"], serde_json::json!(["minato"]));
    assert!(status["keys"].as_u64().unwrap() > 100 && status["revision"].as_i64().unwrap() > 100, "{status}");
    assert!(minato.ok("minato", &["snapshot", "status", &file]).contains("minato"));

    let truncated = minato.home().join("truncated").display().to_string();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&truncated, &whole[..whole.len() / 2]).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let flipped = minato.home().join("flipped").display().to_string();
    std::fs::write(&flipped, changed).unwrap();
    let other = scratch();
    for broken in [&truncated, &flipped] {
        for command in ["status", "restore"] {
            let refused = fails(elsewhere(&other, &["snapshot", command, broken]));
            assert!(refused.contains(broken.as_str()), "{refused}");
        }
    }
    let restored = succeeds(elsewhere(&other, &["snapshot", "restore", &file]));
    assert!(restored.contains("minato up"), "{restored}");
    assert!(fails(elsewhere(&other, &["snapshot", "restore", &file])).contains("empty directory"));
    succeeds(elsewhere(&other, &["up", "--port", "0"]));
    let kubeconfig = other.join("kubeconfig").display().to_string();
    let settings = ["--kubeconfig", &kubeconfig, "get", "configmap", "settings", "-o", "jsonpath={.data.a}"];
    let mut kubectl = minato.command("kubectl", &settings);
    kubectl.env_remove("AWS_ENDPOINT_URL").env("MINATO_HOME", &other);
    assert_eq!(succeeds(kubectl), "1");
    assert!(
        minato.fails("kubectl", &["get", "configmap", "settings"]).contains("NotFound"),
        "the other region is another"
    );
    succeeds(elsewhere(&other, &["down"]));

    // From the data of a region that does not run.
    let cold = other.join("cold").display().to_string();
    succeeds(elsewhere(&other, &["snapshot", "save", &cold]));
    let status = succeeds(elsewhere(&other, &["snapshot", "status", &cold]));
    assert!(status.contains("minato"), "{status}");
    std::fs::remove_dir_all(other).unwrap();
}

#[test]
fn a_cluster_is_brought_back_to_its_past() {
    if !have(&["aws", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "1"]);
    populate(&minato);
    let revision = minato.json("minato", &["status", "--json"])["store"]["revision"].to_string();
    minato.ok("kubectl", &["delete", "deployment/web", "configmap/settings", "--wait"]);
    minato.ok("kubectl", &["wait", "--for=delete", "pod", "--all", "--timeout=60s"]);
    let said = minato.ok("minato", &["cluster", "restore", "minato", "--at", &revision, "--as", "before"]);
    assert!(said.contains("before") && said.contains(&revision), "{said}");
    let of = |cluster: &str, arguments: &[&str]| minato.ok("kubectl", &[&["--context", cluster], arguments].concat());
    assert_eq!(of("before", &["get", "configmap", "settings", "-o", "jsonpath={.data.a}"]), "1");
    assert_eq!(of("before", &["get", "nodes", "--no-headers"]).matches(" Ready ").count(), 1);
    assert!(!of("minato", &["get", "configmaps"]).contains("settings"));
    for (arguments, expected) in [
        (&["minato", "--at", &revision, "--as", "before"][..], "Cluster already exists with name: before"),
        (&["none", "--at", &revision, "--replace"], "There was no cluster none"),
        (&["minato", "--at", "yesterday", "--replace"], "is no moment"),
        (&["minato", "--at", "30d", "--replace"], "is retained"),
        (&["minato", "--at", "4000000000", "--replace"], "does not exist: the store is at revision"),
    ] {
        let refused = minato.fails("minato", &[&["cluster", "restore"], arguments].concat());
        assert!(refused.contains(expected), "{arguments:?}: {refused}");
    }
    minato.ok("minato", &["cluster", "restore", "minato", "--at", &revision, "--replace"]);
    assert_eq!(of("minato", &["get", "configmap", "settings", "-o", "jsonpath={.data.a}"]), "1");
    of("minato", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    of("minato", &["scale", "deployment/web", "--replicas=4"]);
    of("minato", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    kill(&minato);
    minato.ok("minato", &["up"]);
    of("minato", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert_eq!(of("before", &["get", "configmap", "settings", "-o", "jsonpath={.data.a}"]), "1");
}

//! Two processes serve one region over a real etcd of three members, and one of them dies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Minato, have, kill, scratch, text};

/// Until etcd has elected a leader.
const PATIENCE: Duration = Duration::from_secs(30);

/// What this test waits for are other processes, which have no virtual time.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

/// A running etcd cluster; it ends when it is dropped.
struct Etcd {
    members: Vec<Child>,
    directory: PathBuf,
    url: String,
}

impl Etcd {
    fn start() -> Etcd {
        // Taken and given back: etcd opens its ports itself.
        let taken: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = taken.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(taken);
        let directory = scratch();
        let peers: Vec<String> = (0..3).map(|at| format!("m{at}=http://127.0.0.1:{}", ports[3 + at])).collect();
        let member = |at: usize| {
            let (client, peer) =
                (format!("http://127.0.0.1:{}", ports[at]), format!("http://127.0.0.1:{}", ports[3 + at]));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("m{at}")]).arg("--data-dir").arg(directory.join(format!("m{at}")));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("etcd can be run")
        };
        let members = (0..3).map(member).collect();
        let hosts: Vec<String> = ports[..3].iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let etcd = Etcd { members, directory, url: format!("etcd://{}", hosts.join(",")) };
        let begun = now();
        while !hosts.iter().all(|host| is_healthy(host)) {
            assert!(begun.elapsed() < PATIENCE, "etcd does not become healthy");
            std::thread::yield_now();
        }
        etcd
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn is_healthy(host: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(host) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(format!("GET /health HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes());
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(r#""health":"true""#)
}

/// Name, address and restarts of every pod.
fn pods(minato: &Minato) -> Vec<String> {
    let form = "jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.status.containerStatuses[0].restartCount} {.status.phase}{\"\\n\"}{end}";
    let mut pods: Vec<String> = minato.ok("kubectl", &["get", "pods", "-o", form]).lines().map(str::to_owned).collect();
    pods.sort();
    pods
}

#[test]
fn a_process_that_dies_is_replaced_by_the_other() {
    if !have(&["aws", "etcd", "kubectl"]) {
        return;
    }
    let etcd = Etcd::start();
    let first = Minato::up(&["--store", &etcd.url, "--no-cluster"]);
    let second = Minato::up(&["--store", &etcd.url, "--no-cluster"]);
    let (one, two) = (first.region(), second.region());
    for same in ["access_key_id", "secret_access_key", "account", "region"] {
        assert_eq!(one[same], two[same]);
    }
    assert_ne!(one["endpoint"], two["endpoint"]);
    let leader = |minato: &Minato| minato.json("minato", &["status", "--json"])["leader"].clone();
    assert_eq!((leader(&first), leader(&second)), (one["endpoint"].clone(), one["endpoint"].clone()));

    // Made through one, used through the other.
    first.ok("minato", &["cluster", "create", "blue", "--nodes", "2"]);
    let endpoint = |minato: &Minato| {
        let query = ["eks", "describe-cluster", "--name", "blue", "--query", "cluster.endpoint", "--output", "text"];
        minato.ok("aws", &query).trim().to_owned()
    };
    assert_ne!(endpoint(&first), endpoint(&second), "each tells its own");
    second.ok("minato", &["kubeconfig", "blue"]);
    second.ok("kubectl", &["create", "deployment", "web", "--image=nginx", "--replicas=3"]);
    second.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    let before = pods(&first);
    assert_eq!(before, pods(&second));
    assert!(before.len() == 3 && before.iter().all(|pod| pod.ends_with(" 0 Running")), "{before:?}");
    first.ok("kubectl", &["create", "configmap", "settings", "--from-literal=a=1"]);
    assert_eq!(second.ok("kubectl", &["get", "configmap", "settings", "-o", "jsonpath={.data.a}"]), "1");
    let user = ["iam", "create-access-key", "--user-name", "admin", "--output", "json"];
    let key = first.json("aws", &user)["AccessKey"].clone();
    let mut identity = second.command("aws", &["sts", "get-caller-identity"]);
    identity.env("AWS_ACCESS_KEY_ID", key["AccessKeyId"].as_str().unwrap());
    identity.env("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"].as_str().unwrap());
    let known = identity.output().unwrap();
    assert!(known.status.success(), "a key is good everywhere from its first moment: {}", text(&known));

    // A token that was made for the AWS endpoint of the first is good at the second's API server.
    let token = first.json("aws", &["eks", "get-token", "--cluster-name", "blue", "--output", "json"]);
    let token = token["status"]["token"].as_str().unwrap().to_owned();
    let whoami = ["auth", "whoami", "--token", &token, "-o", "jsonpath={.status.userInfo.uid}"];
    assert!(second.ok("kubectl", &whoami).starts_with("aws-iam-authenticator:"));

    kill(&first);
    let died = now();
    second.ok("kubectl", &["scale", "deployment/web", "--replicas=5"]);
    second.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    // That it takes less than five seconds is asserted where time is virtual: `region/tests/several.rs`.
    println!("replaced and rolled out after {:?}", died.elapsed());
    assert_eq!(leader(&second), two["endpoint"]);
    let after = pods(&second);
    assert!(after.len() == 5 && before.iter().all(|pod| after.contains(pod)), "{before:?} {after:?}");
    second.ok("minato", &["cluster", "create", "green", "--nodes", "1"]);

    // The one that died comes back, serves again, and takes over when the other stops in order.
    let up = ["up", "--port", "0", "--store", &etcd.url, "--no-cluster"];
    let again = first.minato(&up);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(leader(&first), two["endpoint"]);
    assert_eq!(pods(&first), after);
    second.ok("minato", &["down"]);
    let stopped = now();
    first.ok("kubectl", &["scale", "deployment/web", "--replicas=6"]);
    first.ok("kubectl", &["rollout", "status", "deployment/web", "--timeout=60s"]);
    println!("handed over and rolled out after {:?}", stopped.elapsed());
    assert_eq!(leader(&first), first.region()["endpoint"]);
    assert!(after.iter().all(|pod| pods(&first).contains(pod)));
    assert!(first.ok("minato", &["cluster", "list"]).contains("green"));
    // For the harness, which stops what it started.
    let again = second.minato(&up);
    assert!(again.status.success(), "{}", text(&again));
}

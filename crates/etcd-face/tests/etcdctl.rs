//! Debian's `etcdctl` works on the face of a store.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use etcd_face::Options;
use sha2::{Digest, Sha256};
use store::{Limits, Store};
use world::{Tasks, World};

/// A face on its own threads, and who talks to it.
struct Face {
    runtime: tokio::runtime::Runtime,
    endpoint: String,
    store: Store,
    world: World,
    _tasks: Tasks,
}

impl Face {
    /// None when there is no `etcdctl`, unless there must be one.
    fn start() -> Option<Face> {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join("etcdctl").is_file()));
        if !found {
            assert!(std::env::var_os("MINATO_REQUIRE_CLIENTS").is_none(), "etcdctl is not on the PATH");
            println!("skipped: etcdctl is not on the PATH");
            return None;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (world, store, tasks, endpoint) = runtime.block_on(async {
            let world = World::real();
            let store = Store::memory(&world, Limits::default());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let tasks = world.tasks("face");
            let server = etcd_face::start(store.clone(), listener, Options::default(), &tasks).unwrap();
            (world, store, tasks, server.address().to_string())
        });
        Some(Face { runtime, endpoint, store, world, _tasks: tasks })
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.endpoint)).args(arguments.split(' '));
        command
    }

    fn output(&self, arguments: &str, input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcdctl starts");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What a command that must succeed prints, lines joined by spaces.
    fn run(&self, arguments: &str) -> String {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &str, input: &str) -> String {
        let output = self.output(arguments, input);
        assert!(output.status.success(), "{arguments}: {output:?}");
        joined(&output.stdout)
    }

    /// The complaint of a command that must fail.
    fn refused(&self, arguments: &str) -> String {
        let output = self.output(arguments, "");
        assert!(!output.status.success(), "{arguments}: {output:?}");
        joined(&output.stderr)
    }
}

fn joined(text: &[u8]) -> String {
    String::from_utf8_lossy(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn keys_are_written_read_and_deleted() {
    let Some(face) = Face::start() else { return };
    let cases = [
        ("put a/1 one", "OK"),
        ("put a/2 two", "OK"),
        ("put b three", "OK"),
        ("put a/1 uno --prev-kv", "OK a/1 one"),
        ("get a/1", "a/1 uno"),
        ("get a/1 --rev=2", "a/1 one"),
        ("get a/ --prefix", "a/1 uno a/2 two"),
        ("get a/ --prefix --keys-only", "a/1 a/2"),
        ("get a/ --prefix --print-value-only", "uno two"),
        ("get a/ --prefix --limit=1", "a/1 uno"),
        ("get a/2 --from-key", "a/2 two b three"),
        ("get a c", "a/1 uno a/2 two b three"),
        ("get a/ --prefix --sort-by=MODIFY --order=ASCEND", "a/2 two a/1 uno"),
        ("get a/ --prefix --sort-by=VALUE --order=DESCEND", "a/1 uno a/2 two"),
        ("get a/ --prefix --order=DESCEND", "a/2 two a/1 uno"),
        ("get a/1 --consistency=s", "a/1 uno"),
        ("put a/1 --ignore-value", "OK"),
        ("get a/1", "a/1 uno"),
        ("del a/ --prefix --prev-kv", "2 a/1 uno a/2 two"),
        ("get a/ --prefix", ""),
        ("del b", "1"),
        ("del b", "0"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(face.run(arguments), expected, "{arguments}");
    }
    assert!(face.refused("put none --ignore-value").contains("key not found"));
    assert!(face.refused("get a --rev=1000").contains("required revision is a future revision"));
    let counted = face.run("get a --prefix --limit=1 --write-out=fields");
    assert!(counted.contains("\"More\" : false \"Count\" : 0"), "{counted}");
}

#[test]
fn transactions_compare_and_then_do() {
    let Some(face) = Face::start() else { return };
    face.run("put k one");
    let cases = [
        ("value(\"k\") = \"one\"\n\nput k two\nget k\n\nget k\n\n", "SUCCESS OK k two"),
        ("value(\"k\") = \"one\"\nversion(\"k\") > \"0\"\n\nput k three\n\nget k\n\n", "FAILURE k two"),
        ("mod(\"none\") = \"0\"\n\ndel k\nput l x\n\n\n", "SUCCESS 1 OK"),
    ];
    for (input, expected) in cases {
        assert_eq!(face.run_with("txn", input), expected, "{input}");
    }
    let twice = face.output("txn", "\nput k one\nput k two\n\n\n");
    assert!(joined(&twice.stderr).contains("duplicate key given in txn request"), "{twice:?}");
}

#[test]
fn leases_live_and_take_their_keys() {
    let Some(face) = Face::start() else { return };
    let granted = face.run("lease grant 100");
    let id = granted.split(' ').nth(1).unwrap();
    assert_eq!(granted, format!("lease {id} granted with TTL(100s)"));
    assert_eq!(face.run(&format!("put k v --lease={id}")), "OK");
    assert_eq!(face.run("put k w --ignore-lease"), "OK");
    assert_eq!(face.run("lease list"), format!("found 1 leases {id}"));
    let alive = face.run(&format!("lease timetolive {id} --keys"));
    assert!(alive.contains("granted with TTL(100s)") && alive.contains("attached keys([k])"), "{alive}");
    assert_eq!(face.run(&format!("lease keep-alive --once {id}")), format!("lease {id} keepalived with TTL(100)"));
    assert_eq!(face.run(&format!("lease revoke {id}")), format!("lease {id} revoked"));
    assert_eq!(face.run("get k"), "");
    assert_eq!(face.run(&format!("lease timetolive {id}")), format!("lease {id} already expired"));
    assert!(face.refused(&format!("put k v --lease={id}")).contains("requested lease not found"));
    // A lock is a lease, a transaction and a watch.
    assert_eq!(face.run("lock l echo locked"), "locked");
}

#[test]
fn history_ends_where_it_was_compacted() {
    let Some(face) = Face::start() else { return };
    for value in ["1", "2", "3"] {
        face.run(&format!("put k {value}"));
    }
    assert_eq!(face.run("compaction 3"), "compacted revision 3");
    assert_eq!(face.run("get k --rev=3"), "k 2");
    assert!(face.refused("get k --rev=2").contains("required revision has been compacted"));
    assert!(face.refused("compaction 3").contains("required revision has been compacted"));
    assert!(face.refused("watch k --rev=1").contains("required revision has been compacted"));
}

/// How long an event may take to be printed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An `etcdctl watch` and what it prints.
struct Watch {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(face: &Face, arguments: &str) -> Watch {
        let mut child = face.command(arguments).stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        face.world.spawn_thread("watch-lines", move || {
            printed.lines().map_while(Result::ok).take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Watch { child, lines }
    }

    fn next(&mut self, lines: usize) -> String {
        let lines: Vec<String> = (0..lines).map(|_| self.lines.recv_timeout(PATIENCE).unwrap()).collect();
        lines.join(" ")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watches_show_what_happened_and_what_happens() {
    let Some(face) = Face::start() else { return };
    face.run("put a/1 one");
    face.run("put b two");
    let mut watch = Watch::start(&face, "watch a/ --prefix --rev=1 --prev-kv");
    assert_eq!(watch.next(3), "PUT a/1 one");
    face.run("put a/1 uno");
    assert_eq!(watch.next(5), "PUT a/1 one a/1 uno");
    face.run("del a/1");
    assert_eq!(watch.next(5), "DELETE a/1 uno a/1 ");
    // Several watches on one stream, begun and ended as etcdctl is told.
    let mut many = Watch::start(&face, "watch -i");
    let mut input = many.child.stdin.take().unwrap();
    writeln!(input, "watch c --rev=1\nwatch d --rev=1").unwrap();
    face.run("put c 1");
    assert_eq!(many.next(3), "PUT c 1");
    face.run("put d 2");
    assert_eq!(many.next(3), "PUT d 2");
}

#[test]
fn a_member_tells_of_itself_and_refuses_what_it_does_not_do() {
    let Some(face) = Face::start() else { return };
    face.run("put k v");
    let status = face.run("endpoint status --write-out=json");
    for expected in [r#""version":"3.5.21""#, r#""revision":2"#, r#""raftTerm":1"#, r#""leader":"#] {
        assert!(status.contains(expected), "{expected}: {status}");
    }
    let healthy =
        joined(&face.output("endpoint health", "").stdout) + &joined(&face.output("endpoint health", "").stderr);
    assert!(healthy.contains("is healthy"), "{healthy}");
    let members = face.run("member list");
    assert!(members.contains("started, minato") && members.contains(&face.endpoint), "{members}");
    assert_eq!(face.run("alarm list"), "");
    let hash = face.run("endpoint hashkv");
    face.run("put k v");
    assert_ne!(face.run("endpoint hashkv"), hash);
    let cases = [
        ("defrag", "/etcdserverpb.Maintenance/Defragment"),
        ("member remove 1", "/etcdserverpb.Cluster/MemberRemove"),
        ("user add u:p", "/etcdserverpb.Auth/UserAdd"),
    ];
    for (arguments, method) in cases {
        let refused = face.refused(arguments);
        assert!(refused.contains(&format!("Minato does not support {method}")), "{arguments}: {refused}");
    }
}

#[test]
fn a_snapshot_is_saved_whole() {
    let Some(face) = Face::start() else { return };
    for i in 0..100 {
        face.run(&format!("put k{i} v"));
    }
    let directory = std::env::temp_dir().join(format!("minato-etcdctl-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("snapshot");
    let saved = face.output(&format!("snapshot save {}", path.display()), "");
    assert!(saved.status.success(), "{saved:?}");
    let mut bytes = std::fs::read(&path).unwrap();
    let sum = bytes.split_off(bytes.len() - 32);
    assert_eq!((bytes.len() % 512, sum), (0, Sha256::digest(&bytes).to_vec()));
    // Zeros fill the last page behind the store's own file.
    let own = face.runtime.block_on(async {
        let (mut reader, mut bytes) = (face.store.snapshot().await.unwrap(), 0);
        while let Some(blob) = reader.next().await.unwrap() {
            bytes += blob.len();
        }
        bytes
    });
    assert!(bytes.split_off(own).iter().all(|byte| *byte == 0));
    std::fs::write(&path, bytes).unwrap();
    let status = store::snapshot::status(&World::simulated(1).0, &path, &mut |_| {}).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!((status.revision, status.keys), (face.store.revision(), 100));
}

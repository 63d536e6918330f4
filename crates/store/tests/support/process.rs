//! Real members of etcd: child processes on free ports, with their data in a temporary directory.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether the tests may run. Without etcd they are skipped, unless they must not be.
pub fn found(binary: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(binary).is_file()));
    if !found {
        assert!(std::env::var_os("MINATO_REQUIRE_CLIENTS").is_none(), "{binary} is not on the PATH");
        println!("skipped: {binary} is not on the PATH");
    }
    found
}

/// A directory that goes away with its handle.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("minato-etcd-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One member.
pub struct Member {
    pub client_port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Member {
    pub fn start(&mut self) {
        let child = Command::new("etcd")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        self.child = Some(child);
    }

    /// Ends the process at once, whatever it is doing.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The certificates of an etcd that only speaks TLS.
pub struct Certificates<'a> {
    pub ca: &'a Path,
    pub certificate: &'a Path,
    pub key: &'a Path,
}

/// A cluster of `size` members, started.
pub struct Cluster {
    pub members: Vec<Member>,
    _directory: Directory,
}

impl Cluster {
    pub fn start(size: usize, certificates: Option<&Certificates<'_>>) -> Cluster {
        let directory = Directory::new();
        let free: Vec<TcpListener> = (0..2 * size).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(free);
        let (clients, peers) = ports.split_at(size);
        let peer = |i: usize| format!("http://127.0.0.1:{}", peers[i]);
        let cluster: Vec<String> = (0..size).map(|i| format!("m{i}={}", peer(i))).collect();
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let mut members: Vec<Member> = (0..size)
            .map(|i| {
                let client = format!("{scheme}://127.0.0.1:{}", clients[i]);
                let data = directory.0.join(format!("m{i}")).display().to_string();
                let cluster = cluster.join(",");
                let mut arguments: Vec<String> = [
                    ("name", format!("m{i}")),
                    ("data-dir", data),
                    ("listen-client-urls", client.clone()),
                    ("advertise-client-urls", client),
                    ("listen-peer-urls", peer(i)),
                    ("initial-advertise-peer-urls", peer(i)),
                    ("initial-cluster", cluster),
                    // Ten beats to an election, as by default; leases may then live for one second.
                    ("heartbeat-interval", "50".to_owned()),
                    ("election-timeout", "500".to_owned()),
                ]
                .map(|(name, value)| format!("--{name}={value}"))
                .to_vec();
                if let Some(certificates) = certificates {
                    arguments.push(format!("--trusted-ca-file={}", certificates.ca.display()));
                    arguments.push(format!("--cert-file={}", certificates.certificate.display()));
                    arguments.push(format!("--key-file={}", certificates.key.display()));
                    arguments.push("--client-cert-auth".to_owned());
                }
                Member { client_port: clients[i], arguments, child: None }
            })
            .collect();
        members.iter_mut().for_each(Member::start);
        Cluster { members, _directory: directory }
    }

    /// `127.0.0.1:port` of every member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("127.0.0.1:{}", member.client_port)).collect()
    }
}

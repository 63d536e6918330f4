//! `etcdctl` on the region's own store: with the certificate that lies in the home it sees everything, without it nothing.

use crate::harness::{Minato, have, text};

#[test]
fn etcdctl_reads_writes_and_saves_the_regions_store_with_its_certificate_only() {
    if !have(&["etcdctl", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--etcd-port", "0", "--nodes", "1"]);
    minato.ok("kubectl", &["create", "configmap", "settings", "--from-literal=a=1"]);
    let key = "/clusters/minato/registry/configmaps/default/settings";
    let stored = minato.ok("etcdctl", &["get", key, "--print-value-only"]);
    assert!(stored.contains(r#""a":"1""#), "{stored}");
    let names = minato.ok("etcdctl", &["get", "--prefix", "/clusters/minato/registry/namespaces/", "--keys-only"]);
    assert!(names.contains("/clusters/minato/registry/namespaces/kube-system"), "{names}");
    assert_eq!(minato.ok("etcdctl", &["put", "mine", "1"]).trim(), "OK");
    assert_eq!(minato.ok("etcdctl", &["get", "mine", "--print-value-only"]).trim(), "1");

    let mut stranger = minato.command("etcdctl", &["--command-timeout=2s", "get", key]);
    stranger.env_remove("ETCDCTL_CERT").env_remove("ETCDCTL_KEY");
    let refused = stranger.output().expect("etcdctl can be run");
    assert!(!refused.status.success() && !text(&refused).contains(r#""a":"1""#), "{}", text(&refused));
    let mut plain = minato.command("etcdctl", &["--command-timeout=2s", "get", key]);
    for name in ["ETCDCTL_CERT", "ETCDCTL_KEY", "ETCDCTL_CACERT"] {
        plain.env_remove(name);
    }
    plain.env("ETCDCTL_ENDPOINTS", minato.variable("ETCDCTL_ENDPOINTS").replace("https", "http"));
    assert!(!plain.output().expect("etcdctl can be run").status.success(), "nothing is served without TLS");

    let file = minato.home().join("saved").display().to_string();
    minato.ok("etcdctl", &["snapshot", "save", &file]);
    let status = minato.json("minato", &["snapshot", "status", &file, "--json"]);
    assert!(status.to_string().contains("minato"), "what etcdctl saved is a snapshot of Minato: {status}");
    let taken = minato.minato(&["up", "--port", "0", "--etcd-port", "0"]);
    assert!(!taken.status.success() && text(&taken).contains("a region already runs"), "{}", text(&taken));
}

//! The published Python client: typed and dynamic, with watches, informers and leader election.

use crate::harness::{Minato, have};

#[test]
fn the_python_client_works() {
    if !have(&["python3"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "1"]);
    let probe = minato.command("python3", &["-c", "import kubernetes"]).output().unwrap();
    if !probe.status.success() {
        assert!(std::env::var_os("MINATO_REQUIRE_CLIENTS").is_none(), "python3 has no kubernetes and must have it");
        println!("skipped: python3 has no kubernetes");
        return;
    }
    let script = minato.file("kubernetes_client.py", include_str!("kubernetes_client.py"));
    let seen = minato.ok("python3", &[&script]);
    let expected = ["objects", "patches", "watches", "custom_objects", "informers", "elections", "access"];
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

//! The published Python client: typed and dynamic, with watches, informers and leader election.

use crate::harness::Minato;

/// Where the client may be. It cannot live beside the AWS CLI: they want different versions of python-dateutil.
const PYTHONS: &[&str] = &["python3-kubernetes", "python3"];

#[test]
fn the_python_client_works() {
    let minato = Minato::up(&["--nodes", "1"]);
    let has = |python: &&&str| {
        let import = "from kubernetes.leaderelection.resourcelock import leaselock";
        minato.command(python, &["-c", import]).output().is_ok_and(|output| output.status.success())
    };
    let Some(python) = PYTHONS.iter().find(has) else {
        assert!(std::env::var_os("MINATO_REQUIRE_CLIENTS").is_none(), "none of {PYTHONS:?} has kubernetes 37");
        println!("skipped: none of {PYTHONS:?} has kubernetes 37");
        return;
    };
    let script = minato.file("kubernetes_client.py", include_str!("kubernetes_client.py"));
    let seen = minato.ok(python, &[&script]);
    let expected = ["objects", "patches", "watches", "custom_objects", "informers", "elections", "access"];
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

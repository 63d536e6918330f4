//! boto3 walks the EKS API: waiters, pagination, errors as exceptions.

use crate::harness::{Minato, have};

#[test]
fn boto3_walks_the_api() {
    if !have(&["python3"]) {
        return;
    }
    let minato = Minato::up(&["--no-cluster"]);
    let probe = minato.command("python3", &["-c", "import boto3"]).output().unwrap();
    if !probe.status.success() {
        assert!(std::env::var_os("MINATO_REQUIRE_CLIENTS").is_none(), "python3 has no boto3 and must have it");
        println!("skipped: python3 has no boto3");
        return;
    }
    let script = minato.file("walk.py", include_str!("walk.py"));
    let output = minato.ok("python3", &[&script]);
    assert!(output.contains("walked"), "{output}");
}

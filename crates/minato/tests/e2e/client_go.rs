//! A Go program with client-go: typed clients, informers, metadata and discovery, all in protobuf.

use std::process::Command;

use crate::harness::{Minato, have, text};

#[test]
fn a_go_program_works_in_protobuf() {
    if !have(&["go"]) {
        return;
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/client-go");
    let program = concat!(env!("CARGO_TARGET_TMPDIR"), "/client-go");
    let built = Command::new("go").args(["build", "-o", program, "."]).current_dir(folder).output();
    let built = built.expect("go can be run");
    assert!(built.status.success(), "{}", text(&built));
    let minato = Minato::up(&["--nodes", "0"]);
    let seen = minato.ok(program, &[]);
    assert_eq!(
        seen.lines().collect::<Vec<_>>(),
        ["objects", "deployments", "informers", "metadata", "discovery", "documents"]
    );
}

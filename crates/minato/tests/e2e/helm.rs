//! Helm with a chart that has what charts have: definitions, instances of them, hooks, a test, roles, a lookup.

use std::process::Command;

use crate::harness::{Minato, have, text};
use crate::transcript;

#[test]
fn helm_installs_upgrades_and_rolls_back() {
    if !have(&["go", "kubectl"]) {
        return;
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/helm");
    let program = concat!(env!("CARGO_TARGET_TMPDIR"), "/bin/helm");
    let mut build = Command::new("go");
    build.args(["build", "-o", program, "helm.sh/helm/v3/cmd/helm"]).current_dir(folder).env("CGO_ENABLED", "0");
    let built = build.output().expect("go can be run");
    assert!(built.status.success(), "{}", text(&built));
    let mut minato = Minato::up(&[]);
    minato.add_variable("CHART", format!("{folder}/chart"));
    minato.add_to_path(concat!(env!("CARGO_TARGET_TMPDIR"), "/bin"));
    let wrong = transcript::run(&minato, "helm", include_str!("helm.txt"));
    assert!(wrong.is_empty(), "{wrong}");
}

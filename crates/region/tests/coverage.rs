//! The generated coverage lists are true: docs/coverage holds exactly what the tables say, and docs/coverage.md has a row
//! for every requirement. `MINATO_UPDATE_GOLDEN=1 cargo test -p region --test coverage` rewrites the lists.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cloud_wire::{Name, Service};

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// Compares with the file, or rewrites it where that is asked for.
fn golden(name: &str, actual: &str) {
    let path = docs(name);
    if std::env::var_os("MINATO_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == actual, "{} is not what the tables say; MINATO_UPDATE_GOLDEN=1 rewrites it", path.display());
}

/// Names of the operations that have a handler.
fn handled(service: Name) -> BTreeSet<&'static str> {
    region::operations(service).into_iter().collect()
}

#[test]
fn the_list_of_aws_operations_is_true() {
    let mut text = String::from(
        "# AWS operations\n\nGenerated from the tables of operations. Everything that is not served answers `NotImplemented` and names itself.\n",
    );
    for name in Name::ALL {
        let service = Service::get(name);
        let handled = handled(name);
        let known = service.operations().iter().map(|operation| operation.name);
        let all: BTreeSet<&str> = known.chain(service.other_operations().iter().copied()).collect();
        // An operation whose shapes are not in the model cannot be reached, whatever handles it.
        let modelled: BTreeSet<&str> = service.operations().iter().map(|operation| operation.name).collect();
        let unreachable: Vec<_> = handled.difference(&modelled).collect();
        assert!(unreachable.is_empty(), "{name:?} handles operations that its model does not have: {unreachable:?}");
        let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        writeln!(text, "\n## {} ({} of {})\n", name.signing(), handled.len(), all.len()).unwrap();
        writeln!(text, "Served: {}.\n", list(handled.iter().copied().collect())).unwrap();
        let missing: Vec<&str> = all.difference(&handled).copied().collect();
        if name == Name::Ec2 {
            // Six hundred names of things that are not clusters' say nothing.
            writeln!(text, "Not served: the other {}.", missing.len()).unwrap();
        } else {
            writeln!(text, "Not served: {}.", list(missing)).unwrap();
        }
    }
    golden("coverage/aws-operations.md", &text);
}

#[test]
fn the_list_of_kinds_is_true() {
    let mut text = String::from(
        "# Kubernetes kinds\n\nGenerated from the table of built-in kinds.\n\n| group | version | kind | resource | since |\n|---|---|---|---|---|\n",
    );
    for kind in k8s_kinds::KINDS {
        let group = if kind.group.is_empty() { "core" } else { kind.group };
        writeln!(text, "| {group} | {} | {} | {} | 1.{} |", kind.version, kind.kind, kind.plural, kind.since).unwrap();
    }
    golden("coverage/kinds.md", &text);
}

#[test]
fn every_requirement_has_a_row_with_a_known_state() {
    const ROWS: &[(char, u32)] =
        &[('K', 8), ('E', 9), ('N', 8), ('V', 7), ('I', 3), ('S', 5), ('O', 3), ('D', 4), ('P', 5)];
    let text = std::fs::read_to_string(docs("coverage.md")).unwrap();
    for (letter, count) in ROWS {
        for number in 1..=*count {
            let row = text.lines().find(|line| line.starts_with(&format!("| {letter}{number} |")));
            let row = row.unwrap_or_else(|| panic!("docs/coverage.md has no row {letter}{number}"));
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 7, "{row}");
            assert!(matches!(cells[3], "works" | "part" | "no"), "{row}");
            assert!(cells[3] == "works" || cells[3] == "no" || !cells[5].is_empty(), "what is missing is named: {row}");
        }
    }
}

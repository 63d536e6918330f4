//! What the project does to itself: checks, generated tables, benchmarks. `cargo xtask` lists the tasks.

mod aws_models;
mod bench;
mod ci;
mod conformance;
mod integration;
mod k8s_models;
mod licences;
mod region;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// One task of `cargo xtask`.
struct Task {
    name: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> Result<()>,
}

/// All tasks, alphabetical.
static TASKS: &[Task] = &[
    Task {
        name: "aws-models",
        summary: "write the compact AWS service models from an installed botocore (--check compares)",
        run: aws_models::run,
    },
    Task {
        name: "bench",
        summary: "measure: clusters, etcd, idle, memory, pods, requests, store, up; each beside a limit of the machine",
        run: bench::run,
    },
    Task {
        name: "ci",
        summary: "every check that is not a test: format, clippy, licences, generated files",
        run: ci::run,
    },
    Task {
        name: "conformance",
        summary: "run Kubernetes' conformance tests, all or those that are named, against a fresh region",
        run: conformance::run,
    },
    Task {
        name: "integration",
        summary: "run Kubernetes' integration tests of a package against a fresh region",
        run: integration::run,
    },
    Task {
        name: "k8s-models",
        summary: "write the compact Kubernetes types from the published modules (--check compares)",
        run: k8s_models::run,
    },
    Task {
        name: "licences",
        summary: "check the licences of everything we link against deny.toml",
        run: licences::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        for task in TASKS {
            println!("cargo xtask {:<12} {}", task.name, task.summary);
        }
        return Ok(());
    };
    match TASKS.iter().find(|task| task.name == name) {
        Some(task) => (task.run)(rest),
        None => bail!("there is no task {name:?}; `cargo xtask` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::TASKS;

    #[test]
    fn tasks_are_alphabetical_and_explained() {
        assert!(TASKS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(TASKS.iter().all(|task| !task.summary.is_empty()));
    }
}

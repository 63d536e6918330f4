//! What people type and what they see, as files. A transcript is run line by line in a directory and a namespace of its own.
//!
//! ```text
//! # A comment, said again when something below it fails.
//! --- name.yaml             a file, up to the line `---`
//! $ kubectl get pods        a line for `sh`, in the environment that `minato env` prints
//! NAME                      a part of a line of its output; each is sought after the one before it
//! a … c                     with anything in between
//! = text                    the whole output; `=` alone for none
//! ! text                    nowhere in the output
//! [1]                       the code with which it ends, 0 where none is named
//! ```
//!
//! Output is what both standard output and standard error say. `$NAMESPACE` is the namespace, `$NODE_1` to `$NODE_3` are nodes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::Minato;

/// What is expected of one command.
#[derive(Debug, Default)]
struct Step {
    line: usize,
    about: String,
    command: String,
    files: Vec<(String, String)>,
    parts: Vec<String>,
    whole: Option<String>,
    absent: Vec<String>,
    code: i32,
}

/// Runs a transcript to its end and says all that was not as it should be; nothing if all was.
#[must_use]
pub fn run(minato: &Minato, name: &str, text: &str) -> String {
    let folder = minato.home().join(name);
    std::fs::create_dir_all(&folder).expect("the scratch directory can be written");
    let kubeconfig = folder.join("kubeconfig");
    std::fs::copy(minato.variable("KUBECONFIG"), &kubeconfig).expect("the region has a kubeconfig");
    let mut setup = in_shell(
        minato,
        &folder,
        "kubectl create namespace $NAMESPACE && kubectl config set-context --current --namespace=$NAMESPACE",
    );
    let output = setup.output().expect("sh can be run");
    assert!(output.status.success(), "{name}: {}", crate::harness::text(&output));
    let mut wrong = String::new();
    for step in parse(text) {
        for (file, contents) in &step.files {
            std::fs::write(folder.join(file), contents).expect("the scratch directory can be written");
        }
        let output = in_shell(minato, &folder, &step.command).output().expect("sh can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        for fault in step.faults(&said, output.status.code()) {
            let _ = writeln!(
                wrong,
                "{name}:{}: {}\n  $ {}\n  {fault}; it said:\n{said}",
                step.line, step.about, step.command
            );
        }
    }
    wrong
}

fn in_shell(minato: &Minato, folder: &Path, command: &str) -> Command {
    let mut shell = minato.command("sh", &["-c", &format!("exec 2>&1\n{command}")]);
    shell.current_dir(folder).stdin(Stdio::null()).env("KUBECONFIG", folder.join("kubeconfig"));
    shell.env("NAMESPACE", folder.file_name().expect("a folder has a name"));
    for (number, node) in minato.nodes().iter().enumerate() {
        shell.env(format!("NODE_{}", number + 1), node);
    }
    shell
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut about, mut files) = (String::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(command) = line.strip_prefix("$ ") {
            let files = std::mem::take(&mut files);
            let about = about.clone();
            steps.push(Step { line: number + 1, about, command: command.to_owned(), files, ..Step::default() });
        } else if let Some(file) = line.strip_prefix("--- ") {
            let contents: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "---").collect();
            files.push((file.trim().to_owned(), contents.join("\n") + "\n"));
        } else if let Some(comment) = line.strip_prefix('#') {
            comment.trim().clone_into(&mut about);
        } else if !line.trim().is_empty() {
            let step = steps.last_mut().unwrap_or_else(|| panic!("line {}: no command before it", number + 1));
            step.expect(line.trim());
        }
    }
    steps
}

impl Step {
    fn expect(&mut self, line: &str) {
        let code = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).and_then(|code| code.parse().ok());
        if let Some(code) = code {
            self.code = code;
        } else if let Some(whole) = line.strip_prefix("= ").or((line == "=").then_some("")) {
            self.whole = Some(whole.to_owned());
        } else if let Some(absent) = line.strip_prefix("! ") {
            self.absent.push(absent.to_owned());
        } else {
            self.parts.push(line.to_owned());
        }
    }

    fn faults(&self, said: &str, code: Option<i32>) -> Vec<String> {
        let mut faults = Vec::new();
        if code != Some(self.code) {
            faults.push(format!("it ended with {code:?} and not {}", self.code));
        }
        if let Some(whole) = self.whole.as_ref().filter(|whole| *whole != said.trim()) {
            faults.push(format!("it is not {whole:?}"));
        }
        let mut lines = said.lines();
        let missing = self.parts.iter().find(|part| !lines.any(|line| matches(line, part)));
        faults.extend(missing.map(|part| format!("there is no {part:?}, or not in this order")));
        let present = self.absent.iter().filter(|part| said.lines().any(|line| matches(line, part)));
        faults.extend(present.map(|part| format!("there is {part:?}")));
        faults
    }
}

/// Whether a line holds the pieces of a part, one after the other.
fn matches(line: &str, part: &str) -> bool {
    let mut rest = line;
    part.split('…').map(str::trim).all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[test]
fn transcripts_notice_what_is_wrong() {
    let text = "# about\n--- f\na\n---\n$ cat f\na … c\n! x\n[1]\n\n$ b\n= whole\n";
    let steps = parse(text);
    assert_eq!((steps.len(), steps[0].files[0].1.as_str(), steps[0].about.as_str()), (2, "a\n", "about"));
    for (said, code, faults) in [
        ("z\na b c\n", Some(1), 0),
        ("a\nc\n", Some(1), 1),
        ("a c\n", Some(0), 1),
        ("a c\nx\n", Some(1), 1),
        ("x", None, 3),
    ] {
        assert_eq!(steps[0].faults(said, code).len(), faults, "{said:?}");
    }
    assert_eq!(steps[1].faults("whole\n", Some(0)).len(), 0);
    assert_eq!(steps[1].faults("whole, or not\n", Some(0)).len(), 1);
    let silent = parse("$ x\n=\n");
    assert_eq!((silent[0].faults("", Some(0)).len(), silent[0].faults("a\n", Some(0)).len()), (0, 1));
    let order = parse("$ x\nb\na\n");
    assert_eq!((order[0].faults("b\na\n", Some(0)).len(), order[0].faults("a\nb\n", Some(0)).len()), (0, 1));
}

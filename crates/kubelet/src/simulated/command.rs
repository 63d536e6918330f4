//! What a container's command says about when and how it ends. Only what is certain: `sleep`, `true`, `false`, and shell
//! scripts that consist of `sleep`, `exit`, `echo`, `true` and `false`. Everything else says nothing.

use std::time::Duration;

/// How a process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) after: Duration,
    pub(super) code: i32,
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// The command does not tell.
    Unknown,
    RunsForever,
    Exits(Exit),
}

/// One word of a script after another; `None` when a statement is not understood.
enum Statement {
    Takes(Duration),
    Forever,
    Exits(i32),
    Fails,
}

fn statement(words: &[&str]) -> Option<Statement> {
    let seconds = |text: &str| -> Option<Duration> {
        let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
            Some(number) => (number, text.as_bytes()[number.len()]),
            None => (text, b's'),
        };
        let factor = match unit {
            b'm' => 60.0,
            b'h' => 3600.0,
            _ => 1.0,
        };
        Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()
    };
    Some(match words {
        ["sleep", "infinity" | "inf"] => Statement::Forever,
        ["sleep", time] => Statement::Takes(seconds(time)?),
        ["exit"] => Statement::Exits(0),
        ["exit", code] => Statement::Exits(code.parse().ok()?),
        ["true" | ":"] | ["echo", ..] => Statement::Takes(Duration::ZERO),
        ["false"] => Statement::Fails,
        _ => return None,
    })
}

/// What the words of a command line say.
pub(super) fn process(argv: &[&str]) -> Process {
    let script = match argv {
        [] => return Process::Unknown,
        ["sh" | "/bin/sh" | "bash" | "/bin/bash", "-c" | "-ec", script] => *script,
        ["/bin/sleep", time] => &format!("sleep {time}"),
        ["/bin/true" | "true"] => "true",
        ["/bin/false" | "false"] => "false",
        ["sleep", time] => &format!("sleep {time}"),
        _ => return Process::Unknown,
    };
    // Redirections, pipes, variables and the like can do anything.
    if script.contains(['|', '$', '`', '>', '<', '(', '{']) || script.replace("&&", "").contains('&') {
        return Process::Unknown;
    }
    let (mut after, mut code) = (Duration::ZERO, 0);
    for line in script.split([';', '\n']) {
        for part in line.split("&&").map(str::trim).filter(|part| !part.is_empty()) {
            match statement(&part.split_whitespace().collect::<Vec<_>>()) {
                None => return Process::Unknown,
                Some(Statement::Takes(time)) => (after, code) = (after + time, 0),
                Some(Statement::Forever) => return Process::RunsForever,
                Some(Statement::Exits(code)) => return Process::Exits(Exit { after, code }),
                Some(Statement::Fails) => {
                    code = 1;
                    break; // `&&` goes no further.
                }
            }
        }
    }
    Process::Exits(Exit { after, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_say_when_they_end_or_nothing() {
        let exits = |seconds, code| Process::Exits(Exit { after: Duration::from_secs(seconds), code });
        let cases: [(&[&str], Process); 13] = [
            (&[], Process::Unknown),
            (&["nginx"], Process::Unknown),
            (&["sleep", "3600"], exits(3600, 0)),
            (&["sleep", "1h"], exits(3600, 0)),
            (&["sleep", "infinity"], Process::RunsForever),
            (&["/bin/false"], exits(0, 1)),
            (&["sh", "-c", "echo hello; sleep 5; exit 3"], exits(5, 3)),
            (&["/bin/sh", "-c", "echo a && sleep 2"], exits(2, 0)),
            (&["sh", "-c", "false && sleep 9; sleep 1"], exits(1, 0)),
            (&["sh", "-c", "false && sleep 9"], exits(0, 1)),
            (&["sh", "-c", "sleep 1 & wait"], Process::Unknown),
            (&["sh", "-c", "while true; do sleep 1; done"], Process::Unknown),
            (&["sh", "-c", "exit $CODE"], Process::Unknown),
        ];
        for (argv, expected) in cases {
            assert_eq!(process(argv), expected, "{argv:?}");
        }
    }
}

//! Progress on standard error: a line per finished step, with how long it took.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use world::World;

/// Reports the steps of one command.
pub struct Progress {
    world: World,
    step_began: Duration,
    terminal: bool,
}

impl Progress {
    /// Starts the clock of the first step.
    pub fn new(world: &World) -> Progress {
        Progress { world: world.clone(), step_began: world.elapsed(), terminal: std::io::stderr().is_terminal() }
    }

    /// Says what takes time now. On a terminal the line is replaced by what comes next.
    pub fn begin(&mut self, what: &str) {
        self.step_began = self.world.elapsed();
        let mut stderr = std::io::stderr().lock();
        let (start, end) = if self.terminal { ("\r\x1b[2K", "") } else { ("", "\n") };
        // A terminal that went away is no reason to fail.
        let _ = write!(stderr, "{start}  … {what}{end}");
        let _ = stderr.flush();
    }

    /// The step is done.
    pub fn done(&mut self, what: &str) {
        let took = self.world.elapsed().saturating_sub(self.step_began);
        let start = if self.terminal { "\r\x1b[2K" } else { "" };
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{start}  ✓ {what:<62} {:>8}", human(took));
        self.step_began = self.world.elapsed();
    }
}

/// `12 ms`, `3.4 s`, `9 min`.
fn human(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{} ms", duration.as_millis()),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds => format!("{:.0} min", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (millis, text) in [(0, "0 ms"), (412, "412 ms"), (3400, "3.4 s"), (540_000, "9 min")] {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }
}

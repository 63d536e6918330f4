//! Every verb of kubectl that needs no running container, as transcripts in `kubectl/`.

use std::sync::Mutex;

use crate::harness::{Minato, have};
use crate::transcript;

/// Transcripts that run at the same time.
const AT_ONCE: usize = 3;

/// One transcript and the namespace that it has.
macro_rules! transcripts {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("kubectl/", $name, ".txt")))),*] };
}

/// Those that mind their own namespace.
const APART: &[(&str, &str)] =
    transcripts!("access" "apply" "create" "custom" "debug" "describe" "get" "objects" "server" "workloads");
/// Those that change what others see.
const ALONE: &[(&str, &str)] = transcripts!("nodes");

#[test]
fn every_verb_of_kubectl_works() {
    if !have(&["kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "3"]);
    let wrong = Mutex::new(String::new());
    let run = |(name, text): &(&str, &str)| {
        let faults = transcript::run(&minato, name, text);
        wrong.lock().expect("nobody panics with it").push_str(&faults);
    };
    std::thread::scope(|scope| {
        // As many at a time as keep a small machine busy while some of them wait.
        for part in 0..AT_ONCE {
            let mine = APART.iter().skip(part).step_by(AT_ONCE);
            let run = &run;
            scope.spawn(move || mine.for_each(run));
        }
    });
    ALONE.iter().for_each(run);
    let wrong = wrong.into_inner().expect("nobody panics with it");
    assert!(wrong.is_empty(), "{wrong}");
}

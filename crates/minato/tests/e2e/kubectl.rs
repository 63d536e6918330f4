//! Every verb of kubectl that needs no running container, as transcripts in `kubectl/`.

use crate::harness::{Minato, have};
use crate::transcript;

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
    std::thread::scope(|scope| {
        // As many at a time as keep a small machine busy while some of them wait.
        for part in 0..3 {
            let minato = &minato;
            let mine = APART.iter().skip(part).step_by(3);
            scope.spawn(move || mine.for_each(|(name, text)| transcript::run(minato, name, text)));
        }
    });
    for (name, text) in ALONE {
        transcript::run(&minato, name, text);
    }
}

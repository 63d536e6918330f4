//! Any choices of how to spoil a published object, its message, a patch and a schema: what is read, formed, patched and written
//! keeps its laws, or is refused with an error.

#![no_main]

#[path = "../../crates/k8s-schema/tests/laws/draw.rs"]
mod draw;
#[path = "../../crates/k8s-schema/tests/laws/hold.rs"]
mod hold;
#[path = "../../crates/k8s-schema/tests/laws/mutate.rs"]
mod mutate;
#[path = "../../crates/k8s-schema/tests/laws/published.rs"]
mod published;

use std::sync::OnceLock;

use draw::Draw;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Draws what the fuzzer wants; zeros at the end of its input.
struct Input<'a>(&'a [u8]);

impl Draw for Input<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let width = self.0.len().min(if bound <= 256 { 1 } else { 3 });
        let (taken, rest) = self.0.split_at(width);
        self.0 = rest;
        taken.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % bound.max(1)
    }
}

fuzz_target!(|data: &[u8]| {
    static BASE: OnceLock<(Vec<(Value, Vec<u8>)>, Value)> = OnceLock::new();
    let (objects, schema) = BASE.get_or_init(|| (published::objects(), published::definition_schema()));
    let mut input = Input(data);
    let (object, message) = &objects[input.below(objects.len())];
    hold::all(&mut input, object, message, schema);
});

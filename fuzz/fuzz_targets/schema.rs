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
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The numbers that the laws draw.
struct Choices<'a>(Input<'a>);

impl Draw for Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }
}

fuzz_target!(|data: &[u8]| {
    static BASE: OnceLock<(Vec<(Value, Vec<u8>)>, Value)> = OnceLock::new();
    let (objects, schema) = BASE.get_or_init(|| (published::objects(), published::definition_schema()));
    let mut input = Choices(Input(data));
    let (object, message) = &objects[input.below(objects.len())];
    hold::all(&mut input, object, message, schema);
});

//! Any text as an expression: it compiles or is refused, and has a value or an error within its limits.

#![no_main]

use cel::{Budget, CompileError, DeclType, EVERY_MINOR, Env, ListKind, MAX_CALL_COST, Val};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let strings = DeclType::list(DeclType::string(None), ListKind::Atomic, None);
    let env = Env::new(EVERY_MINOR).with_mutation().variable("self", DeclType::dynamic()).variable("l", strings);
    let program = match env.compile(text) {
        Ok(program) => program,
        Err(CompileError::Issues(issues)) => return assert!(!issues.list().is_empty(), "{text:?}"),
        Err(CompileError::Constant(_)) => return,
    };
    let object = json!({"a": {"b": [1, 2, {"c": "text"}]}, "l": vec!["x"; 50]});
    let mut budget = Budget::default();
    let before = budget.remaining();
    let _ = program.eval(&[("self", Val::from(&object)), ("l", Val::from(&object["l"]))], &mut budget);
    // The step that goes over the limit is the last.
    assert!(before - budget.remaining() <= 4 * MAX_CALL_COST, "{text:?}");
});

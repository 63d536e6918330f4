//! Expressions whose types, values, errors, estimates and costs were observed in upstream's environment of Kubernetes 1.34
//! (`*.jsonl`, one case a line; a bound of 2^64-1 is left out): of the language, of all libraries, and of texts that do not parse.

use std::sync::Arc;

use cel::{Budget, CompileError, DeclType, EVERY_MINOR, Env, ListKind, Map, Val};
use serde_json::{Value, json};

fn strings() -> Arc<DeclType> {
    DeclType::string(None)
}

fn env() -> Env {
    Env::new(EVERY_MINOR)
        .variable("d", DeclType::dynamic())
        .variable("i", DeclType::int())
        .variable("s", strings())
        .variable("l", DeclType::list(DeclType::int(), ListKind::Atomic, None))
        .variable("ls", DeclType::list(strings(), ListKind::Atomic, None))
        .variable("m", DeclType::map(strings(), None))
        .variable("dbl", DeclType::double())
        .variable("ts", DeclType::timestamp())
        .variable("dur", DeclType::duration())
}

fn variables() -> Value {
    json!({
        "d": {"a": {"b": [1, 2, 3]}, "n": null, "s": "text", "x-y": 1, "f": 1.5},
        "i": 5, "s": "hello", "l": [1, 2, 3], "m": {"a": "x", "b": "y"}, "ls": ["b", "a"], "dbl": 2.5,
    })
}

/// As cel-go's `types.Format` shows values.
fn show(value: &Val<'_>) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Val::Bool(value) => value.to_string(),
        Val::Bytes(bytes) => {
            let octal: String = bytes.as_slice().iter().map(|byte| format!("\\{byte:03o}")).collect();
            format!("b\"{octal}\"")
        }
        Val::Double(value) if value.fract() == 0.0 => format!("{value}.0"),
        Val::Double(value) => value.to_string(),
        Val::Duration(nanos) => format!("duration(\"{}s\")", *nanos as f64 / 1e9),
        Val::Int(value) => value.to_string(),
        Val::List(items) => format!("[{}]", list(items.iter().map(|item| show(&item.expect("item"))).collect())),
        Val::Map(map) => format!("{{{}}}", list(show_entries(map))),
        Val::Null => "null".to_owned(),
        Val::Optional(None) => "optional.none()".to_owned(),
        Val::Optional(Some(inner)) => format!("optional.of({})", show(inner)),
        Val::String(text) => format!("{:?}", text.as_str()).replace("\\'", "'"),
        Val::Timestamp(timestamp) => {
            let utc = jiff::Timestamp::from_second(timestamp.seconds()).expect("in range");
            format!("timestamp(\"{utc}\")")
        }
        Val::Type(ty) => ty.to_string(),
        Val::Uint(value) => format!("{value}u"),
        other => format!("{other:?}"),
    }
}

fn show_entries(map: &Map<'_>) -> Vec<String> {
    let entries = map.keys().into_iter().map(|key| {
        let text = key.as_str().map(str::to_owned);
        let value = text.and_then(|text| map.get(&text).expect("get"));
        format!("{}: {}", show(&key), value.map_or_else(String::new, |value| show(&value)))
    });
    entries.collect()
}

fn observe(env: &Env, variables: &[(&str, Val<'_>)], text: &str) -> Value {
    let program = match env.compile(text) {
        Ok(program) => program,
        Err(CompileError::Issues(issues)) => return json!({"issues": issues.to_string()}),
        Err(CompileError::Constant(problem)) => return json!({"program": problem}),
    };
    let estimate = program.cost_estimate();
    let mut budget = Budget::default();
    let before = budget.remaining();
    let value = program.eval(&variables, &mut budget);
    let mut seen = json!({"min": estimate.min, "cost": before - budget.remaining()});
    if estimate.max != u64::MAX {
        seen["max"] = estimate.max.into();
    }
    match value {
        Ok(value) => seen["value"] = show(&value).into(),
        Err(error) => seen["error"] = error.to_string().into(),
    }
    seen
}

#[test]
fn expressions_do_what_they_do_upstream() {
    let data = variables();
    let names = ["d", "i", "s", "l", "m", "ls", "dbl"];
    let variables: Vec<(&str, Val<'_>)> = names.iter().map(|name| (*name, Val::from(&data[*name]))).collect();
    let env = env();
    let cases =
        [include_str!("expressions.jsonl"), include_str!("libraries.jsonl"), include_str!("syntax.jsonl")].concat();
    let mut differences = Vec::new();
    let mut count = 0;
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).expect("a case is JSON");
        let text = case["expr"].as_str().expect("a case has an expression");
        let seen = observe(&env, &variables, text);
        count += 1;
        for field in ["issues", "program", "value", "error", "min", "max", "cost"] {
            if seen.get(field) != case.get(field) {
                differences.push(format!(
                    "{text}\n  {field}: {:?}\n  upstream: {:?}",
                    seen.get(field),
                    case.get(field)
                ));
            }
        }
    }
    assert!(count > 100, "{count} cases");
    assert!(differences.is_empty(), "{} differences in {count} cases:\n{}", differences.len(), differences.join("\n"));
}

//! Rules in CEL of custom resources: definitions and objects, with the errors that upstream 1.34 has for them
//! (`rules.jsonl`, one case a line).

use k8s_schema::{FieldError, Schema};
use serde_json::{Value, json};

fn texts(errors: Vec<FieldError>) -> Value {
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.sort();
    json!(texts)
}

#[test]
fn definitions_and_objects_are_judged_as_upstream_judges_them() {
    let cases = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules.jsonl"));
    let cases = cases.expect("the cases are beside this file");
    let mut differences = Vec::new();
    let mut count = 0;
    for (line, case) in cases.lines().enumerate() {
        let case: Value = serde_json::from_str(case).expect("a case is JSON");
        count += 1;
        let mut compare = |what: &str, seen: Value, expected: &Value| {
            if seen != *expected {
                let schema = &case["schema"]["properties"]["spec"];
                differences.push(format!("case {}: {what} of {schema}\n  {seen}\n  upstream: {expected}", line + 1));
            }
        };
        let schema = match Schema::from_crd_at("spec.validation.openAPIV3Schema", &case["schema"]) {
            Ok(schema) => {
                compare("definition", json!([]), &case["definition"]);
                schema
            }
            Err(errors) => {
                compare("definition", texts(errors), &case["definition"]);
                continue;
            }
        };
        let Some(object) = case.get("new") else { continue };
        let errors = match case.get("old") {
            Some(old) => schema.validate_update(object, old),
            None => schema.validate(object),
        };
        compare("object", texts(errors), &case["object"]);
    }
    assert!(count >= 70, "{count} cases");
    assert!(differences.is_empty(), "{} differences in {count} cases:\n{}", differences.len(), differences.join("\n"));
}

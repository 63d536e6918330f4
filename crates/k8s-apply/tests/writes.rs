//! What applies and updates make of an object and of its owners. The cases are those of structured-merge-diff's `merge` tests.

mod support;

use serde_json::{Value, json};
use support::{Kind, State};

/// One write and what is there after it.
enum Step {
    Apply(&'static str, Value),
    Force(&'static str, Value),
    Update(&'static str, Value),
    /// Refused with this message.
    Refused(&'static str, Value, &'static str),
    Spec(Value),
    Owns(&'static str, &'static str),
}
use Step::*;

fn check(kind: &Kind, name: &str, steps: Vec<Step>) {
    let mut state = State::new(kind);
    for (at, step) in steps.into_iter().enumerate() {
        match step {
            Apply(manager, spec) => state.apply(manager, spec).unwrap_or_else(|error| panic!("{name} {at}: {error}")),
            Force(manager, spec) => state.force(manager, spec),
            Update(manager, spec) => state.update(manager, spec),
            Refused(manager, spec, message) => {
                let error = state.apply(manager, spec).expect_err(name).to_string();
                assert_eq!(error, message, "{name} {at}");
            }
            Spec(spec) => assert_eq!(state.spec(), &spec, "{name} {at}"),
            Owns(manager, set) => assert_eq!(state.owned(manager), set, "{name} {at} {manager}"),
        }
    }
}

fn leaves() -> Kind {
    Kind::custom(json!({"type": "object", "properties": {
        "numeric": {"type": "integer"}, "string": {"type": "string"}, "bool": {"type": "boolean"},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
        "struct": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }}))
}

#[test]
fn leaves_belong_to_who_set_them() {
    let kind = leaves();
    check(
        &kind,
        "apply twice",
        vec![
            Apply("default", json!({"numeric": 1, "string": "a"})),
            Apply("default", json!({"numeric": 2, "string": "b", "bool": false})),
            Spec(json!({"numeric": 2, "string": "b", "bool": false})),
            Owns("default", r#"{"f:spec":{"f:bool":{},"f:numeric":{},"f:string":{}}}"#),
        ],
    );
    check(
        &kind,
        "apply, update, apply: no conflict where the updater has other fields",
        vec![
            Apply("default", json!({"numeric": 1, "string": "a"})),
            Update("controller", json!({"numeric": 1, "string": "a", "bool": true})),
            Apply("default", json!({"numeric": 2, "string": "b"})),
            Spec(json!({"numeric": 2, "string": "b", "bool": true})),
            Owns("controller", r#"{"f:spec":{"f:bool":{}}}"#),
        ],
    );
    check(
        &kind,
        "an update takes over what it changes",
        vec![
            Apply("default", json!({"numeric": 1, "string": "a"})),
            Update("controller", json!({"numeric": 1, "string": "b"})),
            Owns("default", r#"{"f:spec":{"f:numeric":{}}}"#),
            Refused(
                "default",
                json!({"numeric": 2, "string": "c"}),
                r#"Apply failed with 1 conflict: conflict with "controller" using v1: .spec.string"#,
            ),
            Spec(json!({"numeric": 1, "string": "b"})),
            Force("default", json!({"numeric": 2, "string": "c"})),
            Spec(json!({"numeric": 2, "string": "c"})),
            Owns("controller", ""),
        ],
    );
    check(
        &kind,
        "the same value is shared",
        vec![
            Apply("one", json!({"numeric": 1})),
            Apply("two", json!({"numeric": 1})),
            Owns("one", r#"{"f:spec":{"f:numeric":{}}}"#),
            Owns("two", r#"{"f:spec":{"f:numeric":{}}}"#),
            Apply("one", json!({"string": "a"})),
            Spec(json!({"numeric": 1, "string": "a"})),
            Apply("two", json!({"bool": true})),
            Spec(json!({"string": "a", "bool": true})),
        ],
    );
    check(
        &kind,
        "what a manager no longer names goes, if it is nobody else's",
        vec![
            Apply("default", json!({"numeric": 1, "string": "a", "bool": true})),
            Apply("default", json!({"string": "a"})),
            Spec(json!({"string": "a"})),
            Owns("default", r#"{"f:spec":{"f:string":{}}}"#),
        ],
    );
    check(
        &kind,
        "conflicts with several",
        vec![
            Apply("one", json!({"numeric": 1, "string": "a"})),
            Update("two", json!({"numeric": 1, "string": "a", "bool": true})),
            Refused(
                "three",
                json!({"numeric": 2, "string": "b", "bool": false}),
                "Apply failed with 3 conflicts: conflicts with \"one\":\n- .spec.numeric\n- .spec.string\nconflicts with \"two\" using v1:\n- .spec.bool",
            ),
        ],
    );
    check(
        &kind,
        "a removal by an update is everybody's loss",
        vec![
            Apply("default", json!({"numeric": 1, "string": "a"})),
            Update("controller", json!({"numeric": 1})),
            Owns("default", r#"{"f:spec":{"f:numeric":{}}}"#),
            Owns("controller", ""),
        ],
    );
}

#[test]
fn structs_are_owned_by_field_or_as_a_whole() {
    let kind = leaves();
    check(
        &kind,
        "a struct by field",
        vec![
            Apply("one", json!({"struct": {"a": 1}})),
            Apply("two", json!({"struct": {"b": 2}})),
            Spec(json!({"struct": {"a": 1, "b": 2}})),
            Apply("one", json!({})),
            Spec(json!({"struct": {"b": 2}})),
        ],
    );
    check(
        &kind,
        "a whole struct",
        vec![
            Apply("one", json!({"whole": {"a": 1}})),
            Refused(
                "two",
                json!({"whole": {"b": 2}}),
                r#"Apply failed with 1 conflict: conflict with "one": .spec.whole"#,
            ),
            Force("two", json!({"whole": {"b": 2}})),
            Spec(json!({"whole": {"b": 2}})),
            Owns("one", ""),
        ],
    );
    check(
        &kind,
        "a map by key",
        vec![
            Apply("one", json!({"map": {"a": "1", "b": "1"}})),
            Apply("two", json!({"map": {"c": "2"}})),
            Apply("one", json!({"map": {"a": "1"}})),
            Spec(json!({"map": {"a": "1", "c": "2"}})),
            Update("controller", json!({"map": {"a": "1", "c": "2", "d": "3"}})),
            Apply("one", json!({})),
            Spec(json!({"map": {"c": "2", "d": "3"}})),
        ],
    );
    check(
        &kind,
        "empty and null are things to own",
        vec![
            Apply("one", json!({"map": {}})),
            Owns("one", r#"{"f:spec":{"f:map":{}}}"#),
            Update("two", json!({"map": {"a": "1"}})),
            Owns("one", r#"{"f:spec":{"f:map":{}}}"#),
            Owns("two", r#"{"f:spec":{"f:map":{"f:a":{}}}}"#),
        ],
    );
    check(
        &kind,
        "what is deduced",
        vec![
            Apply("one", json!({"any": {"list": [1, 2], "map": {"a": 1}}})),
            Owns("one", r#"{"f:spec":{"f:any":{"f:list":{},"f:map":{".":{},"f:a":{}}}}}"#),
            Apply("two", json!({"any": {"map": {"b": 2}}})),
            Spec(json!({"any": {"list": [1, 2], "map": {"a": 1, "b": 2}}})),
            Refused(
                "two",
                json!({"any": {"list": [3]}}),
                r#"Apply failed with 1 conflict: conflict with "one": .spec.any.list"#,
            ),
        ],
    );
}

fn lists() -> Kind {
    Kind::custom(json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
            "type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "value": {"type": "integer"}, "other": {"type": "integer"},
            }}},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"], "items": {
            "type": "object", "required": ["port"], "properties": {
                "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"},
            }}},
        "plain": {"type": "array", "items": {"type": "integer"}},
    }}))
}

#[test]
fn items_of_lists_are_owned_one_by_one() {
    let kind = lists();
    check(
        &kind,
        "a set",
        vec![
            Apply("one", json!({"set": ["a", "b"]})),
            Owns("one", r#"{"f:spec":{"f:set":{"v:\"a\"":{},"v:\"b\"":{}}}}"#),
            Apply("two", json!({"set": ["c", "a"]})),
            Spec(json!({"set": ["c", "a", "b"]})),
            Apply("one", json!({"set": ["b"]})),
            Spec(json!({"set": ["c", "a", "b"]})),
            Apply("two", json!({})),
            Spec(json!({"set": ["b"]})),
        ],
    );
    check(
        &kind,
        "the order of a set is the last applier's",
        vec![
            Apply("one", json!({"set": ["a", "b", "c"]})),
            Apply("one", json!({"set": ["a", "d", "c", "b"]})),
            Spec(json!({"set": ["a", "d", "c", "b"]})),
        ],
    );
    check(
        &kind,
        "a keyed list",
        vec![
            Apply("one", json!({"list": [{"name": "a"}, {"name": "b", "value": 1}]})),
            Owns(
                "one",
                r#"{"f:spec":{"f:list":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}},"k:{\"name\":\"b\"}":{".":{},"f:name":{},"f:value":{}}}}}"#,
            ),
            Apply("two", json!({"list": [{"name": "b", "other": 2}, {"name": "c"}]})),
            Spec(json!({"list": [{"name": "a"}, {"name": "b", "value": 1, "other": 2}, {"name": "c"}]})),
            Apply("one", json!({"list": []})),
            Spec(json!({"list": [{"name": "b", "other": 2}, {"name": "c"}]})),
            Refused(
                "three",
                json!({"list": [{"name": "b", "other": 3}]}),
                r#"Apply failed with 1 conflict: conflict with "two": .spec.list[name="b"].other"#,
            ),
        ],
    );
    check(
        &kind,
        "an item goes with its owner, and with it what an update has put into it",
        vec![
            Apply("one", json!({"list": [{"name": "a", "value": 1}]})),
            Update("controller", json!({"list": [{"name": "a", "value": 1, "other": 2}, {"name": "b"}]})),
            Apply("one", json!({})),
            Spec(json!({"list": [{"name": "b"}]})),
        ],
    );
    check(
        &kind,
        "keys with defaults",
        vec![
            Apply("one", json!({"ports": [{"port": 80, "name": "x"}, {"port": 8, "protocol": "UDP"}]})),
            Owns(
                "one",
                r#"{"f:spec":{"f:ports":{"k:{\"port\":8,\"protocol\":\"UDP\"}":{".":{},"f:port":{},"f:protocol":{}},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}"#,
            ),
            Refused(
                "two",
                json!({"ports": [{"port": 80, "protocol": "TCP", "name": "y"}]}),
                r#"Apply failed with 1 conflict: conflict with "one": .spec.ports[port=80,protocol="TCP"].name"#,
            ),
        ],
    );
    check(
        &kind,
        "a plain list is one thing",
        vec![
            Apply("one", json!({"plain": [1, 2]})),
            Refused("two", json!({"plain": [2]}), r#"Apply failed with 1 conflict: conflict with "one": .spec.plain"#),
            Apply("two", json!({"plain": [1, 2]})),
            Apply("one", json!({})),
            Spec(json!({"plain": [1, 2]})),
        ],
    );
}

#[test]
fn items_that_are_the_same_are_one_thing() {
    let kind = lists();
    check(
        &kind,
        "duplicates by update",
        vec![
            Apply("one", json!({"set": ["a", "b"]})),
            Update("controller", json!({"set": ["a", "b", "b"]})),
            Owns("controller", r#"{"f:spec":{"f:set":{"v:\"b\"":{}}}}"#),
            Owns("one", r#"{"f:spec":{"f:set":{"v:\"a\"":{}}}}"#),
            Update("controller", json!({"set": ["a", "b"]})),
            Owns("controller", r#"{"f:spec":{"f:set":{"v:\"b\"":{}}}}"#),
            Apply("one", json!({"set": ["a"]})),
            Spec(json!({"set": ["a", "b"]})),
        ],
    );
    let mut state = State::new(&kind);
    let error = state.apply("one", json!({"set": ["a", "a"]})).unwrap_err().to_string();
    assert_eq!(
        error,
        "failed to create typed patch object (/; /v1, Kind=): .spec.set: duplicate entries for key [=\"a\"]"
    );
}

#[test]
fn what_does_not_fit_is_told() {
    let kind = lists();
    let cases = [
        (json!({"nonsense": 1}), ".spec.nonsense: field not declared in schema"),
        (json!({"set": {"a": 1}}), ".spec.set: expected list, got &{map[a:1]}"),
        (
            json!({"list": [{"name": 3}]}),
            ".spec.list[name=3].name: expected string, got &value.valueUnstructured{Value:3}",
        ),
        (
            json!({"list": [{"name": "a", "value": "x"}]}),
            ".spec.list[name=\"a\"].value: expected numeric (int or float), got string",
        ),
        (
            json!({"list": [{"value": 1}]}),
            ".spec.list: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
        (json!({"list": [null]}), ".spec.list: element 0: associative list with keys may not have a null element"),
    ];
    for (spec, message) in cases {
        let error = State::new(&kind).apply("one", spec.clone()).unwrap_err().to_string();
        assert_eq!(error, format!("failed to create typed patch object (/; /v1, Kind=): {message}"), "{spec}");
    }
}

#[test]
fn entries_of_other_versions_take_part() {
    let kind = leaves();
    let mut state = State::new(&kind);
    state.apply_at("v1", "one", json!({"spec": {"numeric": 1, "string": "a"}}), false).unwrap();
    let error = state.apply_at("v2", "two", json!({"spec": {"numeric": 2}}), false).unwrap_err();
    assert_eq!(error.to_string(), r#"Apply failed with 1 conflict: conflict with "one": .spec.numeric"#);
    state.update_at("v2", "controller", json!({"spec": {"numeric": 1, "string": "b"}}));
    assert_eq!(state.owned("one"), r#"{"f:spec":{"f:numeric":{}}}"#);
    // An applier is the same in every version.
    state.apply_at("v2", "one", json!({"spec": {"numeric": 3}}), false).unwrap();
    assert_eq!(state.managed.entries.iter().filter(|entry| entry.manager == "one").count(), 1);
    // A version that is gone takes its entries along.
    state.managed.entries[0].api_version = "v0".to_owned();
    state.update_at("v1", "controller", json!({"spec": {"numeric": 4, "string": "b"}}));
    assert_eq!(state.owned("one"), "");
}

#[test]
fn times_move_only_with_what_is_owned() {
    let kind = leaves();
    let mut state = State::new(&kind);
    state.apply("one", json!({"numeric": 1})).unwrap();
    let before = state.managed.clone();
    state.apply("one", json!({"numeric": 1})).unwrap();
    assert_eq!(state.managed, before);
    state.update("two", json!({"numeric": 1, "bool": true}));
    let before = state.managed.clone();
    state.update("two", json!({"numeric": 1, "bool": true}));
    state.update("three", json!({"numeric": 1, "bool": true}));
    assert_eq!(state.managed, before);
}

#[test]
fn the_oldest_updates_are_put_together() {
    let kind = leaves();
    let mut state = State::new(&kind);
    let mut map = serde_json::Map::new();
    for at in 0..14 {
        map.insert(format!("k{at:02}"), json!("x"));
        state.update(&format!("m{at:02}"), json!({"map": map}));
    }
    assert_eq!(state.managed.entries.len(), 10);
    assert_eq!(
        state.owned("ancient-changes"),
        r#"{"f:spec":{".":{},"f:map":{".":{},"f:k00":{},"f:k01":{},"f:k02":{},"f:k03":{},"f:k04":{}}}}"#
    );
    assert_eq!(state.owned("m05"), r#"{"f:spec":{"f:map":{"f:k05":{}}}}"#);
}

#[test]
fn what_was_there_before_the_first_apply_is_owned_by_nobody_known() {
    let kind = leaves();
    let mut state = State::new(&kind);
    state.live = json!({"apiVersion": "v1", "spec": {"numeric": 1, "string": "a"}});
    let error = state.apply("one", json!({"numeric": 2})).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .spec.numeric"#
    );
    state.apply("one", json!({"string": "a"})).unwrap();
    assert_eq!(state.owned("before-first-apply"), r#"{"f:spec":{".":{},"f:numeric":{},"f:string":{}}}"#);
}

#[test]
fn kubectl_takes_over_what_client_side_apply_has_set() {
    let kind = leaves();
    let last = r#"{"apiVersion":"v1","spec":{"numeric":1,"string":"a"}}"#;
    let object = |string: &str| json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}}, "spec": {"numeric": 1, "string": string}});
    let mut state = State::new(&kind);
    state.update_at("v1", "kubectl-client-side-apply", object("a"));
    state.apply_at("v1", "kubectl", json!({"spec": {"numeric": 2, "string": "a"}}), false).unwrap();
    assert_eq!(state.spec(), &json!({"numeric": 2, "string": "a"}));
    assert_eq!(
        state.live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"],
        "{\"apiVersion\":\"v1\",\"spec\":{\"numeric\":2,\"string\":\"a\"}}\n"
    );
    // Not what somebody else has changed since.
    let mut state = State::new(&kind);
    state.update_at("v1", "kubectl-client-side-apply", object("a"));
    state.update_at("v1", "controller", object("b"));
    let error = state.apply_at("v1", "kubectl", json!({"spec": {"numeric": 2, "string": "c"}}), false).unwrap_err();
    assert_eq!(error.to_string(), r#"Apply failed with 1 conflict: conflict with "controller" using v1: .spec.string"#);
    // Nor for another manager.
    let mut state = State::new(&kind);
    state.update_at("v1", "kubectl-client-side-apply", object("a"));
    assert!(state.apply_at("v1", "flux", json!({"spec": {"numeric": 2}}), false).is_err());
}

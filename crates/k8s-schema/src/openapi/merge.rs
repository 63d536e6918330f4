//! Documents of v2 of several servers as one (kube-openapi `aggregator`): of another server's document only the paths of its own are taken,
//! and definitions of one name that are not the same get names of their own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

const DEFINITIONS: &str = "definitions";
const PARAMETERS: &str = "parameters";
const PATHS: &str = "paths";
const KINDS: &str = "x-kubernetes-group-version-kind";

/// Keeps the paths that begin with `prefix`, and the definitions that they lead to, or that nothing led to before.
pub fn keep_openapi_v2_paths(document: &mut Value, prefix: &str) {
    keep(document, |path| path.starts_with(prefix));
}

/// Adds the paths of a document that `into` does not have, with the definitions and parameters that they lead to.
pub fn merge_openapi_v2(into: &mut Value, mut other: Value) {
    let Some(Value::Object(paths)) = other.get(PATHS) else { return };
    let is_new = |path: &str| into[PATHS].get(path).is_none();
    let (new, known): (Vec<&String>, Vec<&String>) = paths.keys().partition(|path| is_new(path));
    if new.is_empty() {
        return;
    }
    if !known.is_empty() {
        let new: BTreeSet<String> = new.into_iter().cloned().collect();
        keep(&mut other, |path| new.contains(path));
    }
    // What there is in neither document stands in none.
    let renames: BTreeMap<String, String> = [(DEFINITIONS, same as Same), (PARAMETERS, |a, b| a == b)]
        .into_iter()
        .flat_map(|(section, same)| renames(section, &into[section], &other[section], same))
        .collect();
    rename(&mut other, &renames);
    for section in [DEFINITIONS, PARAMETERS, PATHS] {
        let Some(Value::Object(theirs)) = other.get_mut(section).map(Value::take) else { continue };
        if !into[section].is_object() {
            into[section] = Value::Object(Map::new());
        }
        for (name, value) in theirs {
            let own = format!("#/{section}/{name}");
            let name = renames.get(&own).and_then(|new| new.rsplit_once('/')).map_or(name, |(_, new)| new.to_owned());
            match into[section].get_mut(&name) {
                None => into[section][name] = value,
                Some(known) if section == DEFINITIONS => add_kinds(known, &value),
                Some(_) => {}
            }
        }
    }
}

fn keep(document: &mut Value, is_kept: impl Fn(&str) -> bool) {
    let before = used(document);
    let Some(Value::Object(paths)) = document.get_mut(PATHS) else { return };
    paths.retain(|path, _| is_kept(path));
    let after = used(document);
    if let Some(Value::Object(definitions)) = document.get_mut(DEFINITIONS) {
        definitions.retain(|name, _| {
            let reference = format!("#/{DEFINITIONS}/{name}");
            after.contains(&reference) || !before.contains(&reference)
        });
    }
}

/// References that the paths of a document lead to.
fn used(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut queue = vec![&document[PATHS]];
    while let Some(next) = queue.pop() {
        match next {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref")
                    && found.insert(reference.clone())
                {
                    let target = reference.strip_prefix("#/").and_then(|place| place.split_once('/'));
                    queue.extend(target.and_then(|(section, name)| document.get(section)?.get(name)));
                }
                queue.extend(map.values());
            }
            Value::Array(list) => queue.extend(list),
            _ => {}
        }
    }
    found
}

type Same = fn(&Value, &Value) -> bool;

/// New references for what has a name that something else has already.
fn renames(section: &str, ours: &Value, theirs: &Value, same: Same) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (name, value) in theirs.as_object().into_iter().flatten() {
        if ours.get(name).is_none_or(|known| same(known, value)) {
            continue;
        }
        let free = |new: &String| ours.get(new).is_none() && theirs.get(new).is_none() && !taken.contains(new);
        let mut names = (2_u32..).map(|count| format!("{name}_v{count}"));
        let Some(new) = names.find(|new| ours.get(new).is_some_and(|known| same(known, value)) || free(new)) else {
            continue;
        };
        found.push((format!("#/{section}/{name}"), format!("#/{section}/{new}")));
        taken.insert(new);
    }
    found
}

fn rename(value: &mut Value, renames: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(new) = renames.get(reference)
            {
                reference.clone_from(new);
            }
            map.values_mut().for_each(|below| rename(below, renames));
        }
        Value::Array(list) => list.iter_mut().for_each(|below| rename(below, renames)),
        _ => {}
    }
}

/// Whether two schemas say the same but for the kinds that they are. Descriptions of ours are in words of our own, so they are no difference:
/// a type that every server shares would else be there once for each.
fn same(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return a == b };
    let is_compared = |key: &str| key != "description" && key != KINDS;
    let keys = |map: &Map<String, Value>| map.keys().filter(|key| is_compared(key)).count();
    keys(a) == keys(b)
        && a.iter().filter(|(key, _)| is_compared(key)).all(|(key, own)| {
            b.get(key).is_some_and(|other| match key.as_str() {
                "additionalProperties" | "items" => same(own, other),
                "properties" => each_same(own, other),
                _ => own == other,
            })
        })
}

/// Compares schemas by the names of their properties.
fn each_same(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return a == b };
    a.len() == b.len() && a.iter().all(|(name, own)| b.get(name).is_some_and(|other| same(own, other)))
}

/// Adds the kinds that a definition is in another document.
fn add_kinds(known: &mut Value, other: &Value) {
    let Some(Value::Array(theirs)) = other.get(KINDS) else { return };
    let text = |kind: &Value, field: &str| kind[field].as_str().unwrap_or("").to_owned();
    let place = |kind: &Value| format!("{}/{}.{}", text(kind, "group"), text(kind, "version"), text(kind, "kind"));
    let mut kinds = known[KINDS].as_array().cloned().unwrap_or_default();
    let places: BTreeSet<String> = kinds.iter().map(place).collect();
    let new: Vec<&Value> = theirs.iter().filter(|kind| !places.contains(&place(kind))).collect();
    if !new.is_empty() {
        kinds.extend(new.into_iter().cloned());
        kinds.sort_by_key(place);
        known[KINDS] = Value::Array(kinds);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(definition: &str) -> Value {
        let schema = json!({"$ref": format!("#/definitions/{definition}")});
        json!({"get": {"responses": {"200": {"description": "OK", "schema": schema}}}})
    }

    #[test]
    fn only_what_paths_lead_to_stays() {
        let mut document = json!({
            "paths": {"/apis/g/v1/a": path("A"), "/apis/g/v1beta1/b": path("B"), "/version/": path("Info")},
            "definitions": {
                "A": {"properties": {"next": {"items": {"$ref": "#/definitions/Next"}}}}, "B": {}, "Info": {}, "Next": {}, "Free": {},
            },
        });
        keep_openapi_v2_paths(&mut document, "/apis/g/v1/");
        let names = |section: &str| document[section].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names("paths"), ["/apis/g/v1/a"]);
        assert_eq!(names("definitions"), ["A", "Free", "Next"]);
    }

    #[test]
    fn documents_are_merged() {
        let kind = |group: &str| json!([{"group": group, "kind": "K", "version": "v1"}]);
        let text = json!({"type": "string", "description": "Text."});
        let same = json!({"type": "string", "description": "The same."});
        let number = json!({"type": "integer"});
        // Name, ours, theirs, and the definitions in the end.
        let cases = [
            ("a new one", json!({}), json!({"T": number}), json!({"T": number})),
            ("the same in other words", json!({"T": text}), json!({"T": same}), json!({"T": text})),
            ("another", json!({"T": text}), json!({"T": number}), json!({"T": text, "T_v2": number})),
            (
                "a second other",
                json!({"T": text, "T_v2": {"type": "boolean"}}),
                json!({"T": number}),
                json!({"T": text, "T_v2": {"type": "boolean"}, "T_v3": number}),
            ),
            (
                "another that was renamed before",
                json!({"T": text, "T_v2": number}),
                json!({"T": number}),
                json!({"T": text, "T_v2": number}),
            ),
            (
                "a new name that they have",
                json!({"T": text}),
                json!({"T": number, "T_v2": text}),
                json!({"T": text, "T_v2": text, "T_v3": number}),
            ),
            (
                "kinds",
                json!({"T": {KINDS: kind("b")}}),
                json!({"T": {KINDS: kind("a")}}),
                json!({"T": {KINDS: [kind("a")[0], kind("b")[0]]}}),
            ),
            (
                "a property of the name description",
                json!({"T": {"properties": {"description": text}}}),
                json!({"T": {"properties": {"description": number}}}),
                json!({"T": {"properties": {"description": text}}, "T_v2": {"properties": {"description": number}}}),
            ),
        ];
        for (name, ours, theirs, expected) in cases {
            let mut into = json!({"swagger": "2.0", "paths": {"/ours": path("T")}, "definitions": ours});
            let other =
                json!({"swagger": "2.1", "paths": {"/ours": path("U"), "/theirs": path("T")}, "definitions": theirs});
            merge_openapi_v2(&mut into, other);
            assert_eq!(into["definitions"], expected, "{name}");
            assert_eq!((&into["swagger"], &into["paths"]["/ours"]), (&json!("2.0"), &path("T")), "{name}");
            let reference = into["paths"]["/theirs"]["get"]["responses"]["200"]["schema"]["$ref"].as_str().unwrap();
            let defined = reference.strip_prefix("#/definitions/").unwrap();
            assert_eq!(into["definitions"][defined]["type"], theirs["T"]["type"], "{name}: {defined}");
        }
    }

    #[test]
    fn parameters_of_one_name_stay_apart_and_what_is_known_is_not_taken() {
        let mut into = json!({"paths": {"/a": {}}, "parameters": {"p": {"name": "p", "in": "query"}}});
        let theirs = json!({
            "paths": {"/b": {"parameters": [{"$ref": "#/parameters/p"}]}}, "parameters": {"p": {"name": "p", "in": "path"}},
        });
        merge_openapi_v2(&mut into, theirs);
        assert_eq!(into["paths"]["/b"]["parameters"][0]["$ref"], "#/parameters/p_v2");
        assert_eq!(
            (&into["parameters"]["p_v2"]["in"], &into["parameters"]["p"]["in"]),
            (&json!("path"), &json!("query"))
        );
        let before = into.clone();
        for nothing in [
            json!({}),
            json!(null),
            json!({"definitions": {"T": {}}}),
            json!({"paths": {"/a": {}}, "definitions": {"T": {}}}),
        ] {
            merge_openapi_v2(&mut into, nothing);
        }
        assert_eq!(into, before);
    }
}

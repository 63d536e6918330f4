//! What a schema may say where it stands: structural schemas, nested validations, lists, defaults.

use serde_json::{Map, Value};

use super::{Place, Reader};
use crate::crd::{ListType, Rules, Structural, Type, embedded};
use crate::error::FieldError;
use crate::node::ModelNode;

impl Reader {
    pub(super) fn check_nested(&mut self, map: &Map<String, Value>, place: Place, s: &Structural) {
        if s.ty.is_some() && place != Place::NestedType {
            self.forbid("type", "must be empty to be structural");
        }
        if has_additional(map) {
            self.forbid("additionalProperties", "must be undefined to be structural");
        }
        if s.default.is_some() {
            self.forbid("default", "must be undefined to be structural");
        }
        for name in ["title", "description"] {
            if map.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
                self.forbid(name, "must be empty to be structural");
            }
        }
        let flags = [
            ("nullable", s.nullable),
            ("x-kubernetes-preserve-unknown-fields", s.preserve_unknown),
            ("x-kubernetes-embedded-resource", s.embedded_resource),
            ("x-kubernetes-int-or-string", s.int_or_string),
        ];
        for (name, set) in flags {
            if set {
                self.forbid(name, "must be false to be structural");
            }
        }
        if !s.list_map_keys.is_empty() {
            self.forbid("x-kubernetes-list-map-keys", "must be empty to be structural");
        }
        for name in ["x-kubernetes-list-type", "x-kubernetes-map-type"] {
            if map.get(name).is_some_and(|value| !value.is_null()) {
                self.forbid(name, "must be undefined to be structural");
            }
        }
        if s.properties.contains_key("metadata") {
            self.forbid("properties[metadata]", "must not be specified in a nested context");
        }
    }

    pub(super) fn check_structural(&mut self, map: &Map<String, Value>, place: Place, s: &Structural) {
        if s.ty == Some(Type::Array) && s.items.is_none() && !map.contains_key("items") {
            self.require("items", "must be specified");
        }
        if place == Place::Root && has_additional(map) {
            self.forbid("additionalProperties", "must not be used at the root");
        }
        self.check_type(place, s, map.get("type"));
        if s.embedded_resource {
            if has_additional(map) {
                self.forbid("additionalProperties", "must not be used if x-kubernetes-embedded-resource is set");
            }
            if !s.preserve_unknown && s.properties.is_empty() {
                self.require("properties", "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields");
            }
        }
        if place == Place::Root || s.embedded_resource {
            for name in ["kind", "apiVersion"] {
                if let Some(property) = s.properties.get(name).filter(|property| property.ty != Some(Type::String)) {
                    let ty = property.ty.map_or("", Type::name);
                    self.invalid(&format!("properties[{name}].type"), ty.into(), "must be string");
                }
            }
            self.check_metadata(map, place, s);
        }
        self.check_lists(map, s);
    }

    pub(super) fn check_type(&mut self, place: Place, s: &Structural, given: Option<&Value>) {
        let untyped = given.and_then(Value::as_str).unwrap_or_default().is_empty();
        if s.embedded_resource && s.ty != Some(Type::Object) {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            match s.ty {
                None => self.require("type", detail),
                Some(ty) => self.invalid("type", ty.name().into(), detail),
            }
        } else if untyped && !s.int_or_string && !s.preserve_unknown {
            match place {
                Place::Root => self.require("type", "must not be empty at the root"),
                Place::Item => self.require("type", "must not be empty for specified array items"),
                Place::Field => self.require("type", "must not be empty for specified object fields"),
                Place::Nested | Place::NestedType => {}
            }
        }
        if place == Place::Root
            && let Some(ty) = s.ty.filter(|ty| *ty != Type::Object)
        {
            self.invalid("type", ty.name().into(), "must be object at the root");
        }
    }

    pub(super) fn check_metadata(&mut self, map: &Map<String, Value>, place: Place, s: &Structural) {
        let Some(metadata) = s.properties.get("metadata") else { return };
        if metadata.ty != Some(Type::Object) {
            self.invalid("properties[metadata].type", metadata.ty.map_or("", Type::name).into(), "must be object");
        }
        let given = map.get("properties").and_then(|properties| properties.get("metadata")).and_then(Value::as_object);
        let stray = given.is_some_and(|given| {
            given.keys().any(|key| !matches!(key.as_str(), "type" | "properties" | "description" | "default"))
        });
        let fields = metadata.properties.keys().any(|key| key != "name" && key != "generateName");
        if place == Place::Root && (stray || fields) {
            self.forbid(
                "properties[metadata]",
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            );
        }
    }

    pub(super) fn check_lists(&mut self, map: &Map<String, Value>, s: &Structural) {
        const LIST: &str = "x-kubernetes-list-type";
        const MAP: &str = "x-kubernetes-map-type";
        if let Some(map_type) = map.get(MAP).filter(|value| !value.is_null()) {
            match s.ty {
                Some(Type::Object) => {}
                None => self.require("type", "must be object if x-kubernetes-map-type is specified"),
                Some(ty) => {
                    self.invalid("type", ty.name().into(), "must be object if x-kubernetes-map-type is specified")
                }
            }
            if !matches!(map_type.as_str(), Some("atomic" | "granular")) {
                let path = self.path.child(MAP);
                self.errors.push(FieldError::not_supported(path, map_type.clone(), &["atomic", "granular"]));
            }
        }
        if s.list_type.is_some() && s.ty != Some(Type::Array) {
            match s.ty {
                None => self.require("type", "must be array if x-kubernetes-list-type is specified"),
                Some(ty) => {
                    self.invalid("type", ty.name().into(), "must be array if x-kubernetes-list-type is specified")
                }
            }
        } else if s.list_type == Some(ListType::Set)
            && let Some(items) = &s.items
        {
            let given = map.get("items");
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let atomic = |name: &str| given.and_then(|items| items.get(name)).and_then(Value::as_str) == Some("atomic");
            if items.ty == Some(Type::Array) && items.list_type.is_some_and(|ty| ty != ListType::Atomic) {
                self.invalid(
                    &format!("items.{LIST}"),
                    given.and_then(|i| i.get(LIST)).cloned().unwrap_or_default(),
                    detail,
                );
            }
            if items.ty == Some(Type::Object) && !atomic(MAP) {
                self.invalid(
                    &format!("items.{MAP}"),
                    given.and_then(|i| i.get(MAP)).cloned().unwrap_or_default(),
                    detail,
                );
            }
        }
        if !s.list_map_keys.is_empty() && s.list_type != Some(ListType::Map) {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            match map.get(LIST) {
                None => self.require(LIST, detail),
                Some(value) => self.invalid(LIST, value.clone(), detail),
            }
        }
        if let Some(list_type @ (ListType::Map | ListType::Set)) = s.list_type
            && s.items.as_ref().is_some_and(|items| items.nullable)
        {
            let name = if list_type == ListType::Map { "map" } else { "set" };
            self.forbid("items.nullable", &format!("cannot be nullable when x-kubernetes-list-type is {name}"));
        }
        if s.list_type == Some(ListType::Map) {
            self.check_map_keys(map, s);
        }
    }

    /// A default must be a value that the schema would accept as it is. Of the metadata of a resource it may hold what this
    /// server does not know: that goes where the default is used.
    pub(super) fn check_default(&mut self, s: &Structural, default: &Value, meta: Option<ModelNode>) {
        let path = self.path.child("default");
        if let Some(Err(error)) = meta.map(|node| crate::check::types(node, default)) {
            let detail = format!("must result in valid metadata: {error}");
            self.errors.push(FieldError::invalid(&*path, default.clone(), detail));
            return;
        }
        if meta.is_none() && embedded::has_unknown(s, default) {
            self.errors.push(FieldError::invalid(&*path, default.clone(), "must not have unknown fields"));
        }
        for mut error in crate::crd::validate(s, default) {
            error.path = match error.path.as_str() {
                "<nil>" => path.clone(),
                below if below.starts_with('[') => format!("{path}{below}"),
                below => format!("{path}.{below}"),
            };
            self.errors.push(error);
        }
    }

    /// What value validations of the root speak about must exist in the structure.
    pub(super) fn completeness(&mut self, root: &Structural) {
        let path = self.path.as_str().to_owned();
        let mut missing = Vec::new();
        incomplete(root.rules.as_deref(), root, &path, &path, &mut missing);
        self.errors.extend(missing);
    }

    pub(super) fn check_map_keys(&mut self, map: &Map<String, Value>, s: &Structural) {
        const KEYS: &str = "x-kubernetes-list-map-keys";
        if s.list_map_keys.is_empty() {
            self.require(KEYS, "must not be empty if x-kubernetes-list-type is map");
        }
        let Some(items) = &s.items else {
            self.require("items", "must have a schema if x-kubernetes-list-type is map");
            return;
        };
        if items.ty != Some(Type::Object) {
            self.invalid(
                "items.type",
                items.ty.map_or("", Type::name).into(),
                "must be object if parent array's x-kubernetes-list-type is map",
            );
            return;
        }
        let given = map.get(KEYS).cloned().unwrap_or_default();
        let required = items.rules.as_ref().map(|rules| rules.required.as_slice()).unwrap_or_default();
        for (index, key) in s.list_map_keys.iter().enumerate() {
            match items.properties.get(key) {
                None => self.invalid(KEYS, given.clone(), "entries must all be names of item properties"),
                Some(property) => {
                    let path = format!("items.properties[{key}]");
                    if matches!(property.ty, Some(Type::Array | Type::Object)) {
                        self.invalid(
                            &format!("{path}.type"),
                            "object".into(),
                            "must be a scalar type if parent array's x-kubernetes-list-type is map",
                        );
                    }
                    if property.default.is_none() && !required.contains(key) {
                        self.require(&format!("{path}.default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property");
                    }
                    if property.nullable {
                        self.forbid(
                            &format!("{path}.nullable"),
                            "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
                        );
                    }
                }
            }
            if s.list_map_keys[..index].contains(key) {
                self.invalid(KEYS, given.clone(), "must not contain duplicate entries");
            }
        }
    }
}

fn incomplete(rules: Option<&Rules>, s: &Structural, at: &str, from: &str, missing: &mut Vec<FieldError>) {
    let Some(rules) = rules else { return };
    let named = [("allOf", &rules.all_of), ("anyOf", &rules.any_of), ("oneOf", &rules.one_of)];
    for (name, list) in named {
        for (index, nested) in list.iter().enumerate() {
            incomplete_nested(nested, s, at, &format!("{from}.{name}[{index}]"), missing);
        }
    }
    if let Some(nested) = &rules.not {
        incomplete_nested(nested, s, at, &format!("{from}.not"), missing);
    }
}

fn incomplete_nested(nested: &Structural, s: &Structural, at: &str, from: &str, missing: &mut Vec<FieldError>) {
    incomplete(nested.rules.as_deref(), s, at, from, missing);
    let absent = |at: String, from: &str| FieldError::required(at, format!("because it is defined in {from}"));
    if let Some(items) = &nested.items {
        let (at, from) = (format!("{at}.items"), format!("{from}.items"));
        match &s.items {
            Some(structure) => incomplete_nested(items, structure, &at, &from, missing),
            None => missing.push(absent(at, &from)),
        }
    }
    for (name, property) in &nested.properties {
        let (at, from) = (format!("{at}.properties[{name}]"), format!("{from}.properties[{name}]"));
        match s.properties.get(name) {
            Some(structure) => incomplete_nested(property, structure, &at, &from, missing),
            None => missing.push(absent(at, &from)),
        }
    }
}

/// Whether anything is said about properties that are not named, if only that there are none.
fn has_additional(map: &Map<String, Value>) -> bool {
    map.get("additionalProperties").is_some_and(|value| !value.is_null())
}

/// `[{type: integer}, {type: string}]`, which `x-kubernetes-int-or-string` allows to be spelled out.
pub(super) fn is_int_or_string(any_of: Option<&Value>) -> bool {
    let Some(Value::Array(list)) = any_of else { return false };
    let only = |branch: &Value, ty: &str| branch.as_object().is_some_and(|map| map.len() == 1) && branch["type"] == ty;
    matches!(list.as_slice(), [first, second] if only(first, "integer") && only(second, "string"))
}

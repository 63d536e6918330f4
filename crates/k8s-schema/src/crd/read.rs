//! Reads an `openAPIV3Schema` and checks it: JSON schema of the supported subset, structural, extensions in order.
//!
//! Texts are those of `ValidateCustomResourceDefinitionOpenAPISchema` and `ValidateStructural`. What Minato does not
//! evaluate yet is refused by name, never ignored.

use serde_json::{Map, Value};

use super::{Additional, ListType, Pattern, Rules, Structural, Type};
use crate::error::{FieldError, MAX_FIELD_ERRORS};
use crate::path::Path;

/// Deepest nesting of schemas. The walks recurse, and real schemas stay under 40.
const MAX_SCHEMA_DEPTH: usize = 100;

/// Most schemas in one definition, nested ones included: a bound on the memory of one CustomResourceDefinition.
const MAX_SCHEMA_NODES: usize = 50_000;

/// Keywords of JSON schema that upstream refuses.
const UNSUPPORTED: &[&str] = &["$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties"];

pub(crate) fn read(path: &str, schema: &Value) -> Result<Structural, Vec<FieldError>> {
    let mut reader = Reader { path: Path::new(path), errors: Vec::new(), nodes: 0, depth: 0 };
    let structural = reader.schema(schema, Place::Root, Context::default());
    if reader.errors.is_empty() {
        reader.completeness(&structural);
    }
    if reader.errors.is_empty() {
        return Ok(structural);
    }
    reader.errors.sort_by(|a, b| (&a.path, a.kind, &a.detail).cmp(&(&b.path, b.kind, &b.detail)));
    reader.errors.dedup();
    reader.errors.truncate(MAX_FIELD_ERRORS);
    Err(reader.errors)
}

/// Where a schema stands, which decides what it may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Item,
    Field,
    /// Inside `allOf`, `anyOf`, `oneOf` or `not`: value validations only.
    Nested,
    /// As `Nested`, and one of the two branches of the int-or-string pattern, where a type may stand.
    NestedType,
}

impl Place {
    fn is_nested(self) -> bool {
        matches!(self, Self::Nested | Self::NestedType)
    }
}

#[derive(Clone, Copy, Default)]
struct Context {
    in_metadata: bool,
    top_level_field: Option<&'static str>,
    /// The first branch of `allOf`, where the int-or-string pattern may stand.
    first_of_all: bool,
}

struct Reader {
    path: Path,
    errors: Vec<FieldError>,
    nodes: usize,
    depth: usize,
}

impl Reader {
    fn forbid(&mut self, name: &str, detail: &str) {
        self.errors.push(FieldError::forbidden(self.path.child(name), detail));
    }

    fn require(&mut self, name: &str, detail: &str) {
        self.errors.push(FieldError::required(self.path.child(name), detail));
    }

    fn invalid(&mut self, name: &str, value: Value, detail: impl Into<String>) {
        self.errors.push(FieldError::invalid(self.path.child(name), value, detail));
    }

    fn schema(&mut self, value: &Value, place: Place, context: Context) -> Structural {
        let Value::Object(map) = value else {
            let path = self.path.as_str().to_owned();
            self.errors.push(FieldError::invalid(path, value.clone(), "must be a schema object"));
            return Structural::default();
        };
        self.nodes += 1;
        if self.depth >= MAX_SCHEMA_DEPTH || self.nodes > MAX_SCHEMA_NODES || self.errors.len() >= MAX_FIELD_ERRORS {
            let limit = format!(
                "schemas deeper than {MAX_SCHEMA_DEPTH} levels or with more than {MAX_SCHEMA_NODES} parts are not supported by Minato"
            );
            let path = self.path.as_str().to_owned();
            if self.errors.len() < MAX_FIELD_ERRORS {
                self.errors.push(FieldError::forbidden(path, limit));
            }
            return Structural::default();
        }
        self.depth += 1;
        let structural = self.object(map, place, context);
        self.depth -= 1;
        structural
    }

    fn object(&mut self, map: &Map<String, Value>, place: Place, context: Context) -> Structural {
        self.keywords(map);
        let mut s = Structural {
            ty: self.ty(map),
            nullable: self.flag(map, "nullable"),
            default: map.get("default").filter(|value| !value.is_null()).cloned(),
            int_or_string: self.flag(map, "x-kubernetes-int-or-string"),
            embedded_resource: self.flag(map, "x-kubernetes-embedded-resource"),
            preserve_unknown: self.preserve_unknown(map),
            list_type: self.list_type(map),
            list_map_keys: self.strings(map, "x-kubernetes-list-map-keys"),
            ..Structural::default()
        };
        self.children(map, place, context, &mut s);
        if s.int_or_string && !place.is_nested() {
            self.check_int_or_string(&s);
        }
        let rules = self.rules(map, place, context);
        s.rules = rules.map(Box::new);
        if place.is_nested() {
            self.check_nested(map, place, &s);
        } else {
            self.check_structural(map, place, &s);
        }
        if let Some(default) = s.default.as_ref().filter(|_| !place.is_nested()) {
            self.check_default(&s, default);
        }
        if s.default.is_some() {
            if let Some(field) = context.top_level_field {
                self.forbid("default", &format!("must not be set in top-level {field}"));
            } else if context.in_metadata && place == Place::Item {
                self.forbid("default", "must not be set inside additionalProperties applying to object metadata");
            }
        }
        if context.in_metadata && s.embedded_resource {
            self.forbid("x-kubernetes-embedded-resource", "must not be used inside of resource meta");
        }
        s
    }

    /// Refuses what upstream refuses, and what Minato cannot do.
    fn keywords(&mut self, map: &Map<String, Value>) {
        for keyword in UNSUPPORTED {
            if map.get(*keyword).is_some_and(|value| !value.is_null()) {
                self.forbid(keyword, &format!("{keyword} is not supported"));
            }
        }
        if map.get("uniqueItems") == Some(&Value::Bool(true)) {
            self.forbid(
                "uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            );
        }
        let rules = map.get("x-kubernetes-validations").and_then(Value::as_array);
        if rules.is_some_and(|rules| !rules.is_empty()) {
            self.forbid("x-kubernetes-validations", "CEL validation rules are not supported by Minato yet");
        }
    }

    fn ty(&mut self, map: &Map<String, Value>) -> Option<Type> {
        let value = map.get("type").filter(|value| !value.is_null())?;
        let name = value.as_str().unwrap_or_default();
        if name.is_empty() && value.is_string() {
            return None;
        }
        let ty = Type::parse(name);
        if name == "null" {
            self.forbid("type", "type cannot be set to null, use nullable as an alternative");
        } else if ty.is_none() {
            let supported: Vec<&str> = Type::ALL.iter().map(|(name, _)| *name).collect();
            self.errors.push(FieldError::not_supported(self.path.child("type"), value.clone(), &supported));
        }
        ty
    }

    fn flag(&mut self, map: &Map<String, Value>, name: &str) -> bool {
        match map.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.invalid(name, other.clone(), "must be a boolean");
                false
            }
        }
    }

    fn preserve_unknown(&mut self, map: &Map<String, Value>) -> bool {
        const NAME: &str = "x-kubernetes-preserve-unknown-fields";
        if map.get(NAME) == Some(&Value::Bool(false)) {
            self.invalid(NAME, Value::Bool(false), "must be true or undefined");
        }
        self.flag(map, NAME)
    }

    fn strings(&mut self, map: &Map<String, Value>, name: &str) -> Vec<String> {
        let list = match map.get(name) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.invalid(name, other.clone(), "must be a list of strings");
                return Vec::new();
            }
        };
        let strings: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if strings.len() != list.len() {
            self.invalid(name, Value::Array(list.clone()), "must be a list of strings");
        }
        strings
    }

    fn list_type(&mut self, map: &Map<String, Value>) -> Option<ListType> {
        const NAME: &str = "x-kubernetes-list-type";
        let value = map.get(NAME).filter(|value| !value.is_null())?;
        let list_type = match value.as_str() {
            Some("atomic") => ListType::Atomic,
            Some("map") => ListType::Map,
            Some("set") => ListType::Set,
            _ => {
                let supported = ["atomic", "set", "map"];
                self.errors.push(FieldError::not_supported(self.path.child(NAME), value.clone(), &supported));
                return None;
            }
        };
        Some(list_type)
    }

    fn children(&mut self, map: &Map<String, Value>, place: Place, context: Context, s: &mut Structural) {
        let below = |place: Place, other: Place| if place.is_nested() { Place::Nested } else { other };
        match map.get("properties") {
            None | Some(Value::Null) => {}
            Some(Value::Object(properties)) => {
                for (name, property) in properties {
                    let resource = place == Place::Root || s.embedded_resource;
                    let meta = ["apiVersion", "kind", "metadata"].into_iter().find(|meta| resource && meta == name);
                    let inner = Context {
                        in_metadata: context.in_metadata || meta.is_some(),
                        top_level_field: meta.filter(|_| place == Place::Root).or(context.top_level_field),
                        first_of_all: false,
                    };
                    let length = self.path.field("properties");
                    self.path.key(name);
                    let child = self.schema(property, below(place, Place::Field), inner);
                    self.path.truncate(length);
                    s.properties.insert(name.clone(), child);
                }
            }
            Some(other) => self.invalid("properties", other.clone(), "must be an object of schemas"),
        }
        match map.get("additionalProperties") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(allowed)) => {
                if *allowed {
                    s.additional = Additional::Any;
                } else if !s.properties.is_empty() {
                    self.forbid("additionalProperties", "additionalProperties and properties are mutual exclusive");
                }
            }
            Some(schema) => {
                if !s.properties.is_empty() {
                    self.forbid("additionalProperties", "additionalProperties and properties are mutual exclusive");
                }
                let length = self.path.field("additionalProperties");
                s.additional = Additional::Schema(Box::new(self.schema(schema, below(place, Place::Field), context)));
                self.path.truncate(length);
            }
        }
        match map.get("items") {
            None | Some(Value::Null) => {}
            Some(Value::Array(_)) => self.forbid("items", "items must be a schema object and not an array"),
            Some(schema) => {
                let length = self.path.field("items");
                s.items = Some(Box::new(self.schema(schema, below(place, Place::Item), context)));
                self.path.truncate(length);
            }
        }
    }

    fn check_int_or_string(&mut self, s: &Structural) {
        let flags = [
            ("x-kubernetes-preserve-unknown-fields", s.preserve_unknown),
            ("x-kubernetes-embedded-resource", s.embedded_resource),
        ];
        for (name, set) in flags {
            if set {
                self.invalid(name, Value::Bool(true), "must be false if x-kubernetes-int-or-string is true");
            }
        }
    }

    fn rules(&mut self, map: &Map<String, Value>, place: Place, context: Context) -> Option<Rules> {
        let pattern = self.string(map, "pattern").filter(|pattern| !pattern.is_empty()).and_then(|pattern| {
            match Pattern::new(&pattern) {
                Ok(compiled) => Some(compiled),
                Err(error) => {
                    let detail = format!("must be a valid regular expression, but isn't: {error}");
                    self.invalid("pattern", Value::String(pattern), detail);
                    None
                }
            }
        });
        let typed = (!place.is_nested() || context.first_of_all) && is_int_or_string(map.get("anyOf"));
        let any_of = self.branches(map, "anyOf", if typed { Place::NestedType } else { Place::Nested }, false);
        let all_of = self.branches(map, "allOf", Place::Nested, !place.is_nested());
        let rules = Rules {
            format: self.string(map, "format").filter(|format| !format.is_empty()),
            maximum: self.number(map, "maximum"),
            exclusive_maximum: self.flag(map, "exclusiveMaximum"),
            minimum: self.number(map, "minimum"),
            exclusive_minimum: self.flag(map, "exclusiveMinimum"),
            max_length: self.count(map, "maxLength"),
            min_length: self.count(map, "minLength"),
            pattern,
            max_items: self.count(map, "maxItems"),
            min_items: self.count(map, "minItems"),
            multiple_of: self.number(map, "multipleOf"),
            max_properties: self.count(map, "maxProperties"),
            min_properties: self.count(map, "minProperties"),
            required: self.strings(map, "required"),
            enumeration: map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            all_of,
            any_of,
            one_of: self.branches(map, "oneOf", Place::Nested, false),
            not: map.get("not").filter(|not| !not.is_null()).map(|not| {
                let length = self.path.field("not");
                let schema = self.schema(not, Place::Nested, Context::default());
                self.path.truncate(length);
                Box::new(schema)
            }),
        };
        let any = [
            "format",
            "maximum",
            "minimum",
            "maxLength",
            "minLength",
            "pattern",
            "maxItems",
            "minItems",
            "multipleOf",
            "maxProperties",
            "minProperties",
            "required",
            "enum",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        any.iter().any(|name| map.contains_key(*name)).then_some(rules)
    }

    fn branches(&mut self, map: &Map<String, Value>, name: &str, place: Place, first_of_all: bool) -> Vec<Structural> {
        let list = match map.get(name) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.invalid(name, other.clone(), "must be a list of schemas");
                return Vec::new();
            }
        };
        let mut branches = Vec::with_capacity(list.len());
        for (index, branch) in list.iter().enumerate() {
            let length = self.path.field(name);
            self.path.index(index);
            let context = Context { first_of_all: first_of_all && index == 0, ..Context::default() };
            branches.push(self.schema(branch, place, context));
            self.path.truncate(length);
        }
        branches
    }

    fn string(&mut self, map: &Map<String, Value>, name: &str) -> Option<String> {
        match map.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => {
                self.invalid(name, other.clone(), "must be a string");
                None
            }
        }
    }

    fn number(&mut self, map: &Map<String, Value>, name: &str) -> Option<f64> {
        let value = map.get(name).filter(|value| !value.is_null())?;
        let number = value.as_f64();
        if number.is_none() {
            self.invalid(name, value.clone(), "must be a number");
        }
        number
    }

    fn count(&mut self, map: &Map<String, Value>, name: &str) -> Option<u64> {
        let value = map.get(name).filter(|value| !value.is_null())?;
        let number = value.as_u64().or(value.as_i64().filter(|number| *number < 0).map(|_| 0));
        if number.is_none() {
            self.invalid(name, value.clone(), "must be an integer");
        }
        number
    }

    fn check_nested(&mut self, map: &Map<String, Value>, place: Place, s: &Structural) {
        if s.ty.is_some() && place != Place::NestedType {
            self.forbid("type", "must be empty to be structural");
        }
        if !matches!(s.additional, Additional::None) {
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

    fn check_structural(&mut self, map: &Map<String, Value>, place: Place, s: &Structural) {
        if s.ty == Some(Type::Array) && s.items.is_none() && !map.contains_key("items") {
            self.require("items", "must be specified");
        }
        if place == Place::Root && !matches!(s.additional, Additional::None) {
            self.forbid("additionalProperties", "must not be used at the root");
        }
        self.check_type(place, s, map.get("type"));
        if s.embedded_resource {
            if !matches!(s.additional, Additional::None) {
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

    fn check_type(&mut self, place: Place, s: &Structural, given: Option<&Value>) {
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

    fn check_metadata(&mut self, map: &Map<String, Value>, place: Place, s: &Structural) {
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

    fn check_lists(&mut self, map: &Map<String, Value>, s: &Structural) {
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

    /// A default must be a value that the schema would accept as it is.
    fn check_default(&mut self, s: &Structural, default: &Value) {
        let path = self.path.child("default");
        for field in crate::unknown::find(crate::node::Node::Custom(s, false), default) {
            self.errors.push(FieldError::invalid(
                &*path,
                default.clone(),
                format!("must not have unknown field {field:?}"),
            ));
        }
        for mut error in super::validate(s, default) {
            error.path = match error.path.as_str() {
                "<nil>" => path.clone(),
                below if below.starts_with('[') => format!("{path}{below}"),
                below => format!("{path}.{below}"),
            };
            self.errors.push(error);
        }
    }

    /// What value validations of the root speak about must exist in the structure.
    fn completeness(&mut self, root: &Structural) {
        let path = self.path.as_str().to_owned();
        let mut missing = Vec::new();
        incomplete(root.rules.as_deref(), root, &path, &path, &mut missing);
        self.errors.extend(missing);
    }

    fn check_map_keys(&mut self, map: &Map<String, Value>, s: &Structural) {
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

/// `[{type: integer}, {type: string}]`, which `x-kubernetes-int-or-string` allows to be spelled out.
fn is_int_or_string(any_of: Option<&Value>) -> bool {
    let Some(Value::Array(list)) = any_of else { return false };
    let only = |branch: &Value, ty: &str| branch.as_object().is_some_and(|map| map.len() == 1) && branch["type"] == ty;
    matches!(list.as_slice(), [first, second] if only(first, "integer") && only(second, "string"))
}

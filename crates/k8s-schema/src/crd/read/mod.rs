//! Reads an `openAPIV3Schema` and checks it: JSON schema of the supported subset, structural, extensions in order.
//!
//! Texts are those of `ValidateCustomResourceDefinitionOpenAPISchema` and `ValidateStructural`. What Minato does not
//! evaluate yet is refused by name, never ignored.

mod check;

use serde_json::{Map, Value};

use check::is_int_or_string;

use crate::crd::{Additional, Known, ListType, Pattern, Rules, Structural, Type, embedded, expressions};
use crate::error::{FieldError, MAX_FIELD_ERRORS};
use crate::node::{ModelNode, object_meta};
use crate::path::Path;

/// Deepest nesting of schemas. The walks recurse, and real schemas stay under 40.
const MAX_SCHEMA_DEPTH: usize = 100;

/// Most schemas in one definition, nested ones included: a bound on the memory of one CustomResourceDefinition.
const MAX_SCHEMA_NODES: usize = 50_000;

/// Keywords of JSON schema that upstream refuses.
const UNSUPPORTED: &[&str] = &["$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties"];

pub(crate) fn read(path: &str, schema: &Value, known: &Known) -> Result<Structural, Vec<FieldError>> {
    let mut reader = Reader { path: Path::new(path), errors: Vec::new(), nodes: 0, depth: 0 };
    let mut structural = reader.schema(schema, Place::Root, Context::default());
    embedded::prune_defaults(&mut structural, true);
    if reader.errors.is_empty() {
        reader.completeness(&structural);
    }
    if reader.errors.is_empty() {
        reader.errors = expressions::compile(&mut structural, path, known);
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
    /// What the metadata of a resource has at this place; `None` outside of it, and for what it does not have.
    meta: Option<ModelNode>,
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
            atomic_map: map.get("x-kubernetes-map-type").is_some_and(|kind| kind == "atomic"),
            ..Structural::default()
        };
        self.children(map, place, context, &mut s);
        s.has_embedded = s.embedded_resource
            || s.properties.values().any(|below| below.has_embedded)
            || s.items.as_ref().is_some_and(|below| below.has_embedded)
            || matches!(&s.additional, Additional::Schema(below) if below.has_embedded);
        if s.int_or_string && !place.is_nested() {
            self.check_int_or_string(&s);
        }
        let rules = self.rules(map, place, context);
        s.rules = rules.map(Box::new);
        s.expressions = expressions::read(map, &s, &self.path, &mut self.errors);
        if place.is_nested() {
            if s.expressions.is_some() {
                self.forbid("x-kubernetes-validations", "must be empty to be structural");
            }
            self.check_nested(map, place, &s);
        } else {
            self.check_structural(map, place, &s);
        }
        if let Some(default) = s.default.as_ref().filter(|_| !place.is_nested()) {
            self.check_default(&s, default, context.meta);
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
                        meta: match meta {
                            Some("metadata") => object_meta(),
                            Some(_) => None,
                            None => context.meta.and_then(|meta| embedded::below(meta, name)),
                        },
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
}

//! Custom schemas: what a definition may say, and what it does to objects.

use k8s_schema::{MAX_FIELD_ERRORS, Schema};
use serde_json::{Value, json};

/// A schema whose `spec` has one property `x`.
fn with(x: Value) -> Schema {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": x}}}});
    Schema::from_crd(&schema).unwrap_or_else(|errors| panic!("{schema}: {errors:#?}"))
}

fn errors(x: Value, value: Value) -> Vec<String> {
    with(x).validate(&json!({"spec": {"x": value}})).iter().map(ToString::to_string).collect()
}

#[test]
fn values_are_validated_with_upstreams_words() {
    let cases = [
        (
            json!({"type": "integer"}),
            json!("string"),
            r#"spec.x: Invalid value: "string": spec.x in body must be of type integer: "string""#,
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            r#"spec.x: Invalid value: "number": spec.x in body must be of type integer: "number""#,
        ),
        (
            json!({"type": "string"}),
            json!(null),
            r#"spec.x: Invalid value: "null": spec.x in body must be of type string: "null""#,
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            json!(["a", 1]),
            r#"spec.x[1]: Invalid value: "integer": spec.x[1] in body must be of type string: "integer""#,
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            r#"spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean""#,
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            "spec.x: Invalid value: 1: spec.x in body should be greater than 1",
        ),
        (
            json!({"type": "number", "maximum": 1.5}),
            json!(2),
            "spec.x: Invalid value: 2: spec.x in body should be less than or equal to 1.5",
        ),
        (
            json!({"type": "integer", "maximum": 3, "exclusiveMaximum": true}),
            json!(3),
            "spec.x: Invalid value: 3: spec.x in body should be less than 3",
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            "spec.x: Invalid value: 7: spec.x in body should be a multiple of 5",
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_u64),
            r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.x"#,
        ),
        (json!({"type": "string", "maxLength": 2}), json!("日本語"), "spec.x: Too long: may not be more than 2 bytes"),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            r#"spec.x: Invalid value: "a": spec.x in body should be at least 2 chars long"#,
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            r#"spec.x: Invalid value: "b": spec.x in body should match '^a+$'"#,
        ),
        (
            json!({"type": "string", "format": "ipv4"}),
            json!("b"),
            r#"spec.x: Invalid value: "b": spec.x in body must be of type ipv4: "b""#,
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            r#"spec.x: Unsupported value: "c": supported values: "a", "b""#,
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}, "maxItems": 1}),
            json!([1, 2]),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 1}),
            json!([]),
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 items",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1}),
            json!({"a": "", "b": ""}),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}),
            json!({}),
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 properties",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"a": 1}),
            r#"spec.x.a: Invalid value: "integer": spec.x.a in body must be of type string: "integer""#,
        ),
        (
            json!({"type": "object", "required": ["y"], "properties": {"y": {"type": "string"}}}),
            json!({}),
            "spec.x.y: Required value",
        ),
        (
            json!({"type": "integer", "not": {"enum": [1]}}),
            json!(1),
            r#"<nil>: Invalid value: "": "spec.x" must not validate the schema (not)"#,
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "b", "a", "a"]),
            r#"spec.x[2]: Duplicate value: "a""#,
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "p"], "items": {
                "type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}, "p": {"type": "string", "default": "TCP"}}}}),
            json!([{"n": 1, "p": "TCP"}, {"n": 1, "p": "UDP"}, {"n": 1, "p": "TCP"}]),
            r#"spec.x[2]: Duplicate value: {"n":1,"p":"TCP"}"#,
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"kind": "A"}),
            "spec.x.apiVersion: Required value",
        ),
    ];
    for (schema, value, text) in cases {
        assert_eq!(errors(schema.clone(), value.clone()), [text], "{schema} {value}");
    }
}

#[test]
fn alternatives_explain_with_the_best_match() {
    let pair = json!([{"required": ["a"]}, {"required": ["b"]}]);
    let of = |name: &str| json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, name: pair});
    let cases = [
        (
            "oneOf",
            json!({}),
            vec![
                r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid"#,
                "spec.x.a: Required value",
            ],
        ),
        (
            "oneOf",
            json!({"a": "", "b": ""}),
            vec![
                r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        ),
        ("oneOf", json!({"a": ""}), vec![]),
        (
            "anyOf",
            json!({}),
            vec![
                r#"<nil>: Invalid value: "": "spec.x" must validate at least one schema (anyOf)"#,
                "spec.x.a: Required value",
            ],
        ),
        ("anyOf", json!({"b": ""}), vec![]),
        (
            "allOf",
            json!({"b": ""}),
            vec![
                "spec.x.a: Required value",
                r#"<nil>: Invalid value: "": "spec.x" must validate all the schemas (allOf)"#,
            ],
        ),
        ("allOf", json!({"a": "", "b": ""}), vec![]),
    ];
    for (name, value, expected) in cases {
        assert_eq!(errors(of(name), value.clone()), expected, "{name} {value}");
    }
}

#[test]
fn good_values_pass() {
    let cases = [
        (json!({"type": "integer"}), json!(2.0)),
        (json!({"type": "number"}), json!(2)),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"type": "string", "enum": ["a"]}), json!("a")),
        (json!({"type": "integer", "enum": [1, 2]}), json!(2)),
        (json!({"type": "number", "multipleOf": 0.1}), json!(0.3)),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%$"}),
            json!("5%"),
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}]}),
            json!(5),
        ),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), json!({"any": ["thing", 1]})),
        (json!({"type": "string", "format": "made-up"}), json!("x")),
        (json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}), json!(["a", "b"])),
    ];
    for (schema, value) in cases {
        assert_eq!(errors(schema.clone(), value.clone()), [] as [String; 0], "{schema} {value}");
    }
}

#[test]
fn unknown_fields_are_pruned_as_the_schema_says() {
    let schema = Schema::from_crd(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "closed": {"type": "object", "properties": {"a": {"type": "string"}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"closed": {"type": "object", "properties": {}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        }},
    }}))
    .expect("a schema");
    let mut value = json!({
        "apiVersion": "v1", "kind": "X", "metadata": {"name": "n", "labels": {"l": "1"}, "nonsense": 1},
        "stray": 1,
        "spec": {
            "closed": {"a": "1", "b": 2},
            "list": [{"a": "1"}, {"b": 1}],
            "open": {"any": {"deep": 1}, "closed": {"x": 1}},
            "map": {"k": {"a": "1", "b": 2}},
            "embedded": {"apiVersion": "v1", "kind": "Y", "metadata": {"name": "m", "bad": 1}, "spec": {"free": 1}, "status": {}},
        },
    });
    let expected = [
        "metadata.nonsense",
        "spec.closed.b",
        "spec.embedded.metadata.bad",
        "spec.embedded.status",
        "spec.list[1].b",
        "spec.map.k.b",
        "spec.open.closed.x",
        "stray",
    ];
    assert_eq!(schema.unknown_fields(&value), expected);
    assert_eq!(schema.prune(&mut value), expected);
    assert_eq!(
        value,
        json!({
            "apiVersion": "v1", "kind": "X", "metadata": {"name": "n", "labels": {"l": "1"}},
            "spec": {
                "closed": {"a": "1"},
                "list": [{"a": "1"}, {}],
                "open": {"any": {"deep": 1}, "closed": {}},
                "map": {"k": {"a": "1"}},
                "embedded": {"apiVersion": "v1", "kind": "Y", "metadata": {"name": "m"}, "spec": {"free": 1}},
            },
        })
    );
}

#[test]
fn nulls_and_defaults_work_together() {
    let schema = Schema::from_crd(&json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
        "a": {"type": "string", "default": "A"},
        "b": {"type": "string"},
        "c": {"type": "string", "nullable": true},
        "d": {"type": "string", "nullable": true, "default": "D"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
    }}}}))
    .expect("a schema");
    let cases = [
        (json!({}), json!({"spec": {"a": "A", "d": "D"}})),
        (
            json!({"spec": {"a": null, "b": null, "c": null, "d": null}}),
            json!({"spec": {"a": "A", "c": null, "d": null}}),
        ),
        (
            json!({"spec": {"a": "x", "d": "y", "list": [{}, {"p": "UDP"}]}}),
            json!({"spec": {"a": "x", "d": "y", "list": [{"p": "TCP"}, {"p": "UDP"}]}}),
        ),
    ];
    for (mut value, expected) in cases {
        let original = value.clone();
        schema.drop_nulls(&mut value);
        schema.default(&mut value);
        assert_eq!(value, expected, "{original}");
        assert!(schema.validate(&value).is_empty(), "{value}");
    }
}

/// The errors of a definition whose `spec.x` is the given schema, without the common start of the path.
fn refusal(x: Value) -> Vec<String> {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": x}}}});
    let errors = Schema::from_crd(&schema).err().unwrap_or_default();
    errors
        .iter()
        .map(|error| error.to_string().replace("openAPIV3Schema.properties[spec].properties[x]", "x"))
        .collect()
}

#[test]
fn definitions_that_are_not_structural_are_refused() {
    let cases = [
        (json!({}), "x.type: Required value: must not be empty for specified object fields"),
        (
            json!({"type": "thing"}),
            r#"x.type: Unsupported value: "thing": supported values: "array", "boolean", "integer", "number", "object", "string""#,
        ),
        (json!({"type": "null"}), "x.type: Forbidden: type cannot be set to null, use nullable as an alternative"),
        (json!({"type": "array"}), "x.items: Required value: must be specified"),
        (
            json!({"type": "array", "items": {}}),
            "x.items.type: Required value: must not be empty for specified array items",
        ),
        (
            json!({"type": "array", "items": [{"type": "string"}]}),
            "x.items: Forbidden: items must be a schema object and not an array",
        ),
        (json!({"type": "object", "$ref": "#/a"}), "x.$ref: Forbidden: $ref is not supported"),
        (
            json!({"type": "string", "pattern": "("}),
            "x.pattern: Invalid value: \"(\": must be a valid regular expression",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            "x.uniqueItems: Forbidden: uniqueItems cannot be set to true",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            "x.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            json!({"type": "string", "anyOf": [{"type": "string"}]}),
            "x.anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "string", "allOf": [{"default": "a"}]}),
            "x.allOf[0].default: Forbidden: must be undefined to be structural",
        ),
        (
            json!({"type": "string", "not": {"nullable": true}}),
            "x.not.nullable: Forbidden: must be false to be structural",
        ),
        (
            json!({"type": "string", "oneOf": [{"description": "d"}]}),
            "x.oneOf[0].description: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            "x.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}),
            "x.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true}),
            "x.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true",
        ),
        (
            json!({"type": "string", "x-kubernetes-list-type": "set"}),
            "x.type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {}}, "x-kubernetes-list-type": "set"}),
            "x.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list",
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {}}, "x-kubernetes-list-type": "map"}),
            "x.x-kubernetes-list-map-keys: Required value: must not be empty",
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
            "x.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys",
        ),
        (json!({"type": "string", "default": 1}), "x.default: Invalid value: \"integer\":"),
        (
            json!({"type": "object", "properties": {}, "default": {"a": 1}}),
            "x.default: Invalid value: {\"a\":1}: must not have unknown fields",
        ),
        (
            json!({"type": "string", "anyOf": [{"x-kubernetes-validations": [{"rule": "self != ''"}]}]}),
            "x.anyOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural",
        ),
        (json!(1), "x: Invalid value: 1: must be a schema object"),
    ];
    for (schema, text) in cases {
        let errors = refusal(schema.clone());
        assert!(errors.iter().any(|error| error.starts_with(text)), "{schema}: {errors:#?}");
    }
}

#[test]
fn the_root_has_rules_of_its_own() {
    let cases = [
        (json!({}), "openAPIV3Schema.type: Required value: must not be empty at the root"),
        (
            json!({"type": "object", "additionalProperties": false}),
            "openAPIV3Schema.additionalProperties: Forbidden: must not be used at the root",
        ),
        (json!({"type": "string"}), "openAPIV3Schema.type: Invalid value: \"string\": must be object at the root"),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            "openAPIV3Schema.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName",
        ),
        (
            json!({"type": "object", "properties": {"kind": {"type": "integer"}}}),
            "openAPIV3Schema.properties[kind].type: Invalid value: \"integer\": must be string",
        ),
        (
            json!({"type": "object", "properties": {"kind": {"type": "string", "default": "X"}}}),
            "openAPIV3Schema.properties[kind].default: Forbidden: must not be set in top-level kind",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "openAPIV3Schema.properties[a]: Required value: because it is defined in openAPIV3Schema.anyOf[0].properties[a]",
        ),
        (json!(null), "openAPIV3Schema: Invalid value: null"),
    ];
    for (schema, text) in cases {
        let errors: Vec<String> =
            Schema::from_crd(&schema).err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.starts_with(text)), "{schema}: {errors:#?}");
    }
    let name_pattern = json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^a"}}}}});
    let schema = Schema::from_crd(&name_pattern).expect("names may be restricted");
    assert_eq!(schema.validate(&json!({"metadata": {"name": "b"}})).len(), 1);
}

#[test]
fn resources_inside_of_resources_have_the_metadata_of_resources() {
    let embedded = |metadata: Value| {
        with(json!({
            "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"metadata": metadata},
        }))
    };
    let cases = [
        (json!({"name": "a", "unknown": 1, "labels": {"a": null}}), Ok(json!({"name": "a", "labels": {"a": ""}}))),
        (json!(null), Ok(json!({}))),
        (
            json!({"namespace": 42}),
            Err(
                "spec.x.metadata: Invalid value: {\"namespace\":42}: json: cannot unmarshal number into Go struct field ObjectMeta.namespace of type string",
            ),
        ),
    ];
    let schema = embedded(json!({"type": "object"}));
    for (metadata, expected) in cases {
        let mut object = json!({"spec": {"x": {"metadata": metadata}}});
        let coerced = schema.coerce_embedded(&mut object).map_err(|error| error.to_string());
        let found = coerced.map(|()| object["spec"]["x"]["metadata"].clone());
        assert_eq!(found, expected.map_err(str::to_owned));
    }
    // What metadata does not have may stand in a default, and is not filled in.
    let fields = json!({"name": {"type": "string", "default": "n"}, "unknown": {"type": "string", "default": "u"}});
    for metadata in [
        json!({"type": "object", "properties": fields}),
        json!({"type": "object", "default": {"name": "n", "unknown": "u"}}),
    ] {
        let mut object = json!({"spec": {"x": {}}});
        if metadata.get("default").is_none() {
            object["spec"]["x"]["metadata"] = json!({});
        }
        embedded(metadata).default(&mut object);
        assert_eq!(object["spec"]["x"], json!({"metadata": {"name": "n"}}));
    }
}

#[test]
fn of_an_update_of_the_status_only_the_status_is_judged() {
    let positive = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}});
    let schema = Schema::from_crd(&json!({"type": "object", "properties": {"spec": positive, "status": positive}}));
    let schema = schema.expect("a schema");
    let object = |spec: i64, status: i64| json!({"spec": {"n": spec}, "status": {"n": status}});
    let errors = |new: &Value, old: &Value| -> Vec<String> {
        schema.validate_status(new, old).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        errors(&object(0, 0), &object(0, 1)),
        ["status.n: Invalid value: 0: n in body should be greater than or equal to 1"]
    );
    assert!(errors(&object(0, 0), &object(0, 0)).is_empty(), "what was wrong may stay so");
    assert!(errors(&object(0, 2), &object(0, 1)).is_empty());
}

#[test]
fn an_object_with_fields_that_no_schema_knows_has_always_changed() {
    let schema = with(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "minProperties": 3}));
    let known = json!({"spec": {"x": {}}});
    let unknown = json!({"spec": {"x": {"a": 1}}});
    assert!(schema.validate_update(&known, &known).is_empty());
    assert_eq!(schema.validate_update(&unknown, &unknown).len(), 1);
}

#[test]
fn everything_that_can_grow_has_a_limit() {
    let deep =
        (0..150).fold(json!({"type": "string"}), |below, _| json!({"type": "object", "properties": {"a": below}}));
    let errors = Schema::from_crd(&deep).expect_err("too deep");
    assert!(errors[0].detail.contains("not supported by Minato"), "{errors:?}");
    let schema = with(json!({"type": "array", "items": {"type": "string"}}));
    let many = json!({"spec": {"x": vec![1; 50_000]}});
    assert_eq!(schema.validate(&many).len(), MAX_FIELD_ERRORS);
}

#[test]
fn weird_definitions_never_panic() {
    let weird = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!("x"),
        json!([]),
        json!([1]),
        json!({}),
        json!({"a": 1}),
        json!([{}, null]),
    ];
    let keywords = [
        "type",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "enum",
        "minimum",
        "maxLength",
        "pattern",
        "format",
        "anyOf",
        "allOf",
        "oneOf",
        "not",
        "default",
        "nullable",
        "multipleOf",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    for keyword in keywords {
        for value in &weird {
            for ty in ["object", "array", "string"] {
                let mut schema = json!({"type": ty, "items": {"type": "string"}});
                schema[keyword] = value.clone();
                let root =
                    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": schema}}}});
                if let Ok(schema) = Schema::from_crd(&root) {
                    for below in &weird {
                        let mut object = json!({"spec": {"x": below}});
                        schema.prune(&mut object);
                        schema.drop_nulls(&mut object);
                        schema.default(&mut object);
                        let _ = schema.validate(&object);
                    }
                }
            }
        }
    }
}

//! What holds of every apply, over generated objects of several kinds. A seed names a run.

mod support;

use k8s_schema::{Atom, Typed};
use serde_json::{Map, Value, json};
use support::{Kind, State};
use world::World;

const ROUNDS: u64 = 60;

fn kinds() -> Vec<(&'static str, Kind)> {
    let custom = Kind::custom(json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
            "type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "value": {"type": "integer"}, "deep": {"type": "object", "additionalProperties": {"type": "string"}},
            }}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "integer"}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "flag": {"type": "boolean"},
    }}));
    vec![
        ("custom", custom),
        ("Pod", Kind::builtin("io.k8s.api.core.v1.Pod", "v1")),
        ("Deployment", Kind::builtin("io.k8s.api.apps.v1.Deployment", "apps/v1")),
        ("ConfigMap", Kind::builtin("io.k8s.api.core.v1.ConfigMap", "v1")),
    ]
}

/// Fields of the kinds that are filled, with what is below them where that is not the type's to say.
const FIELDS: &[&str] = &[
    "spec",
    "set",
    "list",
    "whole",
    "map",
    "flag",
    "name",
    "value",
    "deep",
    "a",
    "data",
    "metadata",
    "labels",
    "annotations",
    "containers",
    "image",
    "ports",
    "containerPort",
    "env",
    "template",
    "replicas",
    "selector",
    "matchLabels",
    "finalizers",
    "nodeSelector",
    "resources",
    "limits",
    "command",
    "tolerations",
    "volumes",
];

struct Generator<'w> {
    world: &'w World,
}

impl Generator<'_> {
    fn word(&self) -> String {
        ["a", "b", "c", "d"][self.world.below(4) as usize].to_owned()
    }

    /// A value of a type; `None` where there is nothing to say.
    fn value(&self, typed: Typed<'_>, depth: u32) -> Option<Value> {
        match typed.atom(None) {
            Atom::Scalar(scalar) => Some(match scalar {
                k8s_schema::Scalar::Boolean => json!(self.world.below(2) == 0),
                k8s_schema::Scalar::Numeric => json!(self.world.below(3)),
                k8s_schema::Scalar::String | k8s_schema::Scalar::Untyped => json!(self.word()),
            }),
            Atom::List(list) => {
                let mut items = Map::new();
                for _ in 0..self.world.below(4) {
                    let mut item = self.value(list.item, depth + 1)?;
                    let mut key = item.to_string();
                    if !list.keys.is_empty() {
                        let map = item.as_object_mut()?;
                        for name in list.keys.iter() {
                            let below = list.item.map()?.step(name).into_type()?;
                            map.insert(name.to_owned(), self.value(below, depth + 1)?);
                        }
                        key = list.keys.iter().map(|name| map[name].to_string()).collect();
                    }
                    items.insert(key, item);
                }
                (!items.is_empty()).then(|| items.into_iter().map(|(_, item)| item).collect())
            }
            Atom::Map(map) => {
                let mut entries = Map::new();
                for name in FIELDS {
                    if let k8s_schema::Step::Field(below) = map.step(name)
                        && (depth < 2 || self.world.below(2) == 0)
                        && let Some(value) = self.value(below, depth + 1)
                    {
                        entries.insert((*name).to_owned(), value);
                    }
                }
                if let k8s_schema::Step::Key(below) = map.step("k") {
                    for _ in 0..self.world.below(3) {
                        entries.insert(self.word(), self.value(below, depth + 1)?);
                    }
                }
                (!entries.is_empty()).then_some(Value::Object(entries))
            }
        }
    }

    fn object(&self, kind: &Kind) -> Value {
        let mut object = self.value(kind.schemas[0].1.typed(), 0).unwrap_or_else(|| json!({}));
        object["apiVersion"] = json!(kind.version());
        object["metadata"]["name"] = json!("x");
        object
    }
}

/// Nothing but what every object has.
fn nothing(kind: &Kind) -> Value {
    json!({"apiVersion": kind.version(), "metadata": {"name": "x"}})
}

fn each(law: impl Fn(&Generator<'_>, &Kind, &str)) {
    for (name, kind) in kinds() {
        for seed in 0..ROUNDS {
            let (world, _simulation) = World::simulated(seed);
            law(&Generator { world: &world }, &kind, &format!("{name} seed {seed}"));
        }
    }
}

impl State<'_> {
    fn put(&mut self, manager: &str, object: &Value) {
        let version = self.kind.version().to_owned();
        self.apply_at(&version, manager, object.clone(), true).unwrap_or_else(|error| panic!("{error}\n{object}"));
    }
}

#[test]
fn to_apply_again_changes_nothing() {
    each(|generator, kind, run| {
        let mut state = State::new(kind);
        state.put("other", &generator.object(kind));
        let object = generator.object(kind);
        state.put("one", &object);
        let (live, managed) = (state.live.clone(), state.managed.clone());
        state.put("one", &object);
        assert_eq!((&state.live, &state.managed), (&live, &managed), "{run}");
    });
}

#[test]
fn what_was_applied_first_is_what_there_is() {
    each(|generator, kind, run| {
        let mut state = State::new(kind);
        let object = generator.object(kind);
        state.put("one", &object);
        assert_eq!(state.live, object, "{run}");
        // And after it nothing of what was there before.
        let other = generator.object(kind);
        state.put("one", &other);
        let fields = |value: &Value| k8s_apply::typed::to_set(kind.schemas[0].1.typed(), value).unwrap();
        assert_eq!(fields(&state.live).to_string(), fields(&other).to_string(), "{run}");
    });
}

#[test]
fn who_applies_nothing_any_more_leaves_what_others_own() {
    each(|generator, kind, run| {
        let mut state = State::new(kind);
        let (one, two) = (generator.object(kind), generator.object(kind));
        state.put("one", &one);
        state.put("two", &two);
        state.put("one", &nothing(kind));
        assert_eq!(state.owned("one"), "", "{run}");
        let fields = |value: &Value| k8s_apply::typed::to_set(kind.schemas[0].1.typed(), value).unwrap();
        assert_eq!(fields(&state.live), fields(&two), "{run}");
    });
}

#[test]
fn force_takes_over_all_that_is_applied() {
    each(|generator, kind, run| {
        let mut state = State::new(kind);
        state.put("one", &generator.object(kind));
        let mine = generator.object(kind);
        state.put("two", &mine);
        // What was forced is there, so another apply of it by anybody conflicts with nobody.
        let version = kind.version().to_owned();
        state.apply_at(&version, "three", mine, false).unwrap_or_else(|error| panic!("{run}: {error}"));
    });
}

#[test]
fn the_order_of_appliers_of_different_fields_does_not_matter() {
    each(|generator, kind, run| {
        let (mut one, mut two) = (generator.object(kind), generator.object(kind));
        // The first keeps its metadata, the second everything else.
        if let Some(map) = one.as_object_mut() {
            map.retain(|key, _| key == "metadata" || key == "apiVersion");
        }
        if let Some(map) = two.as_object_mut() {
            map.insert("metadata".to_owned(), json!({"name": "x"}));
        }
        let mut first = State::new(kind);
        first.put("one", &one);
        first.put("two", &two);
        let mut second = State::new(kind);
        second.put("two", &two);
        second.put("one", &one);
        assert_eq!(first.live, second.live, "{run}");
        assert_eq!((first.owned("one"), first.owned("two")), (second.owned("one"), second.owned("two")), "{run}");
    });
}

#[test]
fn what_nobody_owns_stays() {
    each(|generator, kind, run| {
        let mut state = State::new(kind);
        let base = generator.object(kind);
        state.live = base.clone();
        // Somebody owns something, so that what is there is nobody's.
        state.update_at(kind.version(), "marker", {
            let mut object = base.clone();
            object["metadata"]["labels"]["marker"] = json!("x");
            object
        });
        let config = generator.object(kind);
        state.put("one", &config);
        state.put("one", &nothing(kind));
        let fields = |value: &Value| k8s_apply::typed::to_set(kind.schemas[0].1.typed(), value).unwrap();
        let (left, named) = (fields(&state.live).paths(), fields(&config).paths());
        let mut lost = fields(&base);
        lost.subtract(&fields(&state.live));
        lost.subtract(&fields(&config));
        for path in lost.paths() {
            // It may have gone with something above it of which the apply had named a part and nothing else is left.
            let gone = (1..=path.0.len()).map(|length| &path.0[..length]).any(|above| {
                named.iter().any(|own| own.0.starts_with(above)) && !left.iter().any(|own| own.0.starts_with(above))
            });
            assert!(gone, "{run}: {path} has gone");
        }
    });
}

#[test]
fn an_update_to_what_is_there_changes_no_owner() {
    each(|generator, kind, run| {
        let mut state = State::new(kind);
        state.put("one", &generator.object(kind));
        state.update_at(kind.version(), "two", generator.object(kind));
        let (live, managed) = (state.live.clone(), state.managed.clone());
        state.update_at(kind.version(), "three", live.clone());
        assert_eq!((&state.live, &state.managed), (&live, &managed), "{run}");
        // Every entry reads back as it is written.
        if let Some(text) = managed.to_text() {
            assert_eq!(k8s_apply::Managed::parse(text.as_bytes()).unwrap(), managed, "{run}");
        }
    });
}

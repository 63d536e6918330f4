//! One object of a kind and what writes make of it.
#![allow(dead_code)] // Not every test file uses all of it.

use std::borrow::Cow;

use k8s_apply::{ApplyError, Managed, Reset, Versions, Write, apply, update};
use k8s_schema::{Schema, Typed};
use serde_json::{Value, json};

/// Versions `v1`, `v2` … of one schema, which differ in nothing but their name.
pub struct Kind {
    pub schemas: Vec<(String, Schema)>,
}

impl Kind {
    /// A custom kind whose `spec` is as given.
    pub fn custom(spec: Value) -> Kind {
        let schema = Schema::from_crd(&json!({"type": "object", "properties": {"spec": spec}})).unwrap();
        Kind { schemas: ["v1", "v2"].map(|version| (version.to_owned(), schema.clone())).into() }
    }

    pub fn builtin(type_name: &str, version: &str) -> Kind {
        Kind { schemas: vec![(version.to_owned(), Schema::builtin(type_name, 34).unwrap())] }
    }

    pub fn version(&self) -> &str {
        &self.schemas[0].0
    }
}

impl Versions for Kind {
    fn typed(&self, api_version: &str) -> Option<Typed<'_>> {
        self.schemas.iter().find(|(version, _)| version == api_version).map(|(_, schema)| schema.typed())
    }

    fn convert<'v>(&self, object: &'v Value, api_version: &str) -> Result<Cow<'v, Value>, String> {
        let mut object = object.clone();
        object["apiVersion"] = json!(api_version);
        Ok(Cow::Owned(object))
    }
}

pub struct State<'k> {
    pub kind: &'k Kind,
    pub live: Value,
    pub managed: Managed,
    pub now: u32,
}

impl<'k> State<'k> {
    pub fn new(kind: &'k Kind) -> State<'k> {
        State { kind, live: json!({"apiVersion": kind.version()}), managed: Managed::default(), now: 0 }
    }

    fn empty(&self) -> Value {
        json!({"apiVersion": self.kind.version()})
    }

    fn time(&mut self) -> String {
        self.now += 1;
        format!("2024-01-01T00:{:02}:{:02}Z", self.now / 60, self.now % 60)
    }

    pub fn apply_at(&mut self, version: &str, manager: &str, mut config: Value, force: bool) -> Result<(), ApplyError> {
        config["apiVersion"] = json!(version);
        let now = self.time();
        let write = Write { versions: self.kind, version, manager, subresource: "", reset: Reset::Nothing, now: &now };
        let live = self.kind.convert(&self.live, version).unwrap().into_owned();
        let empty = self.kind.convert(&self.empty(), version).unwrap().into_owned();
        let applied = apply(write, self.managed.clone(), &live, &empty, &config, force)?;
        self.live = applied.object.unwrap_or(live);
        self.managed = applied.managed;
        Ok(())
    }

    pub fn apply(&mut self, manager: &str, spec: Value) -> Result<(), ApplyError> {
        self.apply_at("v1", manager, json!({"spec": spec}), false)
    }

    pub fn force(&mut self, manager: &str, spec: Value) {
        self.apply_at("v1", manager, json!({"spec": spec}), true).unwrap();
    }

    pub fn update_at(&mut self, version: &str, manager: &str, mut object: Value) {
        object["apiVersion"] = json!(version);
        let now = self.time();
        let write = Write { versions: self.kind, version, manager, subresource: "", reset: Reset::Nothing, now: &now };
        let live = self.kind.convert(&self.live, version).unwrap().into_owned();
        let creates = self.managed.is_empty();
        if let Some(managed) = update(write, || self.managed.clone(), &live, &object, creates).unwrap() {
            self.managed = managed;
        }
        self.live = object;
    }

    pub fn update(&mut self, manager: &str, spec: Value) {
        self.update_at("v1", manager, json!({"spec": spec}));
    }

    /// What a manager owns, as text of its set.
    pub fn owned(&self, manager: &str) -> String {
        let texts: Vec<String> = self
            .managed
            .entries
            .iter()
            .filter(|entry| entry.manager == manager)
            .map(|entry| entry.fields.to_string())
            .collect();
        texts.join(" ")
    }

    pub fn spec(&self) -> &Value {
        &self.live["spec"]
    }
}

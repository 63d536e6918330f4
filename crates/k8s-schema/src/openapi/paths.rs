//! Paths and operations: where a kind is, which verbs it has, and which query parameters they take. kubectl reads from
//! them the kind behind a resource name and whether `fieldValidation` and `dryRun` are known; generators of clients read all.

use serde_json::{Map, Value, json};

use super::connect;
use super::{Flavour, OpenApiGroup, OpenApiKind, OpenApiSubresource};
use crate::model::{Minor, model};

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
/// Any of the patches; no type of the table.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const RESOURCES: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

/// Types that operations refer to whatever the kind, where there are kinds that are kept.
pub(super) fn shared_types(is_kept: bool) -> impl Iterator<Item = &'static str> {
    let kept = [DELETE_OPTIONS, STATUS, WATCH_EVENT].into_iter().filter(move |_| is_kept);
    std::iter::once(RESOURCES).chain(kept)
}

/// Whether objects of the kind are kept: a review or a binding is created, and never read back.
pub(super) fn is_listed(kind: &OpenApiKind) -> bool {
    !kind.schema.is_builtin() || model().by_full_name(&list_name(&kind.type_name)).is_some()
}

/// Query parameters: name, JSON type, and what they say.
type Parameter = (&'static str, &'static str, &'static str);

const DRY_RUN: Parameter = ("dryRun", "string", "All checks everything and changes nothing.");
const MANAGER: Parameter = ("fieldManager", "string", "Who sets the fields.");
const VALIDATION: Parameter =
    ("fieldValidation", "string", "Whether unknown and repeated fields are Ignored, Warned of, or refused (Strict).");
const PRETTY: Parameter = ("pretty", "string", "Whether JSON is written for people.");

const DELETE: &[Parameter] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "How many seconds the object may take to end; zero removes it at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Whether an object that cannot be read is removed without a look at it.",
    ),
    ("orphanDependents", "boolean", "Replaced by propagationPolicy."),
    ("propagationPolicy", "string", "What becomes of the dependents: Orphan, Background or Foreground."),
];
const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Whether a watch tells from time to time how far it is."),
    ("continue", "string", "The token that the part of the list before this one ended with."),
    ("fieldSelector", "string", "Selects objects by their fields."),
    ("labelSelector", "string", "Selects objects by their labels."),
    ("limit", "integer", "How many objects there are in one part of the list at most."),
    ("resourceVersion", "string", "The version that is wanted, or from which on is watched."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with what there is."),
    ("timeoutSeconds", "integer", "After how many seconds the request ends."),
    ("watch", "boolean", "Whether changes are told as they happen instead of a list."),
];
/// What lists take since 1.36.
const SHARD: Parameter =
    ("shardSelector", "string", "Selects a part of the objects by a hash; known to servers with that feature alone.");
const SHARDED: Minor = 36;
const WRITE: &[Parameter] = &[DRY_RUN, MANAGER, VALIDATION];
const PATCHING: &[Parameter] =
    &[DRY_RUN, MANAGER, VALIDATION, ("force", "boolean", "Whether fields are taken from those who set them before.")];

const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Groups and kinds whose deletion is answered with the object, as published.
const RETURNED: &[(&str, &str)] = &[
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "PodTemplate"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("resource.k8s.io", "*"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
];

pub(super) fn list_name(type_name: &str) -> String {
    format!("{type_name}List")
}

/// What lists and watches take.
fn list_parameters(minor: Minor) -> Vec<Parameter> {
    let mut parameters = LIST.to_vec();
    if minor >= SHARDED {
        parameters.push(SHARD);
        parameters.sort_unstable();
    }
    parameters
}

pub(super) fn paths(flavour: Flavour, groups: &[OpenApiGroup<'_>], minor: Minor) -> Map<String, Value> {
    let mut out = Map::new();
    let listing = list_parameters(minor);
    for group in groups {
        let root = match group.group {
            "" => format!("/api/{}", group.version),
            name => format!("/apis/{name}/{}", group.version),
        };
        out.insert(format!("{root}/"), discovery(flavour, group));
        for kind in group.kinds {
            Writer { flavour, group, kind, listing: &listing }.paths(&root, &mut out);
        }
    }
    out.values_mut().for_each(share_parameters);
    out
}

/// What every operation of a path takes stands with the path, in order; if there is just one operation, that is all but its body.
fn share_parameters(item: &mut Value) {
    let Value::Object(item) = item else { return };
    let mut shared = item.remove("parameters").and_then(|own| own.as_array().cloned()).unwrap_or_default();
    let mut operations: Vec<&mut Value> = item.values_mut().collect();
    if let [operation] = operations.as_mut_slice()
        && let Some(Value::Array(own)) = operation.get_mut("parameters")
    {
        let (body, others): (Vec<Value>, Vec<Value>) =
            std::mem::take(own).into_iter().partition(|one| one["in"] == "body");
        shared.extend(others);
        *own = body;
        if own.is_empty()
            && let Value::Object(operation) = operation
        {
            operation.remove("parameters");
        }
    }
    if !shared.is_empty() {
        shared.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        item.insert("parameters".to_owned(), Value::Array(shared));
    }
}

/// The path that tells the resources of a group and version.
fn discovery(flavour: Flavour, group: &OpenApiGroup<'_>) -> Value {
    let operation = Operation {
        id: format!("get{}APIResources", place(group)),
        description: "The resources that are served.".to_owned(),
        tag: tag(group.group, group.version),
        media: Media::default(),
        query: Vec::new(),
        body: None,
        answer: RESOURCES,
        codes: &[("200", "OK")],
        about: None,
    };
    json!({ "get": operation.write(flavour) })
}

/// `AppsV1`; the core group is `CoreV1`.
fn place(group: &OpenApiGroup<'_>) -> String {
    format!("{}{}", camel(if group.group.is_empty() { "core" } else { group.group }), camel(group.version))
}

/// Which forms an operation's answer has.
#[derive(Clone, Copy, Default)]
struct Media {
    /// Without a message in protobuf.
    custom: bool,
    streams: bool,
}

impl Media {
    fn types(self) -> Vec<String> {
        let mut types = vec!["application/json".to_owned()];
        if self.streams {
            types.push("application/json;stream=watch".to_owned());
        }
        if !self.custom {
            types.push(PROTOBUF.to_owned());
            if self.streams {
                types.push(format!("{PROTOBUF};stream=watch"));
            }
        }
        types.push("application/yaml".to_owned());
        types
    }
}

/// What an operation takes.
struct BodyType<'a> {
    schema: &'a str,
    types: Vec<&'static str>,
    required: bool,
}

struct Operation<'a> {
    id: String,
    description: String,
    tag: String,
    media: Media,
    query: Vec<Parameter>,
    body: Option<BodyType<'a>>,
    answer: &'a str,
    codes: &'static [(&'static str, &'static str)],
    /// The action, and group, version and kind.
    about: Option<(&'static str, Value)>,
}

impl Operation<'_> {
    fn write(self, flavour: Flavour) -> Value {
        let mut parameters: Vec<Value> = self.query.iter().map(|of| query_parameter(flavour, *of)).collect();
        let mut operation = json!({ "operationId": self.id, "description": self.description, "tags": [self.tag] });
        if let Some((action, kind)) = &self.about {
            operation["x-kubernetes-action"] = json!(action);
            operation["x-kubernetes-group-version-kind"] = kind.clone();
        }
        let types = self.media.types();
        let mut responses = Map::new();
        for (code, description) in self.codes {
            let mut response = json!({ "description": description });
            match flavour {
                Flavour::V2 => response["schema"] = flavour.reference(self.answer),
                Flavour::V3 => {
                    let schema = json!({ "schema": flavour.reference(self.answer) });
                    let content: Map<String, Value> = types.iter().map(|ty| (ty.clone(), schema.clone())).collect();
                    response["content"] = Value::Object(content);
                }
            }
            responses.insert((*code).to_owned(), response);
        }
        responses.insert("401".to_owned(), json!({ "description": "Unauthorized" }));
        operation["responses"] = Value::Object(responses);
        match flavour {
            Flavour::V2 => {
                operation["schemes"] = json!(["https"]);
                operation["produces"] = json!(types);
                operation["consumes"] = match &self.body {
                    Some(body) => json!(body.types),
                    // What tells of other paths is in no kind's hands.
                    None if self.about.is_none() => json!(types),
                    None => json!(["*/*"]),
                };
                if let Some(body) = self.body {
                    let mut parameter =
                        json!({ "name": "body", "in": "body", "schema": flavour.reference(body.schema) });
                    if body.required {
                        parameter["required"] = json!(true);
                    }
                    parameters.push(parameter);
                }
            }
            Flavour::V3 => {
                if let Some(body) = self.body {
                    let schema = json!({ "schema": flavour.reference(body.schema) });
                    let content: Map<String, Value> =
                        body.types.iter().map(|ty| ((*ty).to_owned(), schema.clone())).collect();
                    operation["requestBody"] = json!({ "content": content });
                    if body.required {
                        operation["requestBody"]["required"] = json!(true);
                    }
                }
            }
        }
        if !parameters.is_empty() {
            operation["parameters"] = Value::Array(parameters);
        }
        operation
    }
}

fn query_parameter(flavour: Flavour, (name, ty, description): Parameter) -> Value {
    parameter(flavour, "query", name, ty, description)
}

fn parameter(flavour: Flavour, place: &str, name: &str, ty: &str, description: &str) -> Value {
    let mut parameter = json!({ "name": name, "in": place, "description": description });
    if place == "path" {
        parameter["required"] = json!(true);
    }
    match flavour {
        Flavour::V2 => {
            parameter["type"] = json!(ty);
            parameter["uniqueItems"] = json!(true);
        }
        Flavour::V3 => parameter["schema"] = json!({ "type": ty, "uniqueItems": true }),
    }
    parameter
}

struct Writer<'a> {
    flavour: Flavour,
    group: &'a OpenApiGroup<'a>,
    kind: &'a OpenApiKind,
    listing: &'a [Parameter],
}

impl Writer<'_> {
    fn paths(&self, root: &str, out: &mut Map<String, Value>) {
        let (kind, namespaced) = (self.kind, self.kind.namespaced);
        let below = if namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{root}{below}/{}", kind.plural);
        let watched = format!("{root}/watch{below}/{}", kind.plural);
        let pretty = query_parameter(self.flavour, PRETTY);
        let namespace = namespaced
            .then(|| parameter(self.flavour, "path", "namespace", "string", "The namespace that the object is in."));
        let name = parameter(self.flavour, "path", "name", "string", &format!("The name of the {}.", kind.kind));
        let around: Vec<Value> = namespace.clone().into_iter().chain([pretty.clone()]).collect();
        let around_item: Vec<Value> = std::iter::once(name.clone()).chain(around.iter().cloned()).collect();
        if !is_listed(kind) {
            out.insert(collection, json!({ "parameters": around, "post": self.create() }));
            return;
        }
        let lists = self.listing.iter().map(|of| query_parameter(self.flavour, *of)).chain([pretty]);
        let lists: Vec<Value> = lists.collect();
        if namespaced {
            let all = json!({ "parameters": lists, "get": self.list("ForAllNamespaces", &[]) });
            out.insert(format!("{root}/{}", kind.plural), all);
            let all = json!({ "parameters": lists, "get": self.watch("watchlist", "ForAllNamespaces") });
            out.insert(format!("{root}/watch/{}", kind.plural), all);
        }
        if kind.read_only {
            out.insert(collection.clone(), json!({ "parameters": around, "get": self.list("", self.listing) }));
            let item = json!({ "parameters": around_item, "get": self.read("", &kind.type_name, self.gvk()) });
            out.insert(format!("{collection}/{{name}}"), item);
            return;
        }
        let with = |first: Vec<Value>| -> Vec<Value> { lists.iter().cloned().chain(first).collect() };
        let scope: Vec<Value> = namespace.into_iter().collect();
        let watch = json!({ "parameters": with(scope.clone()), "get": self.watch("watchlist", "") });
        out.insert(watched.clone(), watch);
        let one = std::iter::once(name).chain(scope).collect();
        out.insert(format!("{watched}/{{name}}"), json!({ "parameters": with(one), "get": self.watch("watch", "") }));
        let mut collected = json!({ "parameters": around, "get": self.list("", self.listing), "post": self.create() });
        if kind.deletes_collection {
            collected["delete"] = self.delete_collection();
        }
        out.insert(collection.clone(), collected);
        let item = format!("{collection}/{{name}}");
        out.insert(item.clone(), self.item(&around_item));
        for subresource in &kind.subresources {
            if connect::leads_elsewhere(subresource) {
                let scope = if namespaced { "Namespaced" } else { "" };
                let place = connect::Place {
                    flavour: self.flavour,
                    group: place(self.group),
                    owner: format!("{scope}{}", kind.kind),
                    tag: tag(self.group.group, self.group.version),
                    parameters: around_item.clone(),
                    parameter,
                    subresource,
                };
                place.paths(&format!("{item}/{}", subresource.name), out);
                continue;
            }
            out.insert(format!("{item}/{}", subresource.name), self.subresource(subresource, &around_item));
        }
    }

    fn item(&self, parameters: &[Value]) -> Value {
        let name = self.kind.type_name.as_str();
        let mut item = json!({ "parameters": parameters });
        item["get"] = self.read("", name, self.gvk());
        item["put"] = self.replace("", name, self.gvk());
        item["patch"] = self.patch("", name, self.gvk());
        let group = self.group.group;
        let returned = RETURNED.contains(&(group, "*")) || RETURNED.contains(&(group, self.kind.kind.as_str()));
        let answer = if returned { name } else { STATUS };
        item["delete"] = self.operation("delete", "delete", "", "", DELETE, Some(options()), answer, &[OK, ACCEPTED]);
        item
    }

    fn subresource(&self, subresource: &OpenApiSubresource, parameters: &[Value]) -> Value {
        let mut item = json!({ "parameters": parameters });
        let suffix = camel(&subresource.name);
        let ty = subresource.type_name.as_str();
        let gvk = json!({ "group": subresource.group, "version": subresource.version, "kind": subresource.kind });
        for verb in &subresource.verbs {
            match verb.as_str() {
                "get" => item["get"] = self.read(&suffix, ty, gvk.clone()),
                "update" => item["put"] = self.replace(&suffix, ty, gvk.clone()),
                "patch" => item["patch"] = self.patch(&suffix, ty, gvk.clone()),
                "create" => {
                    let body = BodyType { schema: ty, types: vec!["*/*"], required: true };
                    let operation = self.start("post", "create", "", &suffix, WRITE, Some(body), ty, &CREATED_CODES);
                    item["post"] = Operation { about: Some(("post", gvk.clone())), ..operation }.write(self.flavour);
                }
                _ => {}
            }
        }
        item
    }

    fn gvk(&self) -> Value {
        json!({ "group": self.group.group, "version": self.group.version, "kind": self.kind.kind })
    }

    fn create(&self) -> Value {
        let name = self.kind.type_name.as_str();
        let body = BodyType { schema: name, types: vec!["*/*"], required: true };
        self.operation("post", "create", "", "", WRITE, Some(body), name, &CREATED_CODES)
    }

    fn read(&self, suffix: &str, ty: &str, gvk: Value) -> Value {
        let operation = self.start("get", "read", "", suffix, &[], None, ty, &[OK]);
        Operation { about: Some(("get", gvk)), ..operation }.write(self.flavour)
    }

    fn replace(&self, suffix: &str, ty: &str, gvk: Value) -> Value {
        let body = BodyType { schema: ty, types: vec!["*/*"], required: true };
        let operation = self.start("put", "replace", "", suffix, WRITE, Some(body), ty, &[OK, CREATED]);
        Operation { about: Some(("put", gvk)), ..operation }.write(self.flavour)
    }

    fn patch(&self, suffix: &str, ty: &str, gvk: Value) -> Value {
        let custom = self.media().custom;
        let types = PATCH_TYPES.iter().copied().filter(|ty| !(custom && *ty == STRATEGIC)).collect();
        let body = BodyType { schema: PATCH, types, required: true };
        let operation = self.start("patch", "patch", "", suffix, PATCHING, Some(body), ty, &[OK, CREATED]);
        Operation { about: Some(("patch", gvk)), ..operation }.write(self.flavour)
    }

    fn delete_collection(&self) -> Value {
        // What lists take beyond what a deletion takes is about watches.
        let selecting = self.listing.iter().filter(|(name, ..)| !["allowWatchBookmarks", "watch"].contains(name));
        let mut query: Vec<Parameter> = selecting.chain(DELETE).copied().collect();
        query.sort_unstable();
        self.operation("deletecollection", "delete", "Collection", "", &query, Some(options()), STATUS, &[OK])
    }

    fn list(&self, suffix: &str, query: &[Parameter]) -> Value {
        let name = list_name(&self.kind.type_name);
        let mut operation = self.start("list", "list", "", suffix, query, None, &name, &[OK]);
        operation.media.streams = true;
        operation.write(self.flavour)
    }

    fn watch(&self, action: &'static str, suffix: &str) -> Value {
        let suffix = if action == "watchlist" { format!("List{suffix}") } else { suffix.to_owned() };
        let mut operation = self.start(action, "watch", "", &suffix, &[], None, WATCH_EVENT, &[OK]);
        operation.media.streams = true;
        operation.write(self.flavour)
    }

    fn media(&self) -> Media {
        Media { custom: !self.kind.schema.is_builtin(), streams: false }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the operation")]
    fn operation(
        &self,
        action: &'static str,
        verb: &str,
        infix: &str,
        suffix: &str,
        query: &[Parameter],
        body: Option<BodyType<'_>>,
        answer: &str,
        codes: &'static [(&'static str, &'static str)],
    ) -> Value {
        self.start(action, verb, infix, suffix, query, body, answer, codes).write(self.flavour)
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the operation")]
    fn start<'b>(
        &self,
        action: &'static str,
        verb: &str,
        infix: &str,
        suffix: &str,
        query: &[Parameter],
        body: Option<BodyType<'b>>,
        answer: &'b str,
        codes: &'static [(&'static str, &'static str)],
    ) -> Operation<'b> {
        let everywhere = suffix.ends_with("ForAllNamespaces");
        let scope = if self.kind.namespaced && !everywhere { "Namespaced" } else { "" };
        let kind = &self.kind.kind;
        Operation {
            id: format!("{verb}{}{infix}{scope}{kind}{suffix}", place(self.group)),
            description: describe(action, verb, suffix, kind),
            tag: tag(self.group.group, self.group.version),
            media: self.media(),
            query: query.to_vec(),
            body,
            answer,
            codes,
            about: Some((action, self.gvk())),
        }
    }
}

const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");
const CREATED_CODES: [(&str, &str); 3] = [OK, CREATED, ACCEPTED];

fn options() -> BodyType<'static> {
    BodyType { schema: DELETE_OPTIONS, types: vec!["*/*"], required: false }
}

fn describe(action: &str, verb: &str, suffix: &str, kind: &str) -> String {
    let verb = match verb {
        "read" => "Reads",
        "list" => "Lists",
        "watch" => "Watches",
        "create" => "Creates",
        "replace" => "Replaces",
        "patch" => "Changes parts of",
        _ => "Deletes",
    };
    match action {
        "list" | "watchlist" | "deletecollection" => format!("{verb} objects of kind {kind}."),
        _ if suffix.is_empty() => format!("{verb} one {kind}."),
        _ => format!("{verb} {} of one {kind}.", suffix.to_lowercase()),
    }
}

/// `apps`, `v1` is `apps_v1`; the core group is `core_v1`.
fn tag(group: &str, version: &str) -> String {
    format!("{}_{version}", group_tag(group))
}

/// `apps` is itself, `rbac.authorization.k8s.io` is `rbacAuthorization`.
fn group_tag(group: &str) -> String {
    let name = camel(if group.is_empty() { "core" } else { group });
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// A group or another name as a part of an operation's id (apiserver `ToValidOperationID`).
fn camel(text: &str) -> String {
    let words = text.strip_suffix(".k8s.io").unwrap_or(text).split(['.', '-']);
    words
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect()
}

/// The documents of paths that are no group's version: the roots, groups, and the version.
pub(super) fn root(flavour: Flavour, about: &str) -> Option<(String, Value, &'static str)> {
    let group = about.strip_prefix("apis/");
    let (path, id, tag, answer) = match about {
        "api" => ("/api/".to_owned(), "getCoreAPIVersions".to_owned(), "core".to_owned(), "APIVersions"),
        "apis" => ("/apis/".to_owned(), "getAPIVersions".to_owned(), "apis".to_owned(), "APIGroupList"),
        _ => {
            let group = group?;
            (format!("/apis/{group}/"), format!("get{}APIGroup", camel(group)), group_tag(group), "APIGroup")
        }
    };
    let answer: &'static str = match answer {
        "APIVersions" => "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions",
        "APIGroupList" => "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList",
        _ => "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup",
    };
    let operation = Operation {
        id,
        description: "What is served there.".to_owned(),
        tag,
        media: Media::default(),
        query: Vec::new(),
        body: None,
        answer,
        codes: &[OK],
        about: None,
    };
    Some((path, json!({ "get": operation.write(flavour) }), answer))
}

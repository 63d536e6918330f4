//! Paths below objects that lead to somebody else: `exec`, `attach`, `portforward`, `proxy`, and `log`. What goes through them is
//! text to a generated client, whatever it is; their parameters are the fields of a kind of options.

use serde_json::{Map, Value, json};

use super::{Flavour, OpenApiSubresource, descriptions};
use crate::model::{Body, Ty, TyKind, model};

/// Kinds whose fields are parameters, and nothing that is sent.
const OPTIONS: [&str; 6] = [
    "NodeProxyOptions",
    "PodAttachOptions",
    "PodExecOptions",
    "PodPortForwardOptions",
    "PodProxyOptions",
    "ServiceProxyOptions",
];
const PROXIED: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];
const STREAMED: [&str; 2] = ["get", "post"];
const LOG_TYPES: [&str; 4] =
    ["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Whether a subresource leads to somebody else.
pub(super) fn leads_elsewhere(subresource: &OpenApiSubresource) -> bool {
    OPTIONS.contains(&subresource.kind.as_str()) || is_log(subresource)
}

fn is_log(subresource: &OpenApiSubresource) -> bool {
    (subresource.name.as_str(), subresource.kind.as_str()) == ("log", "Pod")
}

/// What all operations of one such path share.
pub(super) struct Place<'a> {
    pub flavour: Flavour,
    /// `CoreV1`, and `NamespacedPod` or `Node`.
    pub group: String,
    pub owner: String,
    pub tag: String,
    /// Of the path: its name, its namespace; and `pretty`, which only a log knows.
    pub parameters: Vec<Value>,
    pub parameter: fn(Flavour, &str, &str, &str, &str) -> Value,
    pub subresource: &'a OpenApiSubresource,
}

impl Place<'_> {
    /// Adds the paths at and below `path`.
    pub(super) fn paths(&self, path: &str, out: &mut Map<String, Value>) {
        if is_log(self.subresource) {
            let mut item = json!({ "parameters": self.parameters_with("PodLogOptions") });
            let id = format!("read{}{}Log", self.group, self.owner);
            item["get"] = self.operation(id, "get", "Reads the log of one container.", &LOG_TYPES);
            out.insert(path.to_owned(), item);
            return;
        }
        let parameters = self.parameters_with(&self.subresource.kind);
        let is_proxy = self.subresource.name == "proxy";
        out.insert(path.to_owned(), self.item(parameters.clone(), ""));
        if is_proxy {
            let rest = "What follows in the path of the request that is passed on.";
            let rest = (self.parameter)(self.flavour, "path", "path", "string", rest);
            out.insert(format!("{path}/{{path}}"), self.item([parameters, vec![rest]].concat(), "WithPath"));
        }
    }

    fn item(&self, parameters: Vec<Value>, suffix: &str) -> Value {
        let name = self.subresource.name.as_str();
        let (word, methods) = match name {
            "attach" => ("Attach", &STREAMED[..]),
            "exec" => ("Exec", &STREAMED[..]),
            "portforward" => ("Portforward", &STREAMED[..]),
            _ => ("Proxy", &PROXIED[..]),
        };
        let mut item = json!({ "parameters": parameters });
        for method in methods {
            let verb = method[..1].to_uppercase() + &method[1..];
            let id = format!("connect{}{verb}{}{word}{suffix}", self.group, self.owner);
            item[*method] = self.operation(id, "connect", &format!("Leads to {name}."), &["*/*"]);
        }
        item
    }

    fn parameters_with(&self, options: &str) -> Vec<Value> {
        let is_known = |parameter: &&Value| is_log(self.subresource) || parameter["name"] != "pretty";
        let mut parameters: Vec<Value> = self.parameters.iter().filter(is_known).cloned().collect();
        let Some(def) = model().by_kind("", "v1", options).map(|id| model().get(id)) else { return parameters };
        let Body::Struct(fields) = &def.body else { return parameters };
        let mut own: Vec<_> =
            fields.fields.iter().filter(|field| !["apiVersion", "kind"].contains(&field.name)).collect();
        // Upstream publishes none whose type is no simple one, as is the time from which on a log is told.
        own.retain(
            |field| !matches!(field.ty.kind, TyKind::Named(id) if matches!(model().get(id).body, Body::Leaf(_))),
        );
        // A field that differs between minors stands there for each of them.
        own.dedup_by_key(|field| field.name);
        parameters.extend(own.into_iter().map(|field| {
            let description = descriptions::of_field(def, field.name, None).unwrap_or_default();
            (self.parameter)(self.flavour, "query", field.name, json_type(&field.ty), &description)
        }));
        parameters
    }

    fn operation(&self, id: String, action: &str, description: &str, types: &[&str]) -> Value {
        let OpenApiSubresource { group, version, kind, .. } = self.subresource;
        let mut operation = json!({
            "operationId": id, "description": description, "tags": [self.tag], "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": { "group": group, "version": version, "kind": kind },
        });
        let text = json!({ "type": "string" });
        let mut answer = json!({ "description": "OK" });
        match self.flavour {
            Flavour::V2 => {
                answer["schema"] = text;
                operation["schemes"] = json!(["https"]);
                operation["produces"] = json!(types);
                operation["consumes"] = json!(["*/*"]);
            }
            Flavour::V3 => {
                let content: Map<String, Value> =
                    types.iter().map(|ty| ((*ty).to_owned(), json!({ "schema": text }))).collect();
                answer["content"] = Value::Object(content);
            }
        }
        operation["responses"] = json!({ "200": answer, "401": { "description": "Unauthorized" } });
        operation
    }
}

/// How a field is written as a parameter; of a list, one at a time.
fn json_type(ty: &Ty) -> &'static str {
    match &ty.kind {
        TyKind::Bool => "boolean",
        TyKind::Int32 | TyKind::Int64 => "integer",
        TyKind::List(item) => json_type(item),
        _ => "string",
    }
}

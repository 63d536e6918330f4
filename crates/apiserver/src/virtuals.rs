//! Kinds that are asked and not stored: reviews of tokens and of access, the state of the control plane, bindings.

use std::sync::Arc;

use k8s_auth::Attributes;
use k8s_client::{Body, Reply, Verb};
use k8s_object::{ApiError, FieldSelector, LabelSelector, Object, Properties, UserInfo};
use serde_json::{Value, json};

use crate::core::Call;
use crate::ports::{AuthError, Decision};
use crate::{admission, managed, metadata, selectors, subresources, write};

/// What upstream's webhook authorizer says when it is asked for rules; EKS has such an authorizer.
const NO_RULES: &str = "webhook authorizer does not support user rule resolution";

/// And what its Node authorizer says.
const NO_NODE_RULES: &str = "node authorizer does not support user rule resolution";

/// Answers what is asked.
pub(crate) async fn answer(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    match call.resource.kind.as_str() {
        "Binding" => subresources::bind(call, body).await,
        "ComponentStatus" => component_statuses(call),
        _ => review(call, body).await,
    }
}

/// The parts of the control plane: all of this process, so all are well when one answers.
fn component_statuses(call: &Call<'_>) -> Result<Reply, ApiError> {
    const COMPONENTS: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];
    let status = |name: &str| {
        let value = json!({
            "apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
        });
        Object::from_value(&value).map(Arc::new).map_err(ApiError::internal)
    };
    if call.request.verb == Verb::Get {
        let name = call.request.name.as_str();
        let known = COMPONENTS.contains(&name);
        // Upstream says it so, in the singular.
        return if known {
            Ok(Reply::Object(status(name)?))
        } else {
            Err(ApiError::not_found("", "componentstatus", name))
        };
    }
    let options = &call.request.options;
    let labels = LabelSelector::parse(options.label_selector.as_deref().unwrap_or(""));
    let labels = labels.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let fields = FieldSelector::parse(options.field_selector.as_deref().unwrap_or(""));
    let fields = fields.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let selected = |name: &&&str| {
        let matches = |(path, value, equal): &(String, String, bool)| {
            let own = if path == "metadata.name" { **name } else { "" };
            (own == value) == *equal
        };
        labels.matches(&Properties::default()) && fields.terms.iter().all(matches)
    };
    let items = COMPONENTS.iter().filter(selected).map(|name| status(name)).collect::<Result<_, _>>()?;
    Ok(Reply::List { items, resource_version: String::new(), continue_token: String::new(), remaining: None })
}

/// Answers a review.
async fn review(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let mut review = match body {
        Body::None => json!({}),
        body => {
            let (mut review, text) = write::parse(body)?;
            write::conform(call, &mut review, text)?;
            review
        }
    };
    let (api_version, kind) = (call.resource.api_version(), call.resource.kind.clone());
    admission::admit_below(call, (&api_version, &kind), &mut review, None).await?;
    let owners = managed::of_create(call, &mut review, None)?;
    let status = match call.resource.kind.as_str() {
        "LocalSubjectAccessReview" | "SelfSubjectAccessReview" | "SubjectAccessReview" => access(call, &review).await?,
        "SelfSubjectRulesReview" => rules(call, &review)?,
        "SelfSubjectReview" => json!({"userInfo": *call.user.as_ref()}),
        "TokenReview" => token(call, &review).await?,
        other => return Err(ApiError::bad_request(format!("{other} is not supported by Minato yet"))),
    };
    complete(call, &mut review, owners)?;
    review["status"] = status;
    Ok(Reply::Value(review))
}

/// What stands beside the answer: the question with its metadata and who asked, where upstream does not make a new object.
fn complete(call: &Call<'_>, review: &mut Value, owners: Option<String>) -> Result<(), ApiError> {
    // A time that is not known was null before it could be absent.
    const ABSENT_SINCE: u8 = 34;
    let is_null = call.core.minor < ABSENT_SINCE;
    match call.resource.kind.as_str() {
        "SelfSubjectReview" => review["metadata"] = json!({"creationTimestamp": call.now.to_string()}),
        "SelfSubjectRulesReview" => {
            review["metadata"] = json!({});
            review["spec"] = json!({});
        }
        _ => {
            let owners = owners.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            if let Some(owners) = owners {
                metadata::of(review)?.insert("managedFields".into(), owners);
            }
        }
    }
    if is_null {
        metadata::of(review)?.entry("creationTimestamp").or_insert(Value::Null);
    }
    Ok(())
}

/// Refuses a question that cannot be asked. Upstream has forgotten the kind by then.
fn check(call: &Call<'_>, review: &Value) -> Result<(), ApiError> {
    let Some(kind) = call.builtin() else { return Ok(()) };
    let causes = (kind.validate)(review, &call.kind_context(None));
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(&call.resource.group, "", "", causes)) }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The user that a review is about.
fn subject(call: &Call<'_>, review: &Value) -> UserInfo {
    if call.resource.kind == "SelfSubjectAccessReview" {
        return call.user.as_ref().clone();
    }
    let spec = &review["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or("").to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra = extra.map(|(key, values)| (key.clone(), texts(values))).collect();
    UserInfo { username: text("user"), groups: texts(&spec["groups"]), uid: text("uid"), extra }
}

async fn access(call: &Call<'_>, review: &Value) -> Result<Value, ApiError> {
    check(call, review)?;
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |value: &'static str| resource[value].as_str().unwrap_or("");
    let namespace = &call.request.namespace;
    if call.resource.kind == "LocalSubjectAccessReview" && *namespace != metadata::text(review, "namespace") {
        let message = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
        return Err(ApiError::bad_request(message));
    }
    let user = subject(call, review);
    let (fields, labels) =
        (selectors::fields(&resource["fieldSelector"]), selectors::labels(&resource["labelSelector"]));
    let attributes = match resource.is_object() {
        true => Attributes {
            version: if text("version").is_empty() { "*" } else { text("version") },
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            field_selector: fields.selector.as_ref(),
            label_selector: labels.selector.as_ref(),
            ..Attributes::resource(&user, text("verb"), text("group"), text("resource"))
        },
        false => Attributes::path(&user, path["verb"].as_str().unwrap_or(""), path["path"].as_str().unwrap_or("")),
    };
    let verdict = call.core.auth.judge(call.core, &attributes).await;
    let mut problems: Vec<String> = Some(verdict.error).into_iter().filter(|error| !error.is_empty()).collect();
    let mut status = match verdict.decision {
        Decision::Allow(reason) => with_reason(json!({"allowed": true}), &reason),
        Decision::NoOpinion(reason) => with_reason(json!({"allowed": false}), &reason),
        Decision::Deny(reason) => with_reason(json!({"allowed": false, "denied": true}), &reason),
    };
    for (parsed, name) in [(fields.problem(), "fieldSelector"), (labels.problem(), "labelSelector")] {
        problems.extend(parsed.map(|what| format!("spec.resourceAttributes.{name} {what} due to parse error")));
    }
    if !problems.is_empty() {
        status["evaluationError"] = json!(problems.join("; "));
    }
    Ok(status)
}

fn with_reason(mut status: Value, reason: &str) -> Value {
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    status
}

fn rules(call: &Call<'_>, review: &Value) -> Result<Value, ApiError> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or("");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    let resolved = call.core.auth.rbac().rules_for(call.user, namespace);
    for rule in resolved.rules {
        if !rule.resources.is_empty() {
            let mut entry = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                entry["resourceNames"] = json!(rule.resource_names);
            }
            resources.push(entry);
        }
        if !rule.non_resource_urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    let others = call.core.auth.asks_others().then_some(NO_RULES);
    let node = k8s_auth::node::node_name(call.user).map(|_| NO_NODE_RULES);
    let incomplete = others.is_some() || node.is_some();
    let mut problems: Vec<String> = others.into_iter().chain(node).map(str::to_owned).collect();
    problems.extend(resolved.missing);
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete});
    match &problems[..] {
        [] => {}
        [one] => status["evaluationError"] = json!(one),
        many => status["evaluationError"] = json!(format!("[{}]", many.join(", "))),
    }
    Ok(status)
}

async fn token(call: &Call<'_>, review: &Value) -> Result<Value, ApiError> {
    let spec = &review["spec"];
    let token = spec["token"].as_str().unwrap_or("");
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Option<Vec<String>> = spec["audiences"]
        .as_array()
        .filter(|list| !list.is_empty())
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    Ok(match call.core.auth.user_of_token(call.core, token, audiences.as_deref()).await {
        Ok(Some(known)) => json!({"authenticated": true, "user": known.user, "audiences": known.audiences}),
        Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(AuthError::Invalid(error) | AuthError::Unavailable(error)) => json!({"user": {}, "error": error}),
    })
}

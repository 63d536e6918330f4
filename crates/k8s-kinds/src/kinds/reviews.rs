//! Kinds that are questions: the server answers in `status` and stores nothing.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{forbidden, invalid, required};
use crate::fields::{at, is_empty, text};
use crate::{Context, Kind, Scope, names};

const CREATE: &[&str] = &["create"];

const REVIEW: Kind = Kind { scope: Scope::Cluster, verbs: CREATE, columns: &[], ..Kind::BASE };

const AUTHENTICATION: Kind = Kind { group: "authentication.k8s.io", ..REVIEW };

const AUTHORIZATION: Kind = Kind { group: "authorization.k8s.io", ..REVIEW };

pub(crate) static SELF_SUBJECT_REVIEW: Kind = Kind {
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    type_name: "io.k8s.api.authentication.v1.SelfSubjectReview",
    ..AUTHENTICATION
};

pub(crate) static TOKEN_REVIEW: Kind = Kind {
    kind: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    type_name: "io.k8s.api.authentication.v1.TokenReview",
    validate: |object, _| match text(object, "spec.token") {
        "" => vec![required("spec.token", "")],
        _ => Vec::new(),
    },
    ..AUTHENTICATION
};

pub(crate) static LOCAL_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    scope: Scope::Namespaced,
    type_name: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    validate: |object, _| {
        let mut causes = subject(object);
        causes.extend(metadata(object, "must be empty except for namespace"));
        let (own, asked) = (text(object, "metadata.namespace"), text(object, "spec.resourceAttributes.namespace"));
        if own != asked {
            causes.push(invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace"));
        }
        if !at(object, "spec.nonResourceAttributes").is_null() {
            let value = at(object, "spec.nonResourceAttributes").clone();
            causes.push(invalid("spec.nonResourceAttributes", value, "disallowed on this kind of request"));
        }
        causes
    },
    ..AUTHORIZATION
};

pub(crate) static SELF_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    type_name: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    validate: |object, _| {
        let mut causes = attributes(object);
        causes.extend(metadata(object, "must be empty"));
        causes
    },
    ..AUTHORIZATION
};

pub(crate) static SELF_SUBJECT_RULES_REVIEW: Kind = Kind {
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    type_name: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    ..AUTHORIZATION
};

pub(crate) static SUBJECT_ACCESS_REVIEW: Kind = Kind {
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    type_name: "io.k8s.api.authorization.v1.SubjectAccessReview",
    validate: |object, _: &Context<'_>| {
        let mut causes = subject(object);
        causes.extend(metadata(object, "must be empty"));
        causes
    },
    ..AUTHORIZATION
};

/// Nothing says what a question is called.
fn metadata(object: &Value, problem: &str) -> Vec<Cause> {
    let own = at(object, "metadata");
    let may_have = |key: &str| {
        key == "managedFields" || key == "creationTimestamp" || (key == "namespace" && problem != "must be empty")
    };
    let extra = own.as_object().into_iter().flatten().any(|(key, value)| !may_have(key) && !is_empty(value));
    if extra { vec![invalid("metadata", own.clone(), problem)] } else { Vec::new() }
}

/// Exactly one of both kinds of attributes.
fn exactly_one(object: &Value) -> Vec<Cause> {
    let (resource, other) = (at(object, "spec.resourceAttributes"), at(object, "spec.nonResourceAttributes"));
    match (resource.is_null(), other.is_null()) {
        (true, true) => {
            vec![invalid(
                "spec.resourceAttributes",
                other.clone(),
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )]
        }
        (false, false) => {
            vec![invalid(
                "spec.nonResourceAttributes",
                other.clone(),
                "cannot be specified in combination with resourceAttributes",
            )]
        }
        _ => Vec::new(),
    }
}

fn attributes(object: &Value) -> Vec<Cause> {
    let mut causes = exactly_one(object);
    causes.extend(selectors(object));
    causes
}

/// By what a list is narrowed: in the form of text, or as requirements. Operators that are not known are for the one who decides.
fn selectors(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for name in ["fieldSelector", "labelSelector"] {
        let path = format!("spec.resourceAttributes.{name}");
        let selector = at(object, &path);
        if selector.is_null() {
            continue;
        }
        let (raw, requirements) = (text(selector, "rawSelector"), at(selector, "requirements"));
        match (raw.is_empty(), is_empty(requirements)) {
            (false, false) => {
                let problem = "may not specified at the same time as requirements";
                causes.push(invalid(format!("{path}.rawSelector"), raw, problem));
            }
            (true, true) => {
                let problem = format!("when {path} is specified, requirements or rawSelector is required");
                causes.push(required(format!("{path}.requirements"), &problem));
            }
            _ => {}
        }
        for (index, requirement) in requirements.as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.requirements[{index}]");
            let key = text(requirement, "key");
            if name == "fieldSelector" && key.is_empty() {
                causes.push(required(format!("{path}.key"), "must be specified"));
            }
            let none = is_empty(at(requirement, "values"));
            match text(requirement, "operator") {
                "In" | "NotIn" if none => {
                    let problem = "must be specified when `operator` is 'In' or 'NotIn'";
                    causes.push(required(format!("{path}.values"), problem));
                }
                "Exists" | "DoesNotExist" if !none => {
                    let problem = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    causes.push(forbidden(format!("{path}.values"), problem));
                }
                _ => {}
            }
            if name == "labelSelector" {
                causes.extend(label(requirement, &path));
            }
        }
    }
    causes
}

fn label(requirement: &Value, path: &str) -> Vec<Cause> {
    let key = text(requirement, "key");
    let mut causes: Vec<Cause> =
        names::qualified(key).into_iter().map(|problem| invalid(format!("{path}.key"), key, &problem)).collect();
    for (index, value) in at(requirement, "values").as_array().into_iter().flatten().enumerate() {
        let value = value.as_str().unwrap_or("");
        let at = format!("{path}.values[{index}]");
        causes.extend(names::label_value(value).into_iter().map(|problem| invalid(at.clone(), value, &problem)));
    }
    causes
}

fn subject(object: &Value) -> Vec<Cause> {
    let mut causes = exactly_one(object);
    if text(object, "spec.user").is_empty() && is_empty(at(object, "spec.groups")) {
        causes.push(invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    causes.extend(selectors(object));
    causes
}

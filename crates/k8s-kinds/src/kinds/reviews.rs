//! Kinds that are questions: the server answers in `status` and stores nothing.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{invalid, required};
use crate::fields::{at, is_empty, text};
use crate::{Context, Kind, Scope};

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
    validate: |object, _| attributes(object),
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
    validate: |object, _: &Context<'_>| subject(object),
    ..AUTHORIZATION
};

/// Exactly one of both kinds of attributes.
fn attributes(object: &Value) -> Vec<Cause> {
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

fn subject(object: &Value) -> Vec<Cause> {
    let mut causes = attributes(object);
    if text(object, "spec.user").is_empty() && is_empty(at(object, "spec.groups")) {
        causes.push(invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    causes
}

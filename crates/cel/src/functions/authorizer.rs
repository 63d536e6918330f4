//! The authorizer: `authorizer.group("apps").resource("deployments").namespace("default").check("create").allowed()`.

use std::sync::Arc;

use super::{Def, Library, named_format};
use crate::error::EvalError;
use crate::val::Val;

/// Selectors come with this minor.
const SELECTORS_MINOR: u32 = 31;

/// Whoever answers the checks of an expression. The user of the request is known to it.
pub trait Authorizer: std::fmt::Debug + Sync {
    fn authorize(&self, check: &Check<'_>, verb: &str) -> AuthorizerDecision;
}

/// What an authorizer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizerDecision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// What is asked, as far as the expression has said it.
#[derive(Clone, Debug)]
pub struct Check<'a> {
    pub(crate) authorizer: &'a dyn Authorizer,
    /// Asked for instead of the user of the request.
    pub service_account: Option<ServiceAccount>,
    pub kind: CheckKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CheckKind {
    /// Nothing yet: the authorizer itself.
    #[default]
    Any,
    Group(String),
    Path(String),
    Resource(ResourceCheck),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceCheck {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// As text; empty when none was given.
    pub field_selector: String,
    pub label_selector: String,
}

impl<'a> Check<'a> {
    /// The value of the variable `authorizer`.
    pub fn authorizer(authorizer: &'a dyn Authorizer) -> Val<'a> {
        Self { authorizer, service_account: None, kind: CheckKind::Any }.into_val()
    }

    /// The value of the variable `authorizer.requestResource`.
    pub fn resource(authorizer: &'a dyn Authorizer, resource: ResourceCheck) -> Val<'a> {
        Self { authorizer, service_account: None, kind: CheckKind::Resource(resource) }.into_val()
    }

    fn into_val(self) -> Val<'a> {
        Val::Library(Library::Authorizer(Arc::new(self)))
    }

    fn with(&self, kind: CheckKind) -> Val<'a> {
        Self { kind, ..self.clone() }.into_val()
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.kind {
            CheckKind::Any => "kubernetes.authorization.Authorizer",
            CheckKind::Group(_) => "kubernetes.authorization.GroupCheck",
            CheckKind::Path(_) => "kubernetes.authorization.PathCheck",
            CheckKind::Resource(_) => "kubernetes.authorization.ResourceCheck",
        }
    }
}

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "path",
        since: 27,
        call: |args, _| {
            let (check, path) = one(args)?;
            if path.trim().is_empty() {
                return Err(EvalError::new("path must not be empty"));
            }
            Ok(check.with(CheckKind::Path(path.to_owned())))
        },
        overloads: &[(
            "authorizer_path",
            ".kubernetes.authorization.Authorizer, string",
            "kubernetes.authorization.PathCheck",
        )],
    },
    Def {
        name: "group",
        since: 27,
        call: |args, _| one(args).map(|(check, group)| check.with(CheckKind::Group(group.to_owned()))),
        overloads: &[(
            "authorizer_group",
            ".kubernetes.authorization.Authorizer, string",
            "kubernetes.authorization.GroupCheck",
        )],
    },
    Def {
        name: "serviceAccount",
        since: 27,
        call: service_account,
        overloads: &[(
            "authorizer_serviceaccount",
            ".kubernetes.authorization.Authorizer, string, string",
            "kubernetes.authorization.Authorizer",
        )],
    },
    Def {
        name: "resource",
        since: 27,
        call: |args, _| {
            let (check, resource) = one(args)?;
            let CheckKind::Group(group) = &check.kind else { return Err(EvalError::NoSuchOverload) };
            if resource.trim().is_empty() {
                return Err(EvalError::new("resource must not be empty"));
            }
            let (group, resource) = (group.clone(), resource.to_owned());
            Ok(check.with(CheckKind::Resource(ResourceCheck { group, resource, ..ResourceCheck::default() })))
        },
        overloads: &[(
            "groupcheck_resource",
            ".kubernetes.authorization.GroupCheck, string",
            "kubernetes.authorization.ResourceCheck",
        )],
    },
    Def {
        name: "subresource",
        since: 27,
        call: |args, _| refine(args, |check, value| check.subresource = value),
        overloads: &[("resourcecheck_subresource", RESOURCE_STRING, RESOURCE)],
    },
    Def {
        name: "namespace",
        since: 27,
        call: |args, _| refine(args, |check, value| check.namespace = value),
        overloads: &[("resourcecheck_namespace", RESOURCE_STRING, RESOURCE)],
    },
    Def {
        name: "name",
        since: 27,
        call: |args, _| refine(args, |check, value| check.name = value),
        overloads: &[("resourcecheck_name", RESOURCE_STRING, RESOURCE)],
    },
    Def {
        name: "fieldSelector",
        since: SELECTORS_MINOR,
        call: |args, _| refine(args, |check, value| check.field_selector = value),
        overloads: &[("authorizer_fieldselector", RESOURCE_STRING, RESOURCE)],
    },
    Def {
        name: "labelSelector",
        since: SELECTORS_MINOR,
        call: |args, _| refine(args, |check, value| check.label_selector = value),
        overloads: &[("authorizer_labelselector", RESOURCE_STRING, RESOURCE)],
    },
    Def {
        name: "check",
        since: 27,
        call: |args, _| {
            let (check, verb) = one(args)?;
            match check.kind {
                CheckKind::Path(_) | CheckKind::Resource(_) => {
                    let decision = check.authorizer.authorize(check, verb);
                    Ok(Val::Library(Library::Decision(Arc::new(decision))))
                }
                CheckKind::Any | CheckKind::Group(_) => Err(EvalError::NoSuchOverload),
            }
        },
        overloads: &[
            ("pathcheck_check", ".kubernetes.authorization.PathCheck, string", "kubernetes.authorization.Decision"),
            ("resourcecheck_check", RESOURCE_STRING, "kubernetes.authorization.Decision"),
        ],
    },
    Def {
        name: "errored",
        since: 27,
        call: |args, _| decision(args, |decision| Val::Bool(decision.error.is_some())),
        overloads: &[("decision_errored", ".kubernetes.authorization.Decision", "bool")],
    },
    Def {
        name: "error",
        since: 27,
        call: |args, _| decision(args, |decision| Val::from(decision.error.clone().unwrap_or_default())),
        overloads: &[("decision_error", ".kubernetes.authorization.Decision", "string")],
    },
    Def {
        name: "allowed",
        since: 27,
        call: |args, _| decision(args, |decision| Val::Bool(decision.allowed)),
        overloads: &[("decision_allowed", ".kubernetes.authorization.Decision", "bool")],
    },
    Def {
        name: "reason",
        since: 27,
        call: |args, _| decision(args, |decision| Val::from(decision.reason.clone())),
        overloads: &[("decision_reason", ".kubernetes.authorization.Decision", "string")],
    },
];

const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";
const RESOURCE_STRING: &str = ".kubernetes.authorization.ResourceCheck, string";

/// A check and a text.
fn one<'v, 'a>(args: &'v [Val<'a>]) -> Result<(&'v Check<'a>, &'v str), EvalError> {
    match args {
        [Val::Library(Library::Authorizer(check)), Val::String(text)] => Ok((check, text.as_str())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn refine<'a>(args: &[Val<'a>], set: fn(&mut ResourceCheck, String)) -> Result<Val<'a>, EvalError> {
    let (check, value) = one(args)?;
    let CheckKind::Resource(resource) = &check.kind else { return Err(EvalError::NoSuchOverload) };
    let mut resource = resource.clone();
    set(&mut resource, value.to_owned());
    Ok(check.with(CheckKind::Resource(resource)))
}

fn service_account<'a>(args: &[Val<'a>], _: &mut crate::meter::Meter) -> Result<Val<'a>, EvalError> {
    let [Val::Library(Library::Authorizer(check)), Val::String(namespace), Val::String(name)] = args else {
        return Err(EvalError::NoSuchOverload);
    };
    let (namespace, name) = (namespace.as_str(), name.as_str());
    if !named_format::is_dns1123_subdomain(name) {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !named_format::is_dns1123_label(namespace) {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let account = ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() };
    Ok(Check { service_account: Some(account), ..(**check).clone() }.into_val())
}

fn decision<'a>(args: &[Val<'a>], of: fn(&AuthorizerDecision) -> Val<'a>) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Library(Library::Decision(decision))] => Ok(of(decision)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

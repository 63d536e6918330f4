//! What expressions ask the server's authorizers.
//!
//! An expression cannot wait, and a webhook that authorizes must be waited for. So where there are such, what is asked for the first
//! time is written down and has no answer; whoever evaluates gets the answers then ([`settle`]) and evaluates once more.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use cel::{Check, CheckKind, ResourceCheck};
use k8s_auth::Attributes;
use k8s_object::{FieldSelector, LabelSelector, UserInfo};

use crate::core::{Call, Core};
use crate::ports::Decision;

/// Checks of one request that others are asked about; further ones are told that nobody allows them.
const MAX_CHECKS: usize = 64;

/// One check.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    /// Namespace and name of the account that it is about, where it is not about the user of the request.
    account: Option<(String, String)>,
    verb: String,
    about: About,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Path(String),
    /// Group, resource, subresource, namespace, name, and selectors as text.
    Resource([String; 7]),
}

/// What has been asked and answered while a request is admitted.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Known>);

#[derive(Default)]
struct Known {
    given: BTreeMap<Asked, cel::AuthorizerDecision>,
    open: BTreeSet<Asked>,
}

/// A check with what it refers to.
struct Question<'a> {
    asked: &'a Asked,
    user: Cow<'a, UserInfo>,
    fields: Option<FieldSelector>,
    labels: Option<LabelSelector>,
}

impl<'a> Question<'a> {
    fn new(asked: &'a Asked, user: &'a UserInfo) -> Question<'a> {
        let user = match &asked.account {
            Some((namespace, name)) => Cow::Owned(UserInfo::service_account(namespace, name)),
            None => Cow::Borrowed(user),
        };
        // A selector that cannot be read narrows nothing.
        let (fields, labels) = match &asked.about {
            About::Resource([.., fields, labels]) => (
                Some(fields).filter(|text| !text.is_empty()).and_then(|text| FieldSelector::parse(text).ok()),
                Some(labels).filter(|text| !text.is_empty()).and_then(|text| LabelSelector::parse(text).ok()),
            ),
            About::Path(_) => (None, None),
        };
        Question { asked, user, fields, labels }
    }

    fn attributes(&self) -> Attributes<'_> {
        match &self.asked.about {
            About::Path(path) => Attributes::path(&self.user, &self.asked.verb, path),
            About::Resource([group, resource, subresource, namespace, name, ..]) => Attributes {
                version: "*",
                subresource,
                namespace,
                name,
                field_selector: self.fields.as_ref(),
                label_selector: self.labels.as_ref(),
                ..Attributes::resource(&self.user, &self.asked.verb, group, resource)
            },
        }
    }
}

fn told(decision: Decision, error: String) -> cel::AuthorizerDecision {
    let (allowed, reason) = match decision {
        Decision::Allow(reason) => (true, reason),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
    };
    cel::AuthorizerDecision { allowed, reason, error: Some(error).filter(|error| !error.is_empty()) }
}

/// Gets the answers to what expressions have asked since the last time; false if they have asked nothing new.
pub(super) async fn settle(call: &Call<'_>) -> bool {
    let answers = &call.aside.answers;
    let known = || answers.0.lock().unwrap_or_else(PoisonError::into_inner);
    let open = std::mem::take(&mut known().open);
    let asked_any = !open.is_empty();
    for asked in open {
        let question = Question::new(&asked, call.user);
        let verdict = call.core.auth.judge(call.core, &question.attributes()).await;
        drop(question);
        known().given.insert(asked, told(verdict.decision, verdict.error));
    }
    asked_any
}

/// Asks the server's authorizers on behalf of the user of a request.
pub(super) struct Asks<'a> {
    core: &'a Core,
    user: &'a UserInfo,
    answers: &'a Answers,
    /// What the request is about.
    resource: ResourceCheck,
}

impl<'a> Asks<'a> {
    pub(super) fn of(call: &'a Call<'_>, name: &str) -> Asks<'a> {
        let resource = ResourceCheck {
            group: call.resource.group.clone(),
            resource: call.resource.plural.clone(),
            subresource: call.request.subresource.clone(),
            namespace: call.request.namespace.clone(),
            name: name.to_owned(),
            ..ResourceCheck::default()
        };
        Asks { core: call.core, user: call.user, answers: &call.aside.answers, resource }
    }

    /// As what expressions ask.
    pub(super) fn input(&self) -> (&dyn cel::Authorizer, &ResourceCheck) {
        (self, &self.resource)
    }
}

impl std::fmt::Debug for Asks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asks({})", self.user.username)
    }
}

impl cel::Authorizer for Asks<'_> {
    fn authorize(&self, check: &Check<'_>, verb: &str) -> cel::AuthorizerDecision {
        let about = match &check.kind {
            CheckKind::Path(path) => About::Path(path.to_string()),
            CheckKind::Resource(own) => {
                let ResourceCheck { group, resource, subresource, namespace, name, field_selector, label_selector } =
                    own;
                let all = [group, resource, subresource, namespace, name, field_selector, label_selector];
                About::Resource(all.map(String::clone))
            }
            CheckKind::Any | CheckKind::Group(_) => return cel::AuthorizerDecision::default(),
        };
        let account = check.service_account.as_ref();
        let account = account.map(|account| (account.namespace.to_string(), account.name.to_string()));
        let asked = Asked { account, verb: verb.to_owned(), about };
        if !self.core.auth.has_webhooks() {
            let question = Question::new(&asked, self.user);
            return told(self.core.auth.decide_at_once(self.core, &question.attributes()), String::new());
        }
        let mut known = self.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(given) = known.given.get(&asked) {
            return given.clone();
        }
        if known.given.len() + known.open.len() < MAX_CHECKS {
            known.open.insert(asked);
        }
        cel::AuthorizerDecision::default()
    }
}

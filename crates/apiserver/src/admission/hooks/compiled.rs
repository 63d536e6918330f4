//! Webhook configurations, read once per version of each.

use std::sync::Arc;
use std::time::Duration;

use k8s_object::{ApiError, LabelSelector, Object};
use serde_json::Value;

use super::super::checks::{Asks, settle};
use super::super::conditions::Conditions;
use super::super::expressions::{Expression, Inputs, May, Yields, environment};
use super::super::rules::{self, Rule};
use super::super::{Review, Side, shown};
use super::ask::ReviewVersion;
use crate::core::Core;
use crate::webhook::{CallError, Client};

/// `timeoutSeconds` of a webhook that names none.
const DEFAULT_SECONDS: u64 = 10;

/// One webhook of one configuration.
pub(in super::super) struct Hook {
    pub name: String,
    pub configuration: String,
    /// Tells it from others of the same name in the same configuration.
    pub index: usize,
    rules: Vec<Rule>,
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
    conditions: Conditions,
    /// A call that fails is as good as none.
    pub ignores_failure: bool,
    pub timeout: Duration,
    /// Whether it may be asked although nothing is to be written.
    pub bears_dry_run: bool,
    /// Whether it wants to see what others have changed after it.
    pub reinvoked: bool,
    /// The version of AdmissionReview that it is asked in: the first of its own that this server speaks.
    pub review: Option<ReviewVersion>,
    pub client: Result<Client, CallError>,
}

/// All webhooks of one sort, by the name of their configuration, then as they stand in it.
pub(in super::super) type Hooks = Vec<Arc<Hook>>;

/// The webhooks of a configuration.
pub(in super::super) fn compile(core: &Core, configuration: &Object) -> Hooks {
    let value = configuration.value();
    let hooks = value["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
    hooks.iter().enumerate().map(|(index, hook)| Arc::new(Hook::of(core, configuration, index, hook))).collect()
}

impl Hook {
    fn of(core: &Core, configuration: &Object, index: usize, hook: &Value) -> Hook {
        let text = |field: &str| hook[field].as_str().unwrap_or("").to_owned();
        let versions = hook["admissionReviewVersions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let env = environment(May { params: false, authorizer: true, mutation: false });
        let conditions = hook["matchConditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let conditions = conditions
            .iter()
            .map(|own| Expression::compile(&env, own["expression"].as_str().unwrap_or(""), Yields::Flag))
            .collect();
        let step = if configuration.kind().kind == "MutatingWebhookConfiguration" { "admit" } else { "validating" };
        Hook {
            name: text("name"),
            configuration: configuration.meta().name.clone(),
            index,
            rules: Rule::all(&hook["rules"]),
            equivalent: text("matchPolicy") != "Exact",
            namespaces: rules::selector(&hook["namespaceSelector"]),
            objects: rules::selector(&hook["objectSelector"]),
            conditions: Conditions::of_webhook(&text("name"), step, conditions),
            ignores_failure: text("failurePolicy") == "Ignore",
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_SECONDS)),
            bears_dry_run: ["None", "NoneOnDryRun"].contains(&text("sideEffects").as_str()),
            reinvoked: text("reinvocationPolicy") == "IfNeeded",
            review: versions.iter().find_map(|version| ReviewVersion::of(version.as_str()?)),
            client: Client::of_client_config(core, &hook["clientConfig"]),
        }
    }

    /// Whether it is to be asked, and about which version of the resource (its place among the forms).
    pub(super) async fn wants(
        &self,
        review: &Review<'_, '_>,
        object: Option<&Value>,
    ) -> Result<Option<usize>, ApiError> {
        loop {
            let wants = self.wants_now(review, object);
            if self.conditions.is_empty() || !settle(review.call).await {
                return wants;
            }
        }
    }

    fn wants_now(&self, review: &Review<'_, '_>, object: Option<&Value>) -> Result<Option<usize>, ApiError> {
        // A selector that cannot be read is an error only for those whom the rules are for.
        let selected = match &self.namespaces {
            Ok(selector) => rules::selects_namespace(review, object, selector),
            Err(error) => Err(ApiError::internal(error)),
        };
        if matches!(selected, Ok(false)) {
            return Ok(None);
        }
        let selected_object = match &self.objects {
            Ok(selector) => Ok(rules::selects_object(object, review.old, selector)),
            Err(error) => Err(ApiError::internal(error)),
        };
        if matches!(selected_object, Ok(false)) {
            return Ok(None);
        }
        let name = rules::name(review.call, object.or(review.old));
        let Some(version) = rules::matched(review, name, &self.rules, self.equivalent) else { return Ok(None) };
        selected?;
        selected_object?;
        if self.conditions.is_empty() {
            return Ok(Some(version));
        }
        let request = super::ask::request(review, object, version);
        let asks = Asks::of(review.call, name);
        let about = review.call.entry.form(version);
        let seen = |object: Option<&Value>, side| object.map(|object| shown(review.call, about, object, side));
        let (new, old) = (seen(object, Side::New), seen(review.old, Side::Old));
        let mut inputs = Inputs::new(new.as_ref(), old.as_ref(), &request);
        inputs.asks = Some(asks.input());
        match self.conditions.hold(review.call.core, review.operation, &inputs, !self.ignores_failure) {
            Ok(true) => Ok(Some(version)),
            Ok(false) => Ok(None),
            Err(problem) => Err(review.call.resource.forbidden(name, &problem)),
        }
    }
}

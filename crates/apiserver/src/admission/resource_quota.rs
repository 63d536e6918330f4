//! ResourceQuota: what a namespace may use in all. Last of all plugins, because it charges.
//!
//! What an object costs is added to `status.used` of every quota that it concerns, before the object is written, with the quota's
//! revision as a condition; so what is over the limit is refused however many ask at once and through however many servers. The
//! controller counts again when things go, or when what was charged was never written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_kinds::quota::{self, Amounts};
use k8s_object::{ApiError, Object};
use serde_json::Value;

use super::{Operation, Review};
use crate::core::Call;
use crate::storage::{self, Claims, Written};
use crate::write;

/// How often charging is tried again when others charge the same quota. Within one server they wait for each other.
const ATTEMPTS: usize = 20;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Who charges in a namespace; there are locks only for namespaces in which somebody does.
#[derive(Default)]
pub(crate) struct Charging(Mutex<BTreeMap<String, Lock>>);

impl Charging {
    fn lock(&self, namespace: &str) -> Lock {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(namespace.to_owned()).or_default().clone()
    }

    /// Forgets a lock that nobody else holds or waits for.
    fn release(&self, namespace: &str, lock: Lock) {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's own and this one.
        if Arc::strong_count(&lock) <= 2 {
            locks.remove(namespace);
        }
    }
}

/// Whether the write may cost anything. Costs a look into a map where there are no quotas.
pub(super) fn concerns(review: &Review<'_, '_>, object: &Value) -> bool {
    let call = review.call;
    if !call.resource.namespaced || call.resource.is_virtual() {
        return false;
    }
    let (group, plural) = (call.resource.group.as_str(), call.resource.plural.as_str());
    let subresource = call.request.subresource.as_str();
    let handled = match (group, plural, subresource, review.operation) {
        ("", "pods", "", Operation::Update) => {
            review.old.is_some_and(|old| quota::is_limited_in_time(old) != quota::is_limited_in_time(object))
        }
        ("", "pods", "resize", Operation::Update) => true,
        ("", "services" | "persistentvolumeclaims", "", Operation::Update) => true,
        ("", "persistentvolumeclaims", "status", Operation::Update) => {
            review.old.is_some_and(|old| old["status"] != object["status"])
        }
        (_, _, "", Operation::Create) => !quota::is_ignored(group, plural),
        _ => false,
    };
    handled && call.core.registry.cache("", "resourcequotas").is_some_and(|cache| !cache.is_empty_in(namespace(call)))
}

fn namespace<'a>(call: &'a Call<'_>) -> &'a str {
    &call.request.namespace
}

/// Charges the quotas of the namespace, or refuses.
pub(super) async fn charge(review: &Review<'_, '_>, object: &Value) -> Result<(), ApiError> {
    let call = review.call;
    let charging = &call.core.charging;
    let lock = charging.lock(namespace(call));
    let charged = {
        let _turn = lock.lock().await;
        charge_in_turn(review, object).await
    };
    charging.release(namespace(call), lock);
    charged
}

async fn charge_in_turn(review: &Review<'_, '_>, object: &Value) -> Result<(), ApiError> {
    let call = review.call;
    // Those that still have to be charged; all at first.
    let mut left: Option<BTreeSet<String>> = None;
    for _ in 0..ATTEMPTS {
        let mut quotas = call.core.lookup_all("", "resourcequotas", namespace(call));
        quotas.retain(|quota| left.as_ref().is_none_or(|left| left.contains(&quota.meta().name)));
        let charged = check(review, object, &quotas)?;
        if charged.is_empty() || call.request.options.dry_run {
            return Ok(());
        }
        let mut failed = BTreeSet::new();
        for (quota, used) in charged {
            if !store(call, &quota, &used).await? {
                failed.insert(quota.meta().name.clone());
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        left = Some(failed);
    }
    let name = left.into_iter().flatten().next().unwrap_or_default();
    Err(ApiError::conflict("", "resourcequotas", &name, crate::update::MODIFIED))
}

async fn store(call: &Call<'_>, quota: &Object, used: &Amounts) -> Result<bool, ApiError> {
    let mut value = quota.value();
    value["status"]["used"] = quota::to_value(used);
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    let key = storage::key("", "resourcequotas", &quota.key());
    let bytes = k8s_object::encode(&value).into();
    let bytes = call.core.encryption.seal("", "resourcequotas", &key, &bytes).await?;
    let written = storage::put(call.space, key, bytes, write::revision(quota)?, None, Claims::default()).await?;
    match written {
        Written::Done(revision) => {
            call.core.reach(revision).await;
            Ok(true)
        }
        Written::Conflict(revision) => {
            call.core.reach(revision).await;
            Ok(false)
        }
    }
}

/// The quotas that the write changes, with what they have used then (apiserver `CheckRequest`).
fn check(
    review: &Review<'_, '_>,
    object: &Value,
    quotas: &[Arc<Object>],
) -> Result<Vec<(Arc<Object>, Amounts)>, ApiError> {
    let call = review.call;
    let (group, plural) = (call.resource.group.as_str(), call.resource.plural.as_str());
    let forbidden = |why: String| super::forbidden(review, object, &why);
    let mut interesting = Vec::new();
    for quota in quotas {
        let value = quota.value();
        let hard = quota::amounts(&value["status"]["hard"]);
        let resources = quota::matching(group, plural, &hard);
        let scopes = quota::scopes(&value);
        if resources.is_empty() || !quota::in_scopes(group, plural, &scopes, object) {
            continue;
        }
        let name = &quota.meta().name;
        if let Some(missing) = quota::missing(group, plural, &resources, object) {
            return Err(forbidden(format!("failed quota: {name}: {missing}")));
        }
        let used = quota::amounts(&value["status"]["used"]);
        if !resources.iter().all(|resource| used.contains_key(resource)) {
            let names: Vec<&str> = resources.iter().map(String::as_str).collect();
            return Err(forbidden(format!("status unknown for quota: {name}, resources: {}", names.join(","))));
        }
        interesting.push((quota, scopes, hard, used));
    }
    if interesting.is_empty() {
        return Ok(Vec::new());
    }
    let cost = quota::usage(group, plural, object, call.now);
    let negative: Vec<&str> =
        cost.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(forbidden(format!("quota usage is negative for resource(s): {}", negative.join(","))));
    }
    let before = review.old.map(|old| (old, quota::usage(group, plural, old, call.now)));
    let mut charged = Vec::new();
    for (quota, scopes, hard, used) in interesting {
        let mut delta = cost.clone();
        if let Some((old, before)) = &before
            && quota::in_scopes(group, plural, &scopes, old)
        {
            for (name, amount) in &mut delta {
                let less = amount.minus(before.get(name).copied().unwrap_or_default());
                *amount = if less.is_negative() { quota::Amount::default() } else { less };
            }
        }
        delta.retain(|name, amount| !amount.is_zero() && hard.contains_key(name));
        if delta.is_empty() {
            continue;
        }
        let mut after = used.clone();
        quota::add(&mut after, &delta);
        let exceeded = |name: &String| after[name].quantity > hard[name].quantity;
        let over: BTreeSet<&String> = delta.keys().filter(|name| exceeded(name)).collect();
        if !over.is_empty() && call.request.subresource != "status" {
            let of = |amounts: &Amounts| {
                let masked = amounts.iter().filter(|(name, _)| over.contains(name));
                quota::to_text(&masked.map(|(name, amount)| (name.clone(), *amount)).collect())
            };
            return Err(forbidden(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.meta().name,
                of(&delta),
                of(&used),
                of(&hard)
            )));
        }
        charged.push((quota.clone(), after));
    }
    Ok(charged)
}

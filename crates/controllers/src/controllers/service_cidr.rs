//! Says when addresses may come from a ServiceCIDR, and keeps one that is being deleted while Services have addresses that would
//! belong to no other.

use std::net::IpAddr;
use std::time::Duration;

use k8s_client::Change;
use k8s_object::{GroupVersionResource, Object};
use serde_json::{Value, json};
use world::Timestamp;

use super::claim_protection::protected;
use super::{time, with_condition};
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::View;

const CIDRS: GroupVersionResource = GroupVersionResource::of("networking.k8s.io", "v1", "servicecidrs");
const ADDRESSES: GroupVersionResource = GroupVersionResource::of("networking.k8s.io", "v1", "ipaddresses");
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How long after a deletion was asked for API servers may still give addresses from the range (upstream's `deletionGracePeriod`).
const GRACE: Duration = Duration::from_secs(10);
const IN_USE: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

pub(super) static CONTROLLER: Controller = Controller {
    name: "service-cidr-controller",
    event_source: "service-cidr-controller",
    service_account: "service-cidrs-controller",
    about: "Makes ServiceCIDRs ready, and lets those go that are being deleted when no Service needs them.",
    watches: &[Watched { resource: ADDRESSES, indices: &[] }, Watched { resource: CIDRS, indices: &[] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 1,
    rest: Duration::ZERO,
};

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    let comes_or_goes = change.old.is_none() || change.new.is_none();
    let mut keys = Vec::new();
    if change.resource == CIDRS {
        keys.push(Key { resource: CIDRS, object: change.key.clone() });
    }
    if comes_or_goes {
        // Those that wait for addresses to go or for another range to hold them. There are few ranges.
        let going = view.list(&CIDRS).into_iter().filter(|cidr| cidr.meta().is_terminating());
        keys.extend(going.map(|cidr| Key::of(CIDRS, &cidr)));
    }
    keys.into_iter().map(Trigger::from).collect()
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(cidr) = view.get(&CIDRS, &key.object) else { return Ok(plan) };
    let is_going = cidr.meta().is_terminating();
    let is_kept = is_going && is_needed(view, &cidr);
    if is_going && !is_kept {
        let rest = (time(cidr.meta().deletion_timestamp.as_ref()) + GRACE).since(now);
        if !rest.is_zero() {
            plan.requeue(rest);
            return Ok(plan);
        }
    }
    if let Some(finalizers) = protected(&cidr, FINALIZER, || is_kept) {
        let change = json!({"metadata": {"finalizers": finalizers}});
        plan.then(Action::Update { resource: CIDRS, base: cidr.clone(), subresource: "", change });
    }
    let condition = match (is_going, is_kept) {
        (true, false) => return Ok(plan),
        (true, true) => json!({"type": "Ready", "status": "False", "reason": "Terminating", "message": IN_USE}),
        (false, _) => {
            json!({"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready"})
        }
    };
    let value = cidr.value();
    let conditions = &value["status"]["conditions"];
    let own = conditions.as_array().into_iter().flatten().find(|own| own["type"] == "Ready");
    let same = |own: &Value| ["status", "reason", "message"].iter().all(|key| own[key] == condition[key]);
    if !own.is_some_and(same) {
        let mut condition = condition;
        condition["lastTransitionTime"] = json!(now.to_string());
        let change = json!({"status": {"conditions": with_condition(conditions, condition)}});
        plan.then(Action::Update { resource: CIDRS, base: cidr.clone(), subresource: "status", change });
    }
    Ok(plan)
}

/// Whether an address would belong to no range any more (upstream's `canDeleteCIDR`).
fn is_needed(view: &View<'_>, cidr: &Object) -> bool {
    let all = view.list(&CIDRS);
    let others: Vec<Network> =
        all.iter().filter(|other| other.meta().name != cidr.meta().name).flat_map(|other| networks(other)).collect();
    let own = networks(cidr);
    if own.iter().all(|own| others.iter().any(|other| other.holds(own))) {
        return false;
    }
    view.list(&ADDRESSES).iter().any(|address| {
        let by = address.meta().labels.get("ipaddress.kubernetes.io/managed-by");
        let is_ours = by.is_some_and(|by| by == "ipallocator.k8s.io");
        is_ours
            && address.meta().name.parse::<IpAddr>().is_ok_and(|address| {
                own.iter().any(|own| own.gives(address)) && !others.iter().any(|other| other.gives(address))
            })
    })
}

/// The networks of a ServiceCIDR.
fn networks(cidr: &Object) -> Vec<Network> {
    let value = cidr.value();
    let texts = value["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(Network::parse).collect()
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy)]
struct Network {
    is_v4: bool,
    /// Any address of it, as a number.
    address: u128,
    /// How many bits tell its addresses apart.
    free_bits: u32,
}

fn number(address: IpAddr) -> (bool, u128, u32) {
    match address {
        IpAddr::V4(address) => (true, u32::from(address).into(), 32),
        IpAddr::V6(address) => (false, address.into(), 128),
    }
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = text.split_once('/')?;
        let (is_v4, address, width) = number(address.parse().ok()?);
        Some(Network { is_v4, address, free_bits: width.checked_sub(bits.parse().ok()?)? })
    }

    fn has(&self, is_v4: bool, address: u128) -> bool {
        self.is_v4 == is_v4 && (self.address ^ address).checked_shr(self.free_bits).unwrap_or(0) == 0
    }

    fn holds(&self, other: &Network) -> bool {
        self.free_bits >= other.free_bits && self.has(other.is_v4, other.address)
    }

    /// Whether Services get an address from it: not its own, nor, of IPv4, the one for all.
    fn gives(&self, address: IpAddr) -> bool {
        let (is_v4, address, _) = number(address);
        let mask = 1_u128.checked_shl(self.free_bits).unwrap_or(0).wrapping_sub(1);
        let index = address & mask;
        self.has(is_v4, address) && index != 0 && !(is_v4 && index == mask)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{check, object, plan_of};

    fn cidr(name: &str, cidrs: &[&str], more: Value) -> Arc<Object> {
        let mut extra = json!({"spec": {"cidrs": cidrs}, "metadata": {"finalizers": [FINALIZER]}});
        crate::json::merge(&mut extra, &more);
        object(&CIDRS, "", name, extra)
    }

    fn going(at: &str) -> Value {
        json!({"metadata": {"deletionTimestamp": at}})
    }

    fn address(name: &str) -> Arc<Object> {
        let labels = json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
        object(&ADDRESSES, "", name, json!({"metadata": {"labels": labels}}))
    }

    const LONG_AGO: &str = "2025-01-01T00:00:00Z";
    const RELEASED: &str = r#"update servicecidrs a {"metadata":{"finalizers":[]}}"#;
    const KEPT: &str = r#"update servicecidrs/status a {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR","reason":"Terminating","status":"False","type":"Ready"}]}}"#;

    #[test]
    fn new_ranges_become_ready() {
        let key = Key::new(CIDRS, "", "a");
        let new = object(&CIDRS, "", "a", json!({"spec": {"cidrs": ["10.0.0.0/24"]}}));
        check(
            &CONTROLLER,
            &[new],
            &key,
            &[
                r#"update servicecidrs a {"metadata":{"finalizers":["networking.k8s.io/service-cidr-finalizer"]}}"#,
                r#"update servicecidrs/status a {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Kubernetes Service CIDR is ready","reason":"","status":"True","type":"Ready"}]}}"#,
            ],
        );
        let ready = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready"},
        ]}});
        check(&CONTROLLER, &[cidr("a", &["10.0.0.0/24"], ready)], &key, &[]);
    }

    #[test]
    fn ranges_go_when_no_address_would_be_left_alone() {
        let key = Key::new(CIDRS, "", "a");
        let own = |cidrs: &[&str]| cidr("a", cidrs, going(LONG_AGO));
        let other = |cidrs: &[&str]| cidr("b", cidrs, json!({}));
        let cases: &[(&[Arc<Object>], &str)] = &[
            (&[own(&["10.0.0.0/24"])], RELEASED),
            (&[own(&["10.0.0.0/24"]), address("10.0.0.9")], KEPT),
            (&[own(&["10.0.0.0/24"]), address("10.0.1.9")], RELEASED),
            (&[own(&["10.0.0.0/24"]), address("10.0.0.255")], RELEASED),
            (&[own(&["10.0.0.0/24"]), address("10.0.0.9"), other(&["10.0.0.0/16"])], RELEASED),
            (&[own(&["10.0.0.0/24"]), address("10.0.0.9"), other(&["10.0.0.0/28"])], RELEASED),
            (&[own(&["10.0.0.0/24"]), address("10.0.0.99"), other(&["10.0.0.0/28"])], KEPT),
            (&[own(&["10.0.0.0/24", "2001:db8::/64"]), address("2001:db8::9"), other(&["10.0.0.0/16"])], KEPT),
        ];
        for (objects, expected) in cases {
            check(&CONTROLLER, objects, &key, &[expected]);
        }
    }

    #[test]
    fn servers_are_given_time_to_hear_of_a_deletion() {
        let objects = [cidr("a", &["10.0.0.0/24"], going("2025-12-31T23:59:56Z"))];
        let planned = plan_of(&CONTROLLER, &objects, &Key::new(CIDRS, "", "a"));
        assert_eq!((planned.actions.len(), planned.requeue_after), (0, Some(Duration::from_secs(6))));
    }
}

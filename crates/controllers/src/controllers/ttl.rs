//! Tells the kubelet of each node how long it may keep what pods read (Secrets, ConfigMaps) without asking for it again: the more
//! nodes there are, the longer.

use std::time::Duration;

use k8s_client::{Change, PatchType};
use k8s_object::Object;
use k8s_object::resources::NODES;
use serde_json::json;
use world::Timestamp;

use crate::controller::{Action, Controller, Key, Plan, Planned, Step, Trigger, Watched};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "ttl-controller",
    event_source: "ttl-controller",
    service_account: "ttl-controller",
    about: "Annotates nodes with how long they may cache objects, which depends on how many nodes there are.",
    watches: &[Watched { resource: NODES, indices: &[] }],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 1,
    rest: Duration::from_secs(1),
};

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// Fewest and most nodes of a size of clusters, and the seconds that hold there (upstream's `ttlBoundaries`). They overlap, so that a
/// node which comes and goes changes nothing.
const SIZES: [(usize, usize, u64); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];
/// Nodes annotated by one plan; the rest waits for the next.
const MAX_AT_ONCE: usize = 500;

fn seconds(node: &Object) -> Option<u64> {
    node.meta().annotations.get(ANNOTATION)?.parse().ok()
}

/// All nodes are one key: what holds for one holds for all.
fn triggers(change: &Change, _view: &View<'_>) -> Vec<Trigger> {
    let is_told = change.new.as_ref().is_some_and(|node| seconds(node).is_some());
    match change.old.is_some() && is_told {
        true => Vec::new(),
        false => vec![Key::new(NODES, "", "").into()],
    }
}

fn plan(view: &View<'_>, _key: &Key, _now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let nodes = view.list(&NODES);
    let wanted = wanted(nodes.iter().find_map(|node| seconds(node)), nodes.len());
    let mut others = nodes.iter().filter(|node| seconds(node) != Some(wanted));
    let actions: Vec<Action> = others
        .by_ref()
        .take(MAX_AT_ONCE)
        .map(|node| Action::Patch {
            resource: NODES,
            object: node.key(),
            uid: node.meta().uid.clone(),
            subresource: "",
            kind: PatchType::Merge,
            body: json!({"metadata": {"annotations": {ANNOTATION: wanted.to_string()}}}),
        })
        .collect();
    if others.next().is_some() {
        plan.requeue(CONTROLLER.rest);
    }
    if !actions.is_empty() {
        plan.steps.push(Step::Burst { actions, announce: None });
    }
    Ok(plan)
}

/// What holds for so many nodes, when `current` has held.
fn wanted(current: Option<u64>, count: usize) -> u64 {
    let at = SIZES.iter().position(|(_, _, seconds)| Some(*seconds) == current).unwrap_or(0);
    let (least, most, _) = SIZES[at];
    let size = if count > most {
        SIZES[at..].iter().find(|(_, most, _)| count <= *most)
    } else if count < least {
        SIZES[..at].iter().rev().find(|(least, ..)| count >= *least)
    } else {
        None
    };
    size.unwrap_or(&SIZES[at]).2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, plan_of};

    #[test]
    fn seconds_follow_the_size_and_lag_behind_it() {
        let cases = [
            (None, 1, 0),
            (None, 101, 15),
            (None, 5000, 300),
            (Some(7), 101, 15),
            (Some(0), 100, 0),
            (Some(0), 101, 15),
            (Some(15), 90, 15),
            (Some(15), 89, 0),
            (Some(15), 501, 30),
            (Some(300), 1799, 60),
            (Some(300), 10, 0),
        ];
        for (current, count, expected) in cases {
            assert_eq!(wanted(current, count), expected, "{current:?} {count}");
        }
    }

    #[test]
    fn nodes_that_say_something_else_are_patched() {
        let node = |name: &str, ttl: Option<&str>| {
            let annotations = ttl.map_or(json!({}), |ttl| json!({ANNOTATION: ttl}));
            object(&NODES, "", name, json!({"metadata": {"annotations": annotations}}))
        };
        let key = Key::new(NODES, "", "");
        let nodes = [node("a", None), node("b", Some("0")), node("c", Some("x"))];
        let patch = |name: &str| {
            format!(r#"patch nodes {name} {{"metadata":{{"annotations":{{"node.alpha.kubernetes.io/ttl":"0"}}}}}}"#)
        };
        assert_eq!(plan_of(&CONTROLLER, &nodes, &key).actions, [patch("a"), patch("c")]);
        let many: Vec<_> = (0..600).map(|index| node(&format!("n{index:03}"), Some("0"))).collect();
        let planned = plan_of(&CONTROLLER, &many, &key);
        assert_eq!((planned.actions.len(), planned.requeue_after), (500, Some(CONTROLLER.rest)));
        assert!(planned.actions[0].contains(r#"ttl":"30""#), "{}", planned.actions[0]);
    }
}

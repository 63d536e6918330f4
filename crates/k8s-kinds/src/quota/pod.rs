//! What a pod asks for and may use, all containers together (component-helpers `resource`).

use serde_json::Value;

use super::amounts::{Amounts, add, amounts, raise};

/// Resources that may be given for the pod as a whole.
fn is_pod_level(name: &str) -> bool {
    ["cpu", "memory"].contains(&name) || name.starts_with("hugepages-")
}

/// Which list of a container's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Requests,
    Limits,
}

impl Side {
    fn field(self) -> &'static str {
        match self {
            Side::Requests => "requests",
            Side::Limits => "limits",
        }
    }
}

fn list<'a>(pod: &'a Value, field: &str) -> &'a [Value] {
    pod["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The sum of all containers, or what init containers need at one time if that is more.
///
/// `of` gives a container's own list.
pub fn total(pod: &Value, side: Side, of: impl Fn(&Value, &str) -> Amounts) -> Amounts {
    let mut sum = Amounts::new();
    for container in list(pod, "containers") {
        add(&mut sum, &of(container, "containerStatuses"));
    }
    let (mut sidecars, mut initial) = (Amounts::new(), Amounts::new());
    for container in list(pod, "initContainers") {
        let own = of(container, "initContainerStatuses");
        // One that restarts always runs beside all that come after it.
        let needed = if container["restartPolicy"] == "Always" {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            sidecars.clone()
        } else {
            let mut needed = own;
            add(&mut needed, &sidecars);
            needed
        };
        raise(&mut initial, &needed);
    }
    raise(&mut sum, &initial);
    for (name, amount) in amounts(&pod["spec"]["resources"][side.field()]) {
        if is_pod_level(&name) {
            sum.insert(name, amount);
        }
    }
    sum
}

/// A container's list as its specification has it.
pub fn specified(container: &Value, side: Side) -> Amounts {
    amounts(&container["resources"][side.field()])
}

/// All of a pod as a quota charges it: the more of what is specified and what a resize has left in use, and the overhead.
pub fn charged(pod: &Value, side: Side) -> Amounts {
    let status = |container: &Value, statuses: &str| -> Value {
        let statuses = pod["status"][statuses].as_array().map(Vec::as_slice).unwrap_or_default();
        statuses.iter().find(|status| status["name"] == container["name"]).cloned().unwrap_or_default()
    };
    let mut sum = total(pod, side, |container, statuses| {
        let mut own = specified(container, side);
        let status = status(container, statuses);
        if !status.is_null() {
            let mut used = amounts(&status["resources"][side.field()]);
            if side == Side::Requests {
                raise(&mut used, &amounts(&status["allocatedResources"]));
            }
            // What is not specified is not charged, whatever a node reports.
            used.retain(|name, _| own.contains_key(name));
            raise(&mut own, &used);
        }
        own
    });
    for (name, amount) in amounts(&pod["spec"]["overhead"]) {
        let own = sum.get(&name).copied();
        match (side, own) {
            (Side::Requests, own) => {
                sum.insert(name, own.unwrap_or_default().plus(amount));
            }
            // Where there is no limit, overhead makes none.
            (Side::Limits, Some(own)) if !own.is_zero() => {
                sum.insert(name, own.plus(amount));
            }
            (Side::Limits, _) => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::amounts::to_text;
    use serde_json::json;

    #[test]
    fn init_containers_and_sidecars_count_as_they_run() {
        let container = |cpu: &str| json!({"name": "a", "resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| {
            let mut container = container(cpu);
            container["restartPolicy"] = json!("Always");
            container
        };
        let cases = [
            (json!({"containers": [container("1"), container("500m")]}), "cpu=1500m"),
            (json!({"containers": [container("1")], "initContainers": [container("3")]}), "cpu=3"),
            (json!({"containers": [container("1")], "initContainers": [sidecar("1"), container("3")]}), "cpu=4"),
            (json!({"containers": [container("1")], "initContainers": [container("1"), sidecar("1")]}), "cpu=2"),
            (json!({"containers": [container("1")], "overhead": {"cpu": "100m"}}), "cpu=1100m"),
            (json!({"containers": [container("1")], "resources": {"requests": {"cpu": "2"}}}), "cpu=2"),
        ];
        for (spec, expected) in cases {
            assert_eq!(to_text(&charged(&json!({"spec": spec}), Side::Requests)), expected, "{spec}");
        }
    }
}

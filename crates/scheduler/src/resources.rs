//! How much of each resource there is, is asked for, and is taken. Whole numbers only: CPU in thousandths, the rest in units.

use std::collections::BTreeMap;

use k8s_object::Quantity;
use k8s_object::views::{Container, Pod};

/// What a container without a request counts for when nodes are scored, so that such pods spread too
/// (scheduler `util.DefaultMilliCPURequest`, `DefaultMemoryRequest`).
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of resources; what is not named is zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts {
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages, sorted by name. Few or none.
    pub scalar: Vec<(Box<str>, i64)>,
}

impl Amounts {
    /// From a map as it stands in objects. `pods` is no amount: it is counted.
    pub fn from_map(map: &BTreeMap<String, Quantity>) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, quantity) in map {
            match name.as_str() {
                "cpu" => amounts.milli_cpu = quantity.milli(),
                "memory" => amounts.memory = quantity.value(),
                "ephemeral-storage" => amounts.ephemeral_storage = quantity.value(),
                "pods" => {}
                other => amounts.scalar.push((other.into(), quantity.value())),
            }
        }
        amounts
    }

    /// The amount of an extended resource.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalar.iter().find(|(own, _)| &**own == name).map_or(0, |(_, amount)| *amount)
    }

    /// Whether nothing is asked for.
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalar.iter().all(|(_, n)| *n == 0)
    }

    pub fn add(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_add);
    }

    pub fn subtract(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_sub);
    }

    fn raise_to(&mut self, other: &Amounts) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Amounts, with: fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            match self.scalar.binary_search_by(|(own, _)| own.cmp(name)) {
                Ok(at) => self.scalar[at].1 = with(self.scalar[at].1, *amount),
                Err(at) => self.scalar.insert(at, (name.clone(), with(0, *amount))),
            }
        }
    }
}

/// What a pod asks of its node (component-helpers `resource.PodRequests`): the larger of what runs together and of what
/// init containers need on the way, plus the overhead of its sandbox.
pub fn requests(pod: &Pod) -> Amounts {
    total(pod, |container| Amounts::from_map(&container.resources.requests))
}

/// The same with defaults for containers that ask for nothing: CPU in thousandths, and memory in bytes.
pub fn scoring_requests(pod: &Pod) -> (i64, i64) {
    let amounts = total(pod, |container| {
        let mut amounts = Amounts::from_map(&container.resources.requests);
        if !container.resources.requests.contains_key("cpu") {
            amounts.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !container.resources.requests.contains_key("memory") {
            amounts.memory = DEFAULT_MEMORY;
        }
        amounts
    });
    (amounts.milli_cpu, amounts.memory)
}

fn total(pod: &Pod, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut together = Amounts::default();
    for container in &pod.spec.containers {
        together.add(&of(container));
    }
    let mut sidecars = Amounts::default();
    let mut starting = Amounts::default();
    for container in &pod.spec.init_containers {
        let mut needed = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            together.add(&needed);
            sidecars.add(&needed);
            starting.raise_to(&sidecars);
        } else {
            // The sidecars before it already run.
            needed.add(&sidecars);
            starting.raise_to(&needed);
        }
    }
    together.raise_to(&starting);
    together.add(&Amounts::from_map(&pod.spec.overhead));
    together
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, spec: serde_json::Value, milli_cpu: i64, memory: i64, scoring: (i64, i64)) {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": spec})).unwrap();
        let amounts = requests(&pod);
        assert_eq!((amounts.milli_cpu, amounts.memory), (milli_cpu, memory), "{name}");
        assert_eq!(scoring_requests(&pod), scoring, "{name}");
    }

    #[test]
    fn pods_ask_for_what_they_need_at_their_worst_moment() {
        use serde_json::json;
        let c =
            |cpu: &str, memory: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}});
        let sidecar = |cpu: &str, memory: &str| {
            let mut container = c(cpu, memory);
            container["restartPolicy"] = json!("Always");
            container
        };
        check("containers add up", json!({"containers": [c("100m", "1Ki"), c("1", "1Ki")]}), 1100, 2048, (1100, 2048));
        check(
            "nothing counts as a default when scoring",
            json!({"containers": [{"name": "c"}]}),
            0,
            0,
            (DEFAULT_MILLI_CPU, DEFAULT_MEMORY),
        );
        check(
            "the largest init container counts when it is above the sum",
            json!({"containers": [c("1", "10")], "initContainers": [c("2", "5"), c("500m", "20")]}),
            2000,
            20,
            (2000, 20),
        );
        check(
            "a sidecar runs beside containers",
            json!({"containers": [c("1", "10")], "initContainers": [sidecar("1", "10"), c("500m", "1")]}),
            2000,
            20,
            (2000, 20),
        );
        check(
            "an init container after a sidecar runs beside it",
            json!({"containers": [c("1", "10")], "initContainers": [sidecar("1", "10"), c("3", "1")]}),
            4000,
            20,
            (4000, 20),
        );
        check(
            "an init container before a sidecar does not",
            json!({"containers": [c("1", "10")], "initContainers": [c("3", "1"), sidecar("1", "10")]}),
            3000,
            20,
            (3000, 20),
        );
        check(
            "overhead comes on top",
            json!({"containers": [c("1", "10")], "overhead": {"cpu": "250m"}}),
            1250,
            10,
            (1250, 10),
        );
    }
}

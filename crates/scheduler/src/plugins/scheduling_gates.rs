//! SchedulingGates: a pod with `spec.schedulingGates` does not enter the queue. The API server writes its condition.

use crate::framework::Plugin;

pub const PLUGIN: Plugin =
    Plugin { pre_enqueue: Some(|pod| pod.shape.scheduling_gates.is_empty()), ..Plugin::named("SchedulingGates") };

#[cfg(test)]
mod tests {
    use super::PLUGIN;
    use crate::plugins::testing::pod;
    use serde_json::json;

    #[test]
    fn gates_keep_a_pod_out() {
        let enters = PLUGIN.pre_enqueue.unwrap();
        assert!(enters(&pod(json!({}))));
        assert!(!enters(&pod(json!({"schedulingGates": [{"name": "example.com/wait"}]}))));
    }
}

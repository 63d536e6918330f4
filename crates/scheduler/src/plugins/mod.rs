//! The table of plugins, in the order in which they are asked: upstream's, cheap refusals first.

mod image_locality;
pub(crate) mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
pub(crate) mod pod_topology_spread;
mod scheduling_gates;
mod taint_toleration;
mod unsupported;

#[cfg(test)]
pub(crate) mod testing;

use crate::framework::Plugin;

/// All plugins of the default profile.
pub static PLUGINS: &[Plugin] = &[
    scheduling_gates::PLUGIN,
    unsupported::PLUGIN,
    node_unschedulable::PLUGIN,
    node_name::PLUGIN,
    taint_toleration::PLUGIN,
    node_affinity::PLUGIN,
    node_ports::PLUGIN,
    node_resources_fit::PLUGIN,
    pod_topology_spread::PLUGIN,
    inter_pod_affinity::PLUGIN,
    node_resources_balanced_allocation::PLUGIN,
    image_locality::PLUGIN,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sets_can_hold_all() {
        let names: std::collections::BTreeSet<&str> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        assert_eq!(names.len(), PLUGINS.len());
        assert!(PLUGINS.len() <= u32::BITS as usize);
    }

    #[test]
    fn a_plugin_that_can_refuse_a_node_can_change_its_mind() {
        for plugin in PLUGINS.iter().filter(|plugin| plugin.filter.is_some()) {
            assert!(!plugin.events.is_none(), "{}", plugin.name);
        }
    }
}

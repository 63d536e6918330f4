//! The rows, by group, then plural, then version.

mod binding;
mod cluster_role;
mod cluster_role_binding;
mod component_status;
mod config_map;
mod controller_revision;
mod cron_job;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod event_v1;
mod horizontal_pod_autoscaler;
mod horizontal_pod_autoscaler_rules;
mod horizontal_pod_autoscaler_v1;
mod job;
mod job_indexes;
mod job_rules;
mod job_status;
mod lease;
mod limit_range;
mod namespace;
mod node;
mod persistent_volume;
pub(crate) mod persistent_volume_claim;
mod pod;
mod pod_disruption_budget;
mod pod_template;
mod priority_class;
mod rbac;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod reviews;
mod role;
mod role_binding;
mod runtime_class;
mod secret;
mod service;
mod service_account;
mod stateful_set;
mod storage_class;

use crate::Kind;

/// Every built-in kind.
pub static KINDS: &[&Kind] = &[
    &binding::KIND,
    &component_status::KIND,
    &config_map::KIND,
    &endpoints::KIND,
    &event::KIND,
    &limit_range::KIND,
    &namespace::KIND,
    &node::KIND,
    &persistent_volume_claim::KIND,
    &persistent_volume::KIND,
    &pod::KIND,
    &pod_template::KIND,
    &replication_controller::KIND,
    &resource_quota::KIND,
    &secret::KIND,
    &service_account::KIND,
    &service::KIND,
    &custom_resource_definition::KIND,
    &controller_revision::KIND,
    &daemon_set::KIND,
    &deployment::KIND,
    &replica_set::KIND,
    &stateful_set::KIND,
    &reviews::SELF_SUBJECT_REVIEW,
    &reviews::TOKEN_REVIEW,
    &reviews::LOCAL_SUBJECT_ACCESS_REVIEW,
    &reviews::SELF_SUBJECT_ACCESS_REVIEW,
    &reviews::SELF_SUBJECT_RULES_REVIEW,
    &reviews::SUBJECT_ACCESS_REVIEW,
    &horizontal_pod_autoscaler_v1::KIND,
    &horizontal_pod_autoscaler::KIND,
    &cron_job::KIND,
    &job::KIND,
    &lease::KIND,
    &endpoint_slice::KIND,
    &event_v1::KIND,
    &runtime_class::KIND,
    &pod_disruption_budget::KIND,
    &cluster_role_binding::KIND,
    &cluster_role::KIND,
    &role_binding::KIND,
    &role::KIND,
    &priority_class::KIND,
    &storage_class::KIND,
];

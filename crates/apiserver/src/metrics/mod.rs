//! What `/metrics` tells: upstream's names, labels and buckets, counted without locks in the path of requests. Texts are our own.
//!
//! What can be read off the state at the time of a scrape (objects, caches, the process) is read then and counted nowhere.

mod process;
mod requests;
mod series;
mod text;

use std::sync::Arc;
use std::time::Duration;

use k8s_object::ApiError;

use crate::admission::PluginTimes;
use crate::core::Core;
use crate::flow::Flow;

pub(crate) use requests::{DryRun, Labels, Requests, Series, Watermark};
pub(crate) use series::{About, Bounds, Counter, Family, Gauge, Histogram, Show, Tally, hash};
pub(crate) use text::Page;

/// Powers of two from a millisecond (upstream's buckets for authentication and authorization).
const AUTH_SECONDS: Bounds =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];
const STORE_SECONDS: Bounds = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
const ADMISSION_SECONDS: Bounds = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const CONDITION_SECONDS: Bounds = &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];
const POLICY_SECONDS: Bounds = &[0.000_000_5, 0.001, 0.01, 0.1, 1.0];
const WEBHOOK_SECONDS: Bounds = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
pub(crate) const EVENT_SIZES: Bounds = &[1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];

macro_rules! families {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $make:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        /// What one API server counts.
        pub(crate) struct Metrics {
            /// Requests by what they ask for.
            pub requests: Requests,
            /// Requests under way, readers and writers.
            pub in_flight: [Watermark; 2],
            /// Requests that wait for seats, readers and writers.
            pub in_queue: [Watermark; 2],
            /// Time that plugins of admission took.
            pub plugins: PluginTimes,
            $($(#[$doc])* pub $field: Family<$kind>,)*
        }

        impl Default for Metrics {
            fn default() -> Metrics {
                $(let $field = {
                    static ABOUT: About = About { name: $name, help: $help, labels: &[$($label),*] };
                    Family::new(&ABOUT, $make)
                };)*
                Metrics {
                    requests: Requests::default(),
                    in_flight: Default::default(),
                    in_queue: Default::default(),
                    plugins: PluginTimes::default(),
                    $($field,)*
                }
            }
        }

        impl Metrics {
            fn show(&self, page: &mut Page) {
                self.requests.show(page);
                self.plugins.flush(&self.plugin_time);
                $(self.$field.show(page);)*
            }
        }
    };
}

families! {
    /// By name and type of the check: 1 if it passed when it was last asked.
    health: Gauge = Gauge::default, "kubernetes_healthcheck", ["name", "type"],
        "[STABLE] Whether a health check passed.";
    health_total: Counter = Counter::default, "kubernetes_healthchecks_total", ["name", "type", "status"],
        "[STABLE] Results of health checks.";
    authentication: Counter = Counter::default, "authentication_attempts", ["result"],
        "[ALPHA] Attempts to find out who asks.";
    authentication_time: Histogram = || Histogram::new(AUTH_SECONDS), "authentication_duration_seconds", ["result"],
        "[ALPHA] Time that it took to find out who asks.";
    users: Counter = Counter::default, "authenticated_user_requests", ["username"],
        "[ALPHA] Requests by kind of user.";
    authorization: Counter = Counter::default, "authorization_attempts_total", ["result"],
        "[ALPHA] Decisions about requests.";
    authorization_time: Histogram = || Histogram::new(AUTH_SECONDS), "authorization_duration_seconds", ["result"],
        "[ALPHA] Time that decisions about requests took.";
    legacy_tokens: Counter = Counter::default, "serviceaccount_legacy_tokens_total", [],
        "[ALPHA] Uses of tokens of service accounts that stand in Secrets.";
    legacy_manual: Counter = Counter::default, "serviceaccount_legacy_manual_token_uses_total", [],
        "[ALPHA] Of these, uses of tokens whose Secret somebody made.";
    legacy_auto: Counter = Counter::default, "serviceaccount_legacy_auto_token_uses_total", [],
        "[ALPHA] Of these, uses of tokens whose Secret was made for the account.";
    legacy_invalid: Counter = Counter::default, "serviceaccount_invalid_legacy_auto_token_uses_total", [],
        "[ALPHA] Uses of tokens in Secrets that are no longer taken.";
    stale_tokens: Counter = Counter::default, "serviceaccount_stale_tokens_total", [],
        "[ALPHA] Uses of tokens that their client should have renewed.";
    valid_tokens: Counter = Counter::default, "serviceaccount_valid_tokens_total", [],
        "[ALPHA] Uses of tokens before they should be renewed.";
    condition_errors: Counter = Counter::default, "apiserver_admission_match_condition_evaluation_errors_total",
        ["name", "kind", "type", "operation"],
        "[ALPHA] Match conditions that could not be evaluated.";
    condition_exclusions: Counter = Counter::default, "apiserver_admission_match_condition_exclusions_total",
        ["name", "kind", "type", "operation"],
        "[ALPHA] Requests that a webhook was not asked about because of its match conditions.";
    condition_time: Histogram = || Histogram::new(CONDITION_SECONDS),
        "apiserver_admission_match_condition_evaluation_seconds", ["name", "kind", "type", "operation"],
        "[ALPHA] Time that match conditions took.";
    admission_step: Histogram = || Histogram::new(ADMISSION_SECONDS),
        "apiserver_admission_step_admission_duration_seconds", ["type", "operation", "rejected"],
        "[STABLE] Time that a step of admission took, admit or validate.";
    plugin_time: Histogram = || Histogram::new(ADMISSION_SECONDS),
        "apiserver_admission_controller_admission_duration_seconds", ["name", "type", "operation", "rejected"],
        "[STABLE] Time that plugins of admission took, by name.";
    validating_policies: Counter = Counter::default, "apiserver_validating_admission_policy_check_total",
        ["policy", "policy_binding", "error_type", "enforcement_action"],
        "[BETA] Rules of policies that were not met or could not be evaluated, by what came of it.";
    validating_policy_time: Histogram = || Histogram::new(POLICY_SECONDS),
        "apiserver_validating_admission_policy_check_duration_seconds",
        ["policy", "policy_binding", "error_type", "enforcement_action"],
        "[BETA] Time that these rules took.";
    mutating_policies: Counter = Counter::default, "apiserver_mutating_admission_policy_check_total",
        ["policy", "policy_binding", "error_type"],
        "[ALPHA] Mutations of policies.";
    mutating_policy_time: Histogram = || Histogram::new(POLICY_SECONDS),
        "apiserver_mutating_admission_policy_check_duration_seconds", ["policy", "policy_binding", "error_type"],
        "[ALPHA] Time that mutations of policies took.";
    webhooks: Histogram = || Histogram::new(WEBHOOK_SECONDS), "apiserver_admission_webhook_admission_duration_seconds",
        ["name", "type", "operation", "rejected"],
        "[STABLE] Time that webhooks took, by name.";
    webhook_rejections: Counter = Counter::default, "apiserver_admission_webhook_rejection_count",
        ["name", "type", "operation", "error_type", "rejection_code"],
        "[ALPHA] Requests that webhooks refused, or that were refused because a webhook did not answer.";
    webhook_fail_open: Counter = Counter::default, "apiserver_admission_webhook_fail_open_count", ["name", "type"],
        "[ALPHA] Requests that went on although a webhook did not answer.";
    webhook_requests: Counter = Counter::default, "apiserver_admission_webhook_request_total",
        ["name", "type", "operation", "code", "rejected"],
        "[ALPHA] Questions to webhooks.";
    pod_security: Counter = Counter::default, "pod_security_evaluations_total",
        ["decision", "policy_level", "policy_version", "mode", "request_operation", "resource", "subresource"],
        "[ALPHA] Judgements of pods and of templates of pods by the policy of their namespace.";
    pod_security_errors: Counter = Counter::default, "pod_security_errors_total",
        ["fatal", "request_operation", "resource", "subresource"],
        "[ALPHA] Policies of namespaces that could not be read.";
    pod_security_exempt: Counter = Counter::default, "pod_security_exemptions_total",
        ["request_operation", "resource", "subresource"],
        "[ALPHA] Requests that no policy is for: there are none on EKS.";
    deprecated: Gauge = Gauge::default, "apiserver_requested_deprecated_apis",
        ["group", "version", "resource", "subresource", "removed_release"],
        "[STABLE] Deprecated APIs that were asked for.";
    watch_events: Arc<Counter> = Arc::default, "apiserver_watch_events_total", ["group", "version", "resource"],
        "[ALPHA] Events sent to watchers.";
    watch_event_sizes: Arc<Histogram> = || Arc::new(Histogram::new(EVENT_SIZES)), "apiserver_watch_events_sizes",
        ["group", "version", "resource"],
        "[ALPHA] Bytes of events sent to watchers.";
    terminated_watchers: Counter = Counter::default, "apiserver_terminated_watchers_total", ["group", "resource"],
        "[ALPHA] Watchers that fell too far behind.";
    cache_lists: Counter = Counter::default, "apiserver_cache_list_total", ["group", "resource", "index"],
        "[ALPHA] Lists answered from the watch cache.";
    cache_lists_returned: Counter = Counter::default, "apiserver_cache_list_returned_objects_total",
        ["group", "resource"],
        "[ALPHA] Objects in lists answered from the watch cache.";
    cache_events: Counter = Counter::default, "apiserver_watch_cache_events_received_total", ["group", "resource"],
        "[ALPHA] Events that came into the watch cache.";
    store: Histogram = || Histogram::new(STORE_SECONDS), "etcd_request_duration_seconds",
        ["operation", "group", "resource"],
        "[ALPHA] Time that requests to the store took.";
    store_requests: Counter = Counter::default, "etcd_requests_total", ["operation", "group", "resource"],
        "[ALPHA] Requests to the store.";
    store_errors: Counter = Counter::default, "etcd_request_errors_total", ["operation", "group", "resource"],
        "[ALPHA] Requests to the store that failed.";
    audit_events: Counter = Counter::default, "apiserver_audit_event_total", [],
        "[ALPHA] Audit events that were made and sent.";
    audit_errors: Counter = Counter::default, "apiserver_audit_error_total", ["plugin"],
        "[ALPHA] Audit events that were lost.";
    audit_levels: Counter = Counter::default, "apiserver_audit_level_total", ["level"],
        "[ALPHA] Requests by the level at which they are audited.";
    audit_rejected: Counter = Counter::default, "apiserver_audit_requests_rejected_total", [],
        "[ALPHA] Requests refused because they could not be audited.";
    tls_errors: Counter = Counter::default, "apiserver_tls_handshake_errors_total", [],
        "[ALPHA] Connections that ended in their TLS handshake.";
}

static STORAGE_OBJECTS: About = About {
    name: "apiserver_storage_objects",
    help: "[STABLE] (Deprecated, apiserver_resource_objects says the same) Objects by resource.",
    labels: &["resource"],
};
static RESOURCE_OBJECTS: About =
    About { name: "apiserver_resource_objects", help: "[ALPHA] Objects by resource.", labels: &["group", "resource"] };
static STORAGE_SIZE: About = About {
    name: "apiserver_storage_size_bytes",
    help: "[STABLE] Bytes of the objects of this cluster; the store has other clusters and history besides.",
    labels: &["storage_cluster_id"],
};
static RESOURCE_BYTES: About = About {
    name: "apiserver_resource_size_estimate_bytes",
    help: "[ALPHA] Bytes of the objects of a resource.",
    labels: &["group", "resource"],
};
static CACHE_REVISION: About = About {
    name: "apiserver_watch_cache_resource_version",
    help: "[ALPHA] The revision that the watch cache of a resource has.",
    labels: &["group", "resource"],
};
static CACHE_CAPACITY: About = About {
    name: "watch_cache_capacity",
    help: "[ALPHA] Events that the watch cache of a resource may keep.",
    labels: &["group", "resource"],
};
static IN_FLIGHT: About = About {
    name: "apiserver_current_inflight_requests",
    help: "[STABLE] The most requests at a time in the last second, by kind.",
    labels: &["request_kind"],
};
static IN_QUEUE: About = About {
    name: "apiserver_current_inqueue_requests",
    help: "[ALPHA] The most requests in queues at a time in the last second, by kind.",
    labels: &["request_kind"],
};
static BUILD: About =
    About { name: "kubernetes_build_info", help: "[ALPHA] What was built; the value is always 1.", labels: &[] };
static START: About = About {
    name: "apiserver_start_time_seconds",
    help: "When this API server began, in seconds since 1970.",
    labels: &[],
};

impl Metrics {
    /// The store has answered to a write.
    pub(crate) fn stored<T>(
        &self,
        operation: &'static str,
        group: &str,
        resource: &str,
        took: Duration,
        answer: &Result<T, ApiError>,
    ) {
        let labels = [operation, group, resource];
        self.store.with(&labels).seconds(took);
        self.store_requests.with(&labels).inc();
        if answer.is_err() {
            self.store_errors.with(&labels).inc();
        }
    }
}

impl Metrics {
    /// Upstream shows these whether or not there is anything to count.
    fn begin_pod_security(&self) {
        for operation in ["create", "update"] {
            self.pod_security.with(&["allow", "privileged", "latest", "enforce", operation, "pod", ""]);
            for resource in ["pod", "controller"] {
                self.pod_security_exempt.with(&[operation, resource, ""]);
            }
        }
    }
}

/// The page at `/metrics`.
pub(crate) fn all(core: &Core) -> String {
    let mut page = Page::default();
    crate::http::look_at_health(core);
    core.metrics.begin_pod_security();
    core.metrics.show(&mut page);
    Flow::show(&core.flow, core, &mut page);
    show_state(core, &mut page);
    if !core.world.is_simulated() {
        process::show(&mut page);
    }
    page.text()
}

/// The page at `/metrics/slis`.
pub(crate) fn slis(core: &Core) -> String {
    crate::http::look_at_health(core);
    let mut page = Page::default();
    core.metrics.health.show(&mut page);
    core.metrics.health_total.show(&mut page);
    page.text()
}

fn show_state(core: &Core, page: &mut Page) {
    let now = core.world.elapsed();
    for (about, marks) in [(&IN_FLIGHT, &core.metrics.in_flight), (&IN_QUEUE, &core.metrics.in_queue)] {
        for (kind, mark) in ["readOnly", "mutating"].into_iter().zip(marks) {
            page.sample(about, "gauge", &[("request_kind", kind)], mark.read(now) as f64);
        }
    }
    let mut size = 0.0;
    for entry in core.registry.served().entries() {
        let resource = entry.stored();
        if resource.is_virtual() {
            continue;
        }
        let (objects, bytes) = entry.cache.size();
        if entry.is_own() {
            size += bytes as f64;
        }
        let labels = [("group", resource.group.as_str()), ("resource", resource.plural.as_str())];
        let joined = match resource.group.is_empty() {
            true => resource.plural.clone(),
            false => format!("{}.{}", resource.plural, resource.group),
        };
        page.sample(&STORAGE_OBJECTS, "gauge", &[("resource", &joined)], objects as f64);
        page.sample(&RESOURCE_OBJECTS, "gauge", &labels, objects as f64);
        page.sample(&RESOURCE_BYTES, "gauge", &labels, bytes as f64);
        page.sample(&CACHE_REVISION, "gauge", &labels, entry.cache.read().last() as f64);
        page.sample(&CACHE_CAPACITY, "gauge", &labels, crate::cache::MAX_EVENTS as f64);
    }
    page.sample(&STORAGE_SIZE, "gauge", &[("storage_cluster_id", "etcd-0")], size);
    let info = crate::http::version_info(core);
    let text = |field: &str| info[field].as_str().unwrap_or_default().to_owned();
    let fields =
        ["major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"];
    let names = [
        "major",
        "minor",
        "git_version",
        "git_commit",
        "git_tree_state",
        "build_date",
        "go_version",
        "compiler",
        "platform",
    ];
    let values: Vec<String> = fields.into_iter().map(text).collect();
    let labels: Vec<(&str, &str)> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
    page.sample(&BUILD, "gauge", &labels, 1.0);
    page.sample(&START, "gauge", &[], (core.world.now() - now.saturating_sub(core.began)).seconds() as f64);
}

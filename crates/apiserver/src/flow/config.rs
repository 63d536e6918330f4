//! FlowSchemas and PriorityLevelConfigurations (flowcontrol.apiserver.k8s.io/v1), read from their objects into what requests are
//! classified by.

use std::sync::Arc;

use http::HeaderValue;
use k8s_object::{Object, UserInfo};
use serde_json::Value;

use super::metrics::Counts;

pub(crate) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
pub(crate) const EXEMPT: &str = "exempt";
pub(crate) const CATCH_ALL: &str = "catch-all";
/// Shuffle sharding takes its cards out of one hash of 64 bits (upstream `shufflesharding.MaxHashBits`).
const MAX_HASH_BITS: f64 = 60.0;
/// Cards of a hand that fit (upstream: the same).
pub(super) const MAX_HAND: usize = 15;

/// What a request is, as far as its classification goes. Texts that do not apply are empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub user: &'a UserInfo,
    pub verb: &'a str,
    pub is_resource: bool,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub path: &'a str,
}

/// How flows of one schema are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distinguisher {
    ByUser,
    ByNamespace,
}

/// A FlowSchema.
pub(crate) struct Schema {
    pub name: String,
    pub uid: HeaderValue,
    pub precedence: i64,
    pub level: String,
    pub(super) distinguisher: Option<Distinguisher>,
    rules: Vec<Rule>,
    pub counts: Arc<Counts>,
}

#[derive(Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    /// Namespace and name.
    ServiceAccount(String, String),
}

/// A list where `*` alone means everything.
#[derive(Debug, Default)]
struct Texts(Vec<String>);

#[derive(Debug)]
struct ResourceRule {
    verbs: Texts,
    groups: Texts,
    resources: Texts,
    namespaces: Texts,
    cluster_scope: bool,
}

#[derive(Debug)]
struct PathRule {
    verbs: Texts,
    paths: Vec<String>,
}

impl Texts {
    fn of(value: &Value, field: &str) -> Texts {
        let items = value[field].as_array().map_or(&[][..], Vec::as_slice);
        Texts(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    fn has(&self, text: &str) -> bool {
        matches!(&self.0[..], [all] if all == "*") || self.0.iter().any(|own| own == text)
    }

    /// As [`Texts::has`] for `resource/subresource`, without joining it.
    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        let is = |own: &str| match own.strip_prefix(resource) {
            Some(rest) if subresource.is_empty() => rest.is_empty(),
            Some(rest) => rest.strip_prefix('/') == Some(subresource),
            None => false,
        };
        matches!(&self.0[..], [all] if all == "*") || self.0.iter().any(|own| is(own))
    }
}

impl Subject {
    fn read(value: &Value) -> Option<Subject> {
        let text = |object: &Value, field: &str| object[field].as_str().map(str::to_owned);
        match value["kind"].as_str()? {
            "User" => Some(Subject::User(text(&value["user"], "name")?)),
            "Group" => Some(Subject::Group(text(&value["group"], "name")?)),
            "ServiceAccount" => {
                let account = &value["serviceAccount"];
                Some(Subject::ServiceAccount(text(account, "namespace")?, text(account, "name")?))
            }
            _ => None,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == user.username,
            Subject::Group(name) => name == "*" || user.in_group(name),
            Subject::ServiceAccount(namespace, name) => {
                let rest = user.username.strip_prefix("system:serviceaccount:");
                let own = rest.and_then(|rest| rest.split_once(':'));
                own.is_some_and(|(in_namespace, own)| in_namespace == namespace && (name == "*" || name == own))
            }
        }
    }
}

impl PathRule {
    fn has(&self, path: &str) -> bool {
        self.paths.iter().any(|rule| {
            // A pattern stands for all that is below it; upstream reads one without a star so too.
            let prefix = rule.strip_suffix('*').unwrap_or(rule);
            let below = path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix));
            rule == "*" || rule == path || below.is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

impl Rule {
    fn read(value: &Value) -> Rule {
        let items = |field: &str| value[field].as_array().cloned().unwrap_or_default();
        Rule {
            subjects: items("subjects").iter().filter_map(Subject::read).collect(),
            resources: items("resourceRules")
                .iter()
                .map(|rule| ResourceRule {
                    verbs: Texts::of(rule, "verbs"),
                    groups: Texts::of(rule, "apiGroups"),
                    resources: Texts::of(rule, "resources"),
                    namespaces: Texts::of(rule, "namespaces"),
                    cluster_scope: rule["clusterScope"].as_bool().unwrap_or(false),
                })
                .collect(),
            paths: items("nonResourceRules")
                .iter()
                .map(|rule| PathRule { verbs: Texts::of(rule, "verbs"), paths: Texts::of(rule, "nonResourceURLs").0 })
                .collect(),
        }
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        if !self.subjects.iter().any(|subject| subject.is(asked.user)) {
            return false;
        }
        if !asked.is_resource {
            return self.paths.iter().any(|rule| rule.verbs.has(asked.verb) && rule.has(asked.path));
        }
        self.resources.iter().any(|rule| {
            rule.verbs.has(asked.verb)
                && rule.resources.has_resource(asked.resource, asked.subresource)
                && rule.groups.has(asked.group)
                && if asked.namespace.is_empty() { rule.cluster_scope } else { rule.namespaces.has(asked.namespace) }
        })
    }
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

impl Schema {
    pub(super) fn read(object: &Object) -> Schema {
        Schema::parse(&object.meta().name, &object.meta().uid, &object.value()["spec"])
    }

    fn parse(name: &str, uid: &str, spec: &Value) -> Schema {
        let level = spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        Schema {
            name: name.to_owned(),
            uid: header(uid),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            level: level.to_owned(),
            distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
                Some("ByUser") => Some(Distinguisher::ByUser),
                Some("ByNamespace") => Some(Distinguisher::ByNamespace),
                _ => None,
            },
            rules: spec["rules"].as_array().map_or(Vec::new(), |rules| rules.iter().map(Rule::read).collect()),
            counts: Arc::new(Counts::new(level, name)),
        }
    }

    /// The one that always is there, first or last (upstream `MandatoryFlowSchemas`).
    pub(super) fn mandatory(name: &str) -> Schema {
        let groups: &[&str] = match name {
            EXEMPT => &["system:masters"],
            _ => &[UserInfo::UNAUTHENTICATED, UserInfo::AUTHENTICATED],
        };
        let all = || Texts(vec!["*".to_owned()]);
        let rule = Rule {
            subjects: groups.iter().map(|group| Subject::Group((*group).to_owned())).collect(),
            resources: vec![ResourceRule {
                verbs: all(),
                groups: all(),
                resources: all(),
                namespaces: all(),
                cluster_scope: true,
            }],
            paths: vec![PathRule { verbs: all(), paths: vec!["*".to_owned()] }],
        };
        Schema {
            name: name.to_owned(),
            uid: HeaderValue::from_static(""),
            precedence: if name == EXEMPT { 1 } else { 10_000 },
            level: name.to_owned(),
            distinguisher: (name == CATCH_ALL).then_some(Distinguisher::ByUser),
            rules: vec![rule],
            counts: Arc::new(Counts::new(name, name)),
        }
    }

    pub(super) fn matches(&self, asked: &Asked<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(asked))
    }

    /// What tells the flow of a request from others of the schema.
    pub(super) fn flow<'a>(&self, asked: &Asked<'a>) -> &'a str {
        match self.distinguisher {
            None => "",
            Some(Distinguisher::ByUser) => &asked.user.username,
            Some(Distinguisher::ByNamespace) => asked.namespace,
        }
    }
}

/// What happens to requests that find no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// There always is one.
    Exempt,
    Reject,
    Queue {
        queues: usize,
        hand: usize,
        length: usize,
    },
}

/// A PriorityLevelConfiguration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LevelSpec {
    pub name: String,
    pub uid: HeaderValue,
    pub shares: f64,
    pub lendable_percent: f64,
    pub borrowing_percent: Option<f64>,
    pub response: Response,
}

impl LevelSpec {
    /// `None` for one that contradicts itself, which upstream ignores too.
    pub(super) fn read(object: &Object) -> Option<LevelSpec> {
        LevelSpec::parse(&object.meta().name, &object.meta().uid, &object.value()["spec"])
    }

    fn parse(name: &str, uid: &str, spec: &Value) -> Option<LevelSpec> {
        let exempt = spec["type"].as_str() == Some("Exempt");
        let limits = if exempt { &spec["exempt"] } else { &spec["limited"] };
        if exempt != (name == EXEMPT) || (!exempt && !limits.is_object()) {
            return None;
        }
        let response = match spec["limited"]["limitResponse"]["type"].as_str() {
            _ if exempt => Response::Exempt,
            Some("Queue") => {
                let queuing = &spec["limited"]["limitResponse"]["queuing"];
                let number = |field: &str, default| {
                    queuing[field].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
                };
                let (queues, hand) = (number("queues", 64), number("handSize", 8));
                let bits = ((queues as f64).log2() * hand as f64).ceil();
                if queues == 0 || hand == 0 || hand > queues.min(MAX_HAND) || bits > MAX_HASH_BITS {
                    return None;
                }
                Response::Queue { queues, hand, length: number("queueLengthLimit", 50) }
            }
            _ => Response::Reject,
        };
        let number = |field: &str| limits[field].as_f64();
        Some(LevelSpec {
            name: name.to_owned(),
            uid: header(uid),
            shares: number("nominalConcurrencyShares").unwrap_or(if exempt { 0.0 } else { 30.0 }),
            lendable_percent: number("lendablePercent").unwrap_or(0.0),
            borrowing_percent: number("borrowingLimitPercent").filter(|_| !exempt),
            response,
        })
    }

    /// The one that always is there (upstream `MandatoryPriorityLevelConfigurations`).
    pub(super) fn mandatory(name: &str) -> LevelSpec {
        let exempt = name == EXEMPT;
        LevelSpec {
            name: name.to_owned(),
            uid: HeaderValue::from_static(""),
            shares: if exempt { 0.0 } else { 5.0 },
            lendable_percent: 0.0,
            borrowing_percent: None,
            response: if exempt { Response::Exempt } else { Response::Reject },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_matches_what_upstream_would() {
        let spec = json!({"rules": [{
            "subjects": [
                {"kind": "User", "user": {"name": "jane"}},
                {"kind": "Group", "group": {"name": "ops"}},
                {"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "*"}},
            ],
            "resourceRules": [
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"], "namespaces": ["a"]},
                {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"], "clusterScope": true},
            ],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}],
        }]});
        let schema = Schema::parse("s", "", &spec);
        // user, verb, group, resource/subresource or path, namespace
        let cases = [
            ("jane", "get", "", "pods", "a", true),
            ("jane", "get", "", "pods/log", "a", true),
            ("jane", "get", "", "pods/exec", "a", false),
            ("jane", "get", "", "podsets", "a", false),
            ("jane", "delete", "", "pods", "a", false),
            ("jane", "get", "", "pods", "b", false),
            ("jane", "get", "", "pods", "", false),
            ("jane", "delete", "apps", "deployments/scale", "", true),
            ("jane", "delete", "apps", "deployments", "a", false),
            ("joe", "get", "", "pods", "a", false),
            ("member", "get", "", "pods", "a", true),
            ("system:serviceaccount:a:x", "get", "", "pods", "a", true),
            ("system:serviceaccount:ab:x", "get", "", "pods", "a", false),
            ("jane", "get", "", "/healthz", "", true),
            ("jane", "get", "", "/healthz/etcd", "", true),
            ("jane", "get", "", "/healthzz", "", false),
            ("jane", "get", "", "/api/v1", "", true),
            ("jane", "get", "", "/apis", "", false),
        ];
        for (name, verb, group, what, namespace, expected) in cases {
            let user = UserInfo::new(name, if name == "member" { &["ops"] } else { &[] });
            let is_resource = !what.starts_with('/');
            let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
            let asked = Asked { user: &user, verb, is_resource, group, resource, subresource, namespace, path: what };
            assert_eq!(schema.matches(&asked), expected, "{name} {verb} {group} {what} {namespace}");
        }
    }

    #[test]
    fn a_level_that_contradicts_itself_is_none() {
        let queue = |queues: u64, hand: u64| {
            json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue",
                "queuing": {"queues": queues, "handSize": hand}}}})
        };
        for (name, spec, good) in [
            ("a", queue(64, 8), true),
            ("a", queue(4, 8), false),
            ("a", queue(512, 8), false),
            ("a", json!({"type": "Exempt", "exempt": {}}), false),
            ("exempt", json!({"type": "Exempt", "exempt": {}}), true),
            ("exempt", queue(64, 8), false),
            ("a", json!({"type": "Limited"}), false),
        ] {
            assert_eq!(LevelSpec::parse(name, "", &spec).is_some(), good, "{name} {spec}");
        }
    }
}

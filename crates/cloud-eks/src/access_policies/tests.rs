use std::collections::BTreeSet;

use super::*;

fn scope(text: &str) -> Scope {
    match text {
        "cluster" => Scope::Cluster,
        list => Scope::Namespaces(list.split(',').map(str::to_owned).collect()),
    }
}

/// `verb group resource[/subresource] namespace`, `-` is empty; or `verb /path`.
fn request(text: &str) -> Attributes<'_> {
    let words: Vec<&str> = text.split(' ').collect();
    let word = |index: usize| if words[index] == "-" { "" } else { words[index] };
    if let [verb, path] = words[..] {
        return Attributes { verb, path: Some(path), ..Attributes::default() };
    }
    let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2], ""));
    Attributes { verb: words[0], group: word(1), resource, subresource, namespace: word(3), ..Attributes::default() }
}

#[test]
fn the_table_is_alphabetical_and_complete() {
    for pair in POLICIES.windows(2) {
        assert!(pair[0].name < pair[1].name, "{} {}", pair[0].name, pair[1].name);
    }
    assert_eq!(POLICIES.len(), 33);
    for policy in POLICIES {
        assert_eq!(find(policy.name), Some(policy));
        for rule in policy.rules() {
            let lists: [&[&str]; 3] = match rule {
                Rule::Resources { groups, resources, verbs } => [groups, resources, verbs],
                Rule::NonResourceUrls { urls, verbs } => [urls, verbs, ANY],
            };
            for list in lists {
                assert!(!list.is_empty() && list.windows(2).all(|pair| pair[0] < pair[1]), "{} {list:?}", policy.name);
            }
        }
    }
    assert_eq!(find("View"), None);
}

const ANY: &[&str] = &["*"];

#[test]
fn policies_allow_what_aws_documents() {
    let cases = [
        // Policy, scope, request, allowed.
        ("View", "cluster", "list - pods blue", true),
        ("View", "cluster", "list - pods -", true),
        ("View", "cluster", "get - pods/log blue", true),
        ("View", "cluster", "get - pods/exec blue", false),
        ("View", "cluster", "get - secrets blue", false),
        ("View", "cluster", "create - pods blue", false),
        ("View", "cluster", "get - nodes -", false),
        ("View", "cluster", "get apps deployments/scale blue", true),
        ("View", "cluster", "get apps deployments/rollback blue", false),
        ("View", "cluster", "get - deployments blue", false),
        ("View", "cluster", "get example.com widgets blue", false),
        ("View", "cluster", "get /version", false),
        ("View", "blue", "get - namespaces blue", true),
        ("View", "blue", "list - namespaces -", false),
        ("View", "blue", "get rbac.authorization.k8s.io roles blue", false),
        ("Edit", "blue", "create - pods/exec blue", true),
        ("Edit", "blue", "get - secrets blue", true),
        ("Edit", "blue", "impersonate - serviceaccounts blue", true),
        ("Edit", "blue", "update networking.k8s.io ingresses/status blue", false),
        ("Edit", "blue", "update - pods/status blue", false),
        ("Edit", "blue", "create rbac.authorization.k8s.io roles blue", false),
        ("Edit", "blue", "update - resourcequotas blue", false),
        ("Edit", "blue", "create - pods/eviction blue", false),
        ("Admin", "blue", "create rbac.authorization.k8s.io rolebindings blue", true),
        ("Admin", "blue", "bind rbac.authorization.k8s.io roles blue", false),
        ("Admin", "blue", "create authorization.k8s.io localsubjectaccessreviews blue", true),
        ("Admin", "blue", "update networking.k8s.io ingresses/status blue", false),
        ("Admin", "blue", "get networking.k8s.io ingresses/status blue", true),
        ("Admin", "blue", "create - resourcequotas blue", false),
        ("Admin", "blue", "delete - namespaces blue", false),
        ("Admin", "cluster", "create rbac.authorization.k8s.io clusterroles -", false),
        ("Admin", "cluster", "get example.com widgets blue", false),
        ("AdminView", "cluster", "list - secrets -", true),
        ("AdminView", "cluster", "watch example.com widgets/status blue", true),
        ("AdminView", "cluster", "get - nodes -", true),
        ("AdminView", "cluster", "delete - pods blue", false),
        ("AdminView", "cluster", "get /metrics", false),
        ("ClusterAdmin", "cluster", "delete - nodes -", true),
        ("ClusterAdmin", "cluster", "escalate rbac.authorization.k8s.io clusterroles -", true),
        ("ClusterAdmin", "cluster", "post /anything/else", true),
        ("ClusterAdmin", "blue", "delete example.com widgets/scale blue", true),
        ("ClusterAdmin", "blue", "delete example.com widgets green", false),
        ("ClusterAdmin", "blue", "list - pods -", false),
        ("ClusterAdmin", "blue", "get - nodes -", false),
        ("ClusterAdmin", "blue", "get /version", false),
        ("ClusterAdmin", "*", "list - pods -", false),
        ("ClusterAdmin", "*", "list - pods blue", true),
        ("Hybrid", "cluster", "list - nodes -", true),
        ("Hybrid", "cluster", "list metrics.k8s.io nodes -", true),
        ("Hybrid", "cluster", "get - nodes -", false),
        ("SecretReader", "blue", "watch - secrets blue", true),
        ("SecretReader", "blue", "update - secrets blue", false),
        ("SecretReader", "blue", "get - configmaps blue", false),
        ("View", "dev-*", "get - pods dev-one", true),
        ("View", "dev-*", "get - pods dev-", true),
        ("View", "dev-*", "get - pods dev", false),
        ("View", "dev-*,blue", "get - pods blue", true),
        ("View", "blue", "get - pods blue-2", false),
        ("AutoNode", "cluster", "get - pods blue", false),
        ("None", "cluster", "get - pods blue", false),
    ];
    for (name, at, what, expected) in cases {
        let policy = format!("AmazonEKS{name}Policy");
        assert_eq!(allows(&policy, &request(what), &scope(at)), expected, "{name} {at} {what}");
    }
}

/// Every request that some rule of the table names, and some that none does, in and out of namespaces.
fn universe() -> Vec<Attributes<'static>> {
    let mut groups = BTreeSet::from(["example.com"]);
    let mut resources = BTreeSet::from(["nodes", "widgets", "widgets/status", "pods/eviction"]);
    let mut verbs = BTreeSet::from(["bind", "escalate", "impersonate", "proxy"]);
    for rule in POLICIES.iter().flat_map(Policy::rules) {
        if let Rule::Resources { groups: some, resources: named, verbs: done } = rule {
            groups.extend(some.iter().filter(|text| **text != "*"));
            resources.extend(named.iter().filter(|text| **text != "*"));
            verbs.extend(done.iter().filter(|text| **text != "*"));
        }
    }
    let mut all = vec![];
    for &verb in &verbs {
        all.push(Attributes { verb, path: Some("/version"), ..Attributes::default() });
        for &group in &groups {
            for full in &resources {
                let (resource, subresource) = full.split_once('/').unwrap_or((full, ""));
                for namespace in ["", "blue", "green"] {
                    all.push(Attributes { verb, group, resource, subresource, namespace, name: "", path: None });
                }
            }
        }
    }
    all
}

#[test]
fn view_is_within_edit_within_admin_within_cluster_admin() {
    let requests = universe();
    let chain = ["AmazonEKSViewPolicy", "AmazonEKSEditPolicy", "AmazonEKSAdminPolicy", "AmazonEKSClusterAdminPolicy"];
    for at in ["cluster", "blue", "gr*", "*"] {
        for pair in chain.windows(2) {
            let mut only_more = 0;
            for request in &requests {
                let (small, large) = (allows(pair[0], request, &scope(at)), allows(pair[1], request, &scope(at)));
                assert!(large || !small, "{at} {pair:?} {request:?}");
                only_more += usize::from(large && !small);
            }
            assert!(only_more > 0, "{pair:?} do not differ");
        }
    }
}

#[test]
fn a_namespace_scope_is_the_cluster_scope_cut_to_its_namespaces() {
    let requests = universe();
    for policy in POLICIES {
        for request in &requests {
            let whole = allows(policy.name, request, &Scope::Cluster);
            let within = request.path.is_none() && request.namespace == "blue";
            assert_eq!(allows(policy.name, request, &scope("blue")), whole && within, "{} {request:?}", policy.name);
            assert!(policy.rules.is_some() || !whole, "{} has no rules", policy.name);
        }
    }
}

#[test]
fn only_policies_with_known_rules_are_associated() {
    let arn = |name: &str| format!("arn:aws:eks::aws:cluster-access-policy/{name}");
    let cases = [
        (arn("AmazonEKSViewPolicy"), Ok("AmazonEKSViewPolicy")),
        (arn("AmazonEKSAutoNodePolicy"), Err(AssociateError::RulesUnknown("AmazonEKSAutoNodePolicy"))),
        (arn("AmazonEKSComputeClusterPolicy"), Err(AssociateError::ServiceOnly)),
        (arn("AmazonEKSviewPolicy"), Err(AssociateError::NotFound)),
        (arn(""), Err(AssociateError::Format)),
        (arn("AmazonEKSViewPolicy").replace("arn:aws:", "arn:aws-cn:"), Err(AssociateError::NotFound)),
        ("arn:aws:iam::aws:policy/AmazonEKSViewPolicy".to_owned(), Err(AssociateError::Format)),
        ("AmazonEKSViewPolicy".to_owned(), Err(AssociateError::Format)),
    ];
    for (arn, expected) in cases {
        assert_eq!(associable(&arn).map(|policy| policy.name), expected, "{arn}");
    }
    assert_eq!(cluster_admin_arn(), arn("AmazonEKSClusterAdminPolicy"));
    assert!(associable(&cluster_admin_arn()).is_ok());
    for policy in POLICIES {
        assert_eq!(associable(&policy.arn()).is_ok(), policy.rules.is_some(), "{}", policy.name);
    }
    assert!(AssociateError::RulesUnknown("AmazonEKSEventPolicy").to_string().contains("AmazonEKSEventPolicy"));
}

#[test]
fn scopes_are_read() {
    let two = || vec!["a".to_owned(), "b*".to_owned()];
    let cases = [
        ("cluster", vec![], Ok(Scope::Cluster)),
        ("namespace", two(), Ok(Scope::Namespaces(two()))),
        ("namespace", vec![], Err(ScopeError::NoNamespaces)),
        ("cluster", two(), Err(ScopeError::UnexpectedNamespaces)),
        ("region", vec![], Err(ScopeError::Type("region".to_owned()))),
    ];
    for (kind, namespaces, expected) in cases {
        let scope = Scope::parse(kind, namespaces.clone());
        assert_eq!(scope, expected);
        if let Ok(scope) = scope {
            assert_eq!((scope.kind(), scope.namespaces()), (kind, &namespaces[..]));
        }
    }
}

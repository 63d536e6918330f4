//! ValidatingAdmissionPolicies through the whole path of a request.

mod support;

use k8s_client::Preconditions;
use k8s_object::{ApiError, GroupVersionResource, resources};
use serde_json::{Value, json};
use support::http::{ask, with_names};
use support::{Cluster, with_options};

const POLICIES: GroupVersionResource =
    GroupVersionResource::of("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies");
const BINDINGS: GroupVersionResource =
    GroupVersionResource::of("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings");
const CM: GroupVersionResource = resources::CONFIG_MAPS;

/// Runs a test against a new cluster that has policies.
fn with_policies<F: Future<Output = ()>>(
    change: impl FnOnce(&mut apiserver::Options),
    test: impl FnOnce(Cluster) -> F,
) {
    with_options(change, |cluster| async move {
        match cluster.server.count("admissionregistration.k8s.io", "validatingadmissionpolicies") {
            Some(_) => test(cluster).await,
            None => eprintln!("skipped: policies are not served"),
        }
    });
}

/// A policy about ConfigMaps.
async fn policy(cluster: &Cluster, name: &str, spec: Value) {
    let mut whole = json!({"matchConstraints": {"resourceRules": [
        {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    cluster.admin().create(&POLICIES, "", json!({"metadata": {"name": name}, "spec": whole})).await.unwrap();
}

async fn bind(cluster: &Cluster, policy: &str, name: &str, spec: Value) {
    let mut whole = json!({"policyName": policy, "validationActions": ["Deny"]});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    cluster.admin().create(&BINDINGS, "", json!({"metadata": {"name": name}, "spec": whole})).await.unwrap();
}

async fn create(cluster: &Cluster, name: &str, data: Value) -> Result<(), ApiError> {
    let body = json!({"metadata": {"name": name}, "data": data});
    cluster.admin().create(&CM, "default", body).await.map(|_| ())
}

#[test]
fn rules_deny_in_their_own_words() {
    with_policies(
        |_| {},
        |cluster| async move {
            let cases = [
                (json!({"expression": "has(object.data.k)"}), 422, "failed expression: has(object.data.k)"),
                (json!({"expression": "has(object.data.k)", "message": " no k "}), 422, "no k"),
                (
                    json!({"expression": "has(object.data.k)", "messageExpression": "'no k in ' + object.metadata.name", "reason": "Forbidden"}),
                    403,
                    "no k in a",
                ),
                (
                    json!({"expression": "has(object.data.k)", "message": "no k", "messageExpression": "'a\\nb'"}),
                    422,
                    "no k",
                ),
                (
                    json!({"expression": "object.data.k == 'v'"}),
                    422,
                    "expression 'object.data.k == 'v'' resulted in error: no such key: k",
                ),
                (
                    json!({"expression": "variables.wanted == 'v' || variables.broken"}),
                    422,
                    "failed expression: variables.wanted == 'v' || variables.broken",
                ),
            ];
            for (validation, code, message) in cases {
                let variables = json!([
                    {"name": "key", "expression": "'k'"},
                    {"name": "wanted", "expression": "variables.key in object.data ? object.data[variables.key] : ''"},
                    {"name": "broken", "expression": "1 > 2"},
                ]);
                policy(&cluster, "p", json!({"validations": [validation], "variables": variables})).await;
                create(&cluster, "free", json!({"other": "x"})).await.unwrap();
                cluster.admin().delete(&CM, "default", "free", Preconditions::default()).await.unwrap();
                bind(&cluster, "p", "b", json!({})).await;
                let denied = create(&cluster, "a", json!({"other": "x"})).await.unwrap_err();
                let whole = format!("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {message}");
                assert_eq!(denied.message, format!("configmaps \"a\" is forbidden: {whole}"), "{validation}");
                assert_eq!(denied.code(), code, "{validation}");
                assert_eq!(denied.to_status()["details"]["causes"], json!([{"message": whole}]));
                cluster.admin().delete(&BINDINGS, "", "b", Preconditions::default()).await.unwrap();
                cluster.admin().delete(&POLICIES, "", "p", Preconditions::default()).await.unwrap();
            }
        },
    );
}

#[test]
fn bindings_say_what_a_denial_means() {
    with_policies(with_names, |cluster| async move {
        policy(
            &cluster,
            "p",
            json!({"validations": [{"expression": "object.data.size() < 2", "message": "too much"}]}),
        )
        .await;
        bind(&cluster, "p", "b", json!({"validationActions": ["Warn", "Audit"]})).await;
        let body = json!({"metadata": {"name": "a"}, "data": {"k": "v", "l": "w"}}).to_string();
        let answer = ask(&cluster, "admin", "POST /api/v1/namespaces/default/configmaps", &[], &body).await;
        assert_eq!(
            (answer.status, answer.header("warning")),
            (201, r#"299 - "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': too much""#)
        );
        // Errors are let through where the policy says so.
        policy(
            &cluster,
            "lax",
            json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.none.none == 1"}]}),
        )
        .await;
        bind(&cluster, "lax", "lax", json!({})).await;
        create(&cluster, "b", json!({"k": "v"})).await.unwrap();
        // All of that is counted.
        let page = ask(&cluster, "admin", "GET /metrics", &[], "").await.text();
        for (policy, binding, action) in [("p", "b", "warn"), ("p", "b", "audit"), ("lax", "lax", "allow")] {
            let labels = format!(
                r#"{{enforcement_action="{action}",error_type="invalid_error",policy="{policy}",policy_binding="{binding}"}} 1"#
            );
            for what in ["total", "duration_seconds_count"] {
                let expected = format!("apiserver_validating_admission_policy_check_{what}{labels}");
                assert!(page.contains(&expected), "{expected}\nin\n{page}");
            }
        }
    });
}

#[test]
fn policies_are_for_what_they_match() {
    with_policies(
        |_| {},
        |cluster| async move {
            let deny = json!([{"expression": "false", "message": "no"}]);
            let conditions = json!([{"name": "mine", "expression": "request.userInfo.username != 'system:node:n' && object.metadata.name != 'spared'"}]);
            policy(&cluster, "p", json!({"validations": deny, "matchConditions": conditions})).await;
            let selector = json!({"matchResources": {"objectSelector": {"matchLabels": {"team": "a"}}, "excludeResourceRules": [
            {"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}});
            bind(&cluster, "p", "b", selector).await;
            let labelled = async |name: &str, team: &str| {
                let body = json!({"metadata": {"name": name, "labels": {"team": team}}});
                cluster.admin().create(&CM, "default", body).await.map(|_| ()).map_err(|error| error.code())
            };
            assert_eq!(labelled("x", "a").await, Err(422));
            assert_eq!(labelled("x", "b").await, Ok(()));
            assert_eq!(labelled("spared", "a").await, Ok(()));
            cluster.admin().delete(&CM, "default", "spared", Preconditions::default()).await.unwrap();
            // A policy that denies everything can be taken away.
            let rules = json!({"matchConstraints": {"resourceRules": [
            {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]}});
            let mut all = json!({"validations": deny});
            all["matchConstraints"] = rules["matchConstraints"].clone();
            policy(&cluster, "all", all).await;
            bind(&cluster, "all", "all", json!({})).await;
            assert!(create(&cluster, "y", json!({})).await.is_err());
            cluster.admin().delete(&POLICIES, "", "all", Preconditions::default()).await.unwrap();
            create(&cluster, "y", json!({})).await.unwrap();
        },
    );
}

#[test]
fn parameters_come_from_objects() {
    with_policies(
        |_| {},
        |cluster| async move {
            let kind = json!({"apiVersion": "v1", "kind": "Secret"});
            let validations = json!([{"expression": "!has(params.data) || object.data.size() <= params.data.size()",
            "messageExpression": "'at most ' + string(params.data.size())"}]);
            policy(&cluster, "p", json!({"paramKind": kind, "validations": validations})).await;
            bind(&cluster, "p", "b", json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}})).await;
            let denied = create(&cluster, "a", json!({"k": "v"})).await.unwrap_err().message;
            assert_eq!(
                denied,
                "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
            );
            let secret = json!({"metadata": {"name": "limits", "labels": {"use": "limits"}}, "data": {"x": "eA=="}});
            cluster.admin().create(&resources::SECRETS, "default", secret).await.unwrap();
            create(&cluster, "a", json!({"k": "v"})).await.unwrap();
            let denied = create(&cluster, "b", json!({"k": "v", "l": "w"})).await.unwrap_err().message;
            assert!(denied.ends_with("denied request: at most 1"), "{denied}");
            cluster.admin().delete(&BINDINGS, "", "b", Preconditions::default()).await.unwrap();
            let selector = json!({"selector": {"matchLabels": {"use": "limits"}}, "parameterNotFoundAction": "Allow"});
            bind(&cluster, "p", "by-label", json!({"paramRef": selector})).await;
            assert!(create(&cluster, "b", json!({"k": "v", "l": "w"})).await.is_err());
            cluster.admin().delete(&resources::SECRETS, "default", "limits", Preconditions::default()).await.unwrap();
            create(&cluster, "b", json!({"k": "v", "l": "w"})).await.unwrap();
            let kind = json!({"apiVersion": "example.com/v1", "kind": "Limits"});
            policy(&cluster, "unknown", json!({"paramKind": kind, "validations": [{"expression": "true"}]})).await;
            let denied = create(&cluster, "c", json!({})).await.unwrap_err().message;
            assert_eq!(
                denied,
                "configmaps \"c\" is forbidden: ValidatingAdmissionPolicy 'unknown' denied request: failed to configure policy: failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limits'"
            );
        },
    );
}

#[test]
fn expressions_ask_the_authorizer_and_know_the_namespace() {
    with_policies(
        |_| {},
        |cluster| async move {
            let validations = json!([
                {"expression": "authorizer.requestResource.check('delete').allowed()", "message": "may not delete"},
                {"expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()", "message": "may not read secrets"},
                {"expression": "namespaceObject.metadata.name == 'default'", "message": "elsewhere"},
                {"expression": "request.operation == 'CREATE' && request.resource.resource == 'configmaps' && !request.dryRun"},
            ]);
            policy(&cluster, "p", json!({"validations": validations})).await;
            bind(&cluster, "p", "b", json!({})).await;
            create(&cluster, "a", json!({})).await.unwrap();
            const ROLES: GroupVersionResource = resources::CLUSTER_ROLES;
            let role = |name: &str, verbs: &[&str]| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]});
            let admin = cluster.admin();
            for (user, verbs, expected) in [
                ("jane", &["create"][..], "may not delete"),
                ("joe", &["create", "delete"][..], "may not read secrets"),
            ] {
                admin.create(&ROLES, "", role(user, verbs)).await.unwrap();
                let binding = json!({
                    "metadata": {"name": user}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
                });
                admin.create(&resources::CLUSTER_ROLE_BINDINGS, "", binding).await.unwrap();
                let body = json!({"metadata": {"name": user}});
                let denied = cluster.user(user).create(&CM, "default", body).await.unwrap_err().message;
                assert!(denied.ends_with(&format!("denied request: {expected}")), "{denied}");
            }
        },
    );
}

/// Lets all do all, but read Secrets only those of one name and label.
struct Narrow;

impl apiserver::Authorizer for Narrow {
    fn authorize(&self, attributes: &k8s_auth::Attributes<'_>) -> apiserver::Decision {
        let of_one = attributes.field_selector.and_then(|fields| fields.required("metadata.name")) == Some("a");
        let labelled = attributes.label_selector.is_some();
        match attributes.resource == "secrets" && !(of_one && labelled) {
            true => apiserver::Decision::Deny("not all of them".to_owned()),
            false => apiserver::Decision::Allow(String::new()),
        }
    }
}

#[test]
fn checks_ask_about_what_selectors_narrow() {
    with_policies(
        |options| options.authorizers.push(std::sync::Arc::new(Narrow)),
        |cluster| async move {
            let check = "authorizer.group('').resource('secrets').namespace('default')";
            let validations = json!([
                {"expression": format!("{check}.fieldSelector('metadata.name=a').labelSelector('x=y').check('list').allowed()")},
                {"expression": format!("!{check}.fieldSelector('metadata.name=a').check('list').allowed()")},
                {"expression": format!("!{check}.fieldSelector('metadata.name=b').labelSelector('x=y').check('list').allowed()")},
                {"expression": format!("!{check}.fieldSelector('metadata.name=a').labelSelector('a b').check('list').allowed()")},
            ]);
            policy(&cluster, "p", json!({"validations": validations})).await;
            bind(&cluster, "p", "b", json!({})).await;
            cluster.user("jane").create(&CM, "default", json!({"metadata": {"name": "a"}})).await.unwrap();
        },
    );
}

const MUTATING: GroupVersionResource =
    GroupVersionResource::of("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies");
const MUTATING_BINDINGS: GroupVersionResource =
    GroupVersionResource::of("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings");

/// A policy that changes what is created of a resource, bound to everything.
async fn changing(cluster: &Cluster, name: &str, group: &str, resource: &str, spec: Value) {
    let mut whole = json!({"reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [
        {"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}]}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let admin = cluster.admin();
    admin.create(&MUTATING, "", json!({"metadata": {"name": name}, "spec": whole})).await.unwrap();
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
    admin.create(&MUTATING_BINDINGS, "", binding).await.unwrap();
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn json_patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

#[test]
fn policies_change_objects() {
    with_policies(
        |options| options.minor = 36,
        |cluster| async move {
            let sidecar = r#"Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
            containers: [Object.spec.template.spec.containers{name: "sidecar", image: "side"}]}}}}"#;
            changing(&cluster, "sidecar", "apps", "deployments", json!({"mutations": [apply(sidecar)]})).await;
            let labels = json!({"a": "b"});
            let deployment = json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "own", "image": "i"}]}}}});
            let created = cluster.admin().create(&resources::DEPLOYMENTS, "default", deployment).await.unwrap().value();
            let containers = created["spec"]["template"]["spec"]["containers"].as_array().unwrap();
            let names: Vec<&str> = containers.iter().map(|own| own["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["own", "sidecar"]);
            assert_eq!(containers[1]["imagePullPolicy"], "Always", "what is added gets its defaults");

            // In the order of names; the first sees what the second has changed when it wants to.
            let add = r#"[JSONPatch{op: "add", path: "/data/" + jsonpatch.escapeKey("a.b"), value: string(object.data.size())}]"#;
            let size = json!({"mutations": [json_patch(add)], "reinvocationPolicy": "IfNeeded",
            "matchConditions": [{"name": "has-data", "expression": "has(object.data)"}]});
            changing(&cluster, "a-size", "", "configmaps", size).await;
            let tested = r#"[JSONPatch{op: "test", path: "/data/k", value: "other"}, JSONPatch{op: "add", path: "/data/never", value: "x"}]"#;
            let label = r#"Object{metadata: Object.metadata{labels: {"team": variables.team}}, data: {"second": "y"}}"#;
            let rest = json!({"mutations": [json_patch(tested), apply(label)], "variables": [{"name": "team", "expression": "'t-' + request.userInfo.username"}]});
            changing(&cluster, "b-rest", "", "configmaps", rest).await;
            let body = json!({"metadata": {"name": "c"}, "data": {"k": "v"}});
            let created = cluster.admin().create(&CM, "default", body).await.unwrap().value();
            assert_eq!(created["data"], json!({"k": "v", "a.b": "3", "second": "y"}));
            assert_eq!(created["metadata"]["labels"], json!({"team": "t-admin"}));
        },
    );
}

#[test]
fn policies_that_cannot_change_an_object_deny_it() {
    with_policies(
        |options| options.minor = 36,
        |cluster| async move {
            let broken = json!({"mutations": [json_patch(r#"[JSONPatch{op: "remove", path: "/data/none"}]"#)]});
            changing(&cluster, "p", "", "configmaps", broken).await;
            let denied = create(&cluster, "a", json!({"k": "v"})).await.unwrap_err();
            let head = "policy 'p' with binding 'p' denied request: JSON Patch: ";
            assert!(denied.message.starts_with(head), "{}", denied.message);
            let status = denied.to_status();
            assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Invalid")));
            let atomic = json!({"mutations": [apply(r#"Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {"a": "b"}}}}"#)]});
            changing(&cluster, "q", "apps", "deployments", atomic).await;
            let labels = json!({"a": "b"});
            let deployment = json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "own", "image": "i"}]}}}});
            let denied =
                cluster.admin().create(&resources::DEPLOYMENTS, "default", deployment).await.unwrap_err().message;
            assert_eq!(
                denied,
                "policy 'q' with binding 'q' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector"
            );
            let lax = json!({"failurePolicy": "Ignore", "mutations": [json_patch("[JSONPatch{op: 'remove', path: '/none'}]")]});
            changing(&cluster, "lax", "", "secrets", lax).await;
            cluster.admin().create(&resources::SECRETS, "default", json!({"metadata": {"name": "s"}})).await.unwrap();
        },
    );
}

#[test]
fn expressions_are_held_against_the_types_that_they_are_about() {
    with_policies(
        |_| {},
        |cluster| async move {
            let rule = |groups: Value, plurals: Value| json!({"operations": ["*"], "apiGroups": groups, "apiVersions": ["v1"], "resources": plurals});
            let rules =
                json!({"resourceRules": [rule(json!(["apps"]), json!(["deployments", "statefulsets/scale", "none"]))]});
            let spec = json!({
                "matchConstraints": rules,
                "variables": [{"name": "count", "expression": "object.spec.replicas"}],
                "validations": [
                    {"expression": "object.spec.replicas > '1'"},
                    {"expression": "variables.count > 1 && object.metadata.labels['a'] == 'b'"},
                    {"expression": "object.spec.template.spec.containers.all(c, c.image != '' && c.nothing)"},
                ],
            });
            policy(&cluster, "typed", spec).await;
            policy(
                &cluster,
                "any",
                json!({
                    "matchConstraints": {"resourceRules": [rule(json!(["*"]), json!(["deployments"]))]},
                    "validations": [{"expression": "object.spec.replicas > '1'"}],
                }),
            )
            .await;
            let status = async |name: &str| loop {
                let found = cluster.admin().get(&POLICIES, "", name).await.unwrap().value();
                if found["status"]["observedGeneration"] == found["metadata"]["generation"] {
                    return found["status"].clone();
                }
                cluster.world.sleep(std::time::Duration::from_millis(10)).await;
            };
            let typed = status("typed").await;
            let expected = json!([
                {
                    "fieldRef": "spec.validations[0].expression",
                    "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n",
                },
                {
                    "fieldRef": "spec.validations[2].expression",
                    "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:63: undefined field 'nothing'\n | object.spec.template.spec.containers.all(c, c.image != '' && c.nothing)\n | ..............................................................^\n",
                },
            ]);
            assert_eq!(typed["typeChecking"]["expressionWarnings"], expected);
            assert_eq!(status("any").await["typeChecking"], json!({}));
            let change = json!({"spec": {"validations": [{"expression": "object.spec.replicas > 1"}]}});
            let merge = k8s_client::PatchType::Merge;
            cluster.admin().patch(&POLICIES, "", "typed", "", merge, change).await.unwrap();
            let mended = status("typed").await;
            assert_eq!(mended["observedGeneration"], 2);
            assert_eq!(mended["typeChecking"].get("expressionWarnings"), None);
        },
    );
}

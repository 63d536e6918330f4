//! Who gets in: an IAM principal without an access entry gets 401, one with gets exactly what its policies and groups allow.

use crate::harness::{Minato, fails, have, succeeds};

/// An IAM user's keys.
struct User {
    arn: String,
    key: String,
    secret: String,
}

fn user(minato: &Minato, name: &str) -> User {
    let created = minato.json("aws", &["iam", "create-user", "--user-name", name, "--output", "json"]);
    let keys = minato.json("aws", &["iam", "create-access-key", "--user-name", name, "--output", "json"]);
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    User {
        arn: text(&created["User"]["Arn"]),
        key: text(&keys["AccessKey"]["AccessKeyId"]),
        secret: text(&keys["AccessKey"]["SecretAccessKey"]),
    }
}

fn kubectl(minato: &Minato, user: &User, arguments: &[&str]) -> std::process::Command {
    let mut command = minato.command("kubectl", arguments);
    command.env("AWS_ACCESS_KEY_ID", &user.key).env("AWS_SECRET_ACCESS_KEY", &user.secret);
    command
}

#[test]
fn access_entries_and_policies_decide() {
    if !have(&["aws", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "0"]);
    let jane = user(&minato, "jane");
    let refused = fails(kubectl(&minato, &jane, &["get", "pods"]));
    assert!(refused.contains("Unauthorized") || refused.contains("must be logged in"), "{refused}");

    minato.ok("aws", &["eks", "create-access-entry", "--cluster-name", "minato", "--principal-arn", &jane.arn]);
    let forbidden = fails(kubectl(&minato, &jane, &["get", "pods"]));
    assert!(
        forbidden.contains(&format!("User \"{}\" cannot list resource \"pods\" in API group \"\"", jane.arn)),
        "{forbidden}"
    );

    minato.ok(
        "aws",
        &[
            "eks",
            "associate-access-policy",
            "--cluster-name",
            "minato",
            "--principal-arn",
            &jane.arn,
            "--policy-arn",
            "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
            "--access-scope",
            "type=namespace,namespaces=default",
        ],
    );
    succeeds(kubectl(&minato, &jane, &["get", "pods", "-n", "default"]));
    fails(kubectl(&minato, &jane, &["get", "pods", "-n", "kube-system"]));
    fails(kubectl(&minato, &jane, &["get", "secrets", "-n", "default"]));
    fails(kubectl(&minato, &jane, &["create", "configmap", "a", "-n", "default"]));

    minato.ok(
        "aws",
        &[
            "eks",
            "update-access-entry",
            "--cluster-name",
            "minato",
            "--principal-arn",
            &jane.arn,
            "--kubernetes-groups",
            "writers",
        ],
    );
    minato.ok("kubectl", &["create", "role", "writer", "--verb=create", "--resource=configmaps"]);
    minato.ok("kubectl", &["create", "rolebinding", "writers", "--role=writer", "--group=writers"]);
    succeeds(kubectl(&minato, &jane, &["create", "configmap", "a", "-n", "default"]));

    minato.ok("aws", &["eks", "delete-access-entry", "--cluster-name", "minato", "--principal-arn", &jane.arn]);
    let refused = fails(kubectl(&minato, &jane, &["get", "pods"]));
    assert!(refused.contains("Unauthorized") || refused.contains("must be logged in"), "{refused}");
}

#[test]
fn an_inactive_key_opens_nothing() {
    if !have(&["aws", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "0"]);
    let jane = user(&minato, "jane");
    minato.ok("aws", &["eks", "create-access-entry", "--cluster-name", "minato", "--principal-arn", &jane.arn]);
    succeeds(kubectl(&minato, &jane, &["auth", "whoami"]));
    minato.ok(
        "aws",
        &["iam", "update-access-key", "--user-name", "jane", "--access-key-id", &jane.key, "--status", "Inactive"],
    );
    let refused = fails(kubectl(&minato, &jane, &["auth", "whoami"]));
    assert!(refused.contains("Unauthorized") || refused.contains("must be logged in"), "{refused}");
    let mut identity = minato.command("aws", &["sts", "get-caller-identity"]);
    identity.env("AWS_ACCESS_KEY_ID", &jane.key).env("AWS_SECRET_ACCESS_KEY", &jane.secret);
    assert!(fails(identity).contains("InvalidClientTokenId"));
}

#[test]
fn the_aws_auth_config_map_works_in_the_modes_that_read_it() {
    if !have(&["aws", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "0"]);
    let jane = user(&minato, "jane");
    let manifest = minato.file(
        "aws-auth.yaml",
        &format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: aws-auth, namespace: kube-system}}\ndata:\n  mapUsers: |\n    - userarn: {}\n      username: jane\n      groups: [system:masters]\n",
            jane.arn
        ),
    );
    minato.ok("kubectl", &["apply", "-f", &manifest]);
    let who = succeeds(kubectl(&minato, &jane, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]));
    assert_eq!(who, "jane");
    succeeds(kubectl(&minato, &jane, &["get", "secrets", "-A"]));
    minato
        .ok("aws", &["eks", "update-cluster-config", "--name", "minato", "--access-config", "authenticationMode=API"]);
    minato.ok("aws", &["eks", "wait", "cluster-active", "--name", "minato"]);
    fails(kubectl(&minato, &jane, &["get", "pods"]));
}

#[test]
fn a_role_is_assumed_and_its_session_gets_in() {
    if !have(&["aws", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "0"]);
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole"}]}"#;
    let role = minato.json(
        "aws",
        &["iam", "create-role", "--role-name", "ops", "--assume-role-policy-document", trust, "--output", "json"],
    );
    let arn = role["Role"]["Arn"].as_str().unwrap();
    minato.ok("aws", &["eks", "create-access-entry", "--cluster-name", "minato", "--principal-arn", arn]);
    minato.ok(
        "aws",
        &[
            "eks",
            "associate-access-policy",
            "--cluster-name",
            "minato",
            "--principal-arn",
            arn,
            "--policy-arn",
            "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
            "--access-scope",
            "type=cluster",
        ],
    );
    minato.ok("aws", &["eks", "update-kubeconfig", "--name", "minato", "--role-arn", arn, "--alias", "ops"]);
    let who =
        minato.ok("kubectl", &["--context", "ops", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
    assert!(who.starts_with("arn:aws:sts::111122223333:assumed-role/ops/"), "{who}");
    minato.ok("kubectl", &["--context", "ops", "get", "secrets", "-A"]);
}

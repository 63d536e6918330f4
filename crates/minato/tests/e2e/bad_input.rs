//! Wrong input gets the error that AWS, Kubernetes or a good command line gives.

use crate::eks::prerequisites;
use crate::harness::{Minato, fails, have, text};

#[test]
fn the_command_line_says_what_is_wrong_and_what_to_do() {
    let minato = Minato::up(&["--no-cluster"]);
    let port = minato.variable("AWS_ENDPOINT_URL").rsplit(':').next().unwrap().to_owned();
    let other = crate::harness::scratch();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_minato"));
    command.arg("--home").arg(&other).args(["up", "--port", &port]);
    let taken = fails(command);
    assert!(taken.contains(&format!("127.0.0.1:{port}")) && taken.contains("--port"), "{taken}");

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_minato"));
    command.arg("--home").arg(&other).arg("status");
    let nothing = fails(command);
    assert!(nothing.contains("no region runs") && nothing.contains("minato up"), "{nothing}");
    std::fs::remove_dir_all(other).unwrap();

    for (arguments, expected) in [
        (&["cluster", "create", "bad name"][..], "InvalidParameterException"),
        (&["cluster", "create", "a", "--kubernetes-version", "1.10"], "1.10"),
        (&["cluster", "create", "b", "--instance-type", "m5.huge"], "m5.huge"),
        (&["cluster", "delete", "none"], "No cluster found for name: none."),
        (&["up", "--pace", "quick"], "instant"),
        (&["fly"], "unrecognized subcommand"),
    ] {
        let output = minato.minato(arguments);
        assert!(!output.status.success() && text(&output).contains(expected), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn aws_refuses_as_aws_does() {
    if !have(&["aws"]) {
        return;
    }
    let minato = Minato::up(&["--no-cluster"]);
    let mut wrong_secret = minato.command("aws", &["eks", "list-clusters"]);
    wrong_secret.env("AWS_SECRET_ACCESS_KEY", "wrong");
    let refused = fails(wrong_secret);
    assert!(refused.contains("InvalidSignatureException"), "{refused}");
    let mut wrong_key = minato.command("aws", &["sts", "get-caller-identity"]);
    wrong_key.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
    assert!(fails(wrong_key).contains("InvalidClientTokenId"));

    let (cluster_role, _, subnets) = prerequisites(&minato);
    let create = |name: &str, role: &str, subnets: &str| {
        let vpc = format!("subnetIds={subnets}");
        minato.fails(
            "aws",
            &["eks", "create-cluster", "--name", name, "--role-arn", role, "--resources-vpc-config", &vpc],
        )
    };
    let both = subnets[..2].join(",");
    for (outcome, code, about) in [
        (create("a", "arn:aws:iam::111122223333:role/none", &both), "InvalidParameterException", "none"),
        (
            create("a", &cluster_role, "subnet-00000000000000000,subnet-11111111111111111"),
            "InvalidParameterException",
            "subnet-00000000000000000",
        ),
        (create("a", &cluster_role, &subnets[0]), "InvalidParameterException", "two"),
        (create("a!", &cluster_role, &both), "InvalidParameterException", "a!"),
        (
            minato.fails("aws", &["eks", "list-fargate-profiles", "--cluster-name", "a"]),
            "ListFargateProfiles",
            "not supported by Minato yet",
        ),
        (
            minato.fails("aws", &["sqs", "list-queues", "--endpoint-url", minato.variable("AWS_ENDPOINT_URL")]),
            "sqs",
            "not supported by Minato yet",
        ),
        (minato.fails("aws", &["iam", "get-role", "--role-name", "none"]), "NoSuchEntity", "none"),
    ] {
        assert!(outcome.contains(code) && outcome.contains(about), "expected {code} about {about}: {outcome}");
    }
}

#[test]
fn kubernetes_refuses_as_upstream_does() {
    if !have(&["kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "0"]);
    let unknown = minato.file("unknown.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {a: b}\n");
    let strict = minato.fails("kubectl", &["apply", "--validate=strict", "-f", &unknown]);
    assert!(strict.contains("unknown field \"date\""), "{strict}");
    let warned = minato.command("kubectl", &["apply", "--validate=warn", "-f", &unknown]).output().unwrap();
    assert!(warned.status.success() && text(&warned).contains("Warning: unknown field \"date\""), "{}", text(&warned));
    minato.ok("kubectl", &["delete", "configmap", "a"]);
    minato.ok("kubectl", &["apply", "--validate=ignore", "-f", &unknown]);

    let bad = minato
        .file("bad.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: Bad_Name}\nspec: {replicas: 1}\n");
    let invalid = minato.fails("kubectl", &["create", "-f", &bad]);
    assert!(invalid.contains("metadata.name") && invalid.contains("spec.selector"), "{invalid}");
    let namespace = minato.fails("kubectl", &["create", "configmap", "b", "-n", "none"]);
    assert!(namespace.contains("namespaces \"none\" not found"), "{namespace}");
    let missing = minato.fails("kubectl", &["get", "pod", "none"]);
    assert!(missing.contains("pods \"none\" not found"), "{missing}");
    let huge = minato.file(
        "huge.yaml",
        &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: huge}}\ndata: {{a: {}}}\n", "x".repeat(4 << 20)),
    );
    let large = minato.fails("kubectl", &["create", "-f", &huge]);
    assert!(large.contains("too large") || large.contains("TooLong") || large.contains("Too long"), "{large}");
    let logs = minato.fails("kubectl", &["logs", "none"]);
    assert!(logs.contains("not found"), "{logs}");
}

//! A cluster the EKS way, with nothing but the AWS CLI and kubectl: the commands of the README.

use crate::harness::{Minato, have};

/// A trust policy for an AWS service.
pub fn trust(service: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}]}}"#
    )
}

/// Makes the roles of the README and returns the ARNs of cluster and node role, and the default subnets.
pub fn prerequisites(minato: &Minato) -> (String, String, Vec<String>) {
    let role = |name: &str, service: &str| {
        let created = minato.json(
            "aws",
            &[
                "iam",
                "create-role",
                "--role-name",
                name,
                "--assume-role-policy-document",
                &trust(service),
                "--output",
                "json",
            ],
        );
        created["Role"]["Arn"].as_str().expect("an ARN").to_owned()
    };
    let (cluster, node) = (role("eks-cluster", "eks.amazonaws.com"), role("eks-node", "ec2.amazonaws.com"));
    for (role, policy) in [("eks-cluster", "AmazonEKSClusterPolicy"), ("eks-node", "AmazonEKSWorkerNodePolicy")] {
        let arn = format!("arn:aws:iam::aws:policy/{policy}");
        minato.ok("aws", &["iam", "attach-role-policy", "--role-name", role, "--policy-arn", &arn]);
    }
    let subnets = minato.ok("aws", &["ec2", "describe-subnets", "--query", "Subnets[].SubnetId", "--output", "text"]);
    (cluster, node, subnets.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn a_cluster_is_made_and_reached_with_an_iam_token_only() {
    if !have(&["aws", "kubectl"]) {
        return;
    }
    let minato = Minato::up(&["--no-cluster"]);
    let (cluster_role, node_role, subnets) = prerequisites(&minato);
    assert_eq!(subnets.len(), 3, "the default VPC has a subnet in each of three zones");
    let vpc = format!("subnetIds={}", subnets.join(","));
    let created = minato.json(
        "aws",
        &[
            "eks",
            "create-cluster",
            "--name",
            "second",
            "--role-arn",
            &cluster_role,
            "--resources-vpc-config",
            &vpc,
            "--output",
            "json",
        ],
    );
    assert_eq!(created["cluster"]["status"], "CREATING");
    minato.ok("aws", &["eks", "wait", "cluster-active", "--name", "second"]);
    let mut arguments =
        vec!["eks", "create-nodegroup", "--cluster-name", "second", "--nodegroup-name", "workers", "--subnets"];
    arguments.extend(subnets.iter().map(String::as_str));
    arguments.extend(["--node-role", &node_role, "--scaling-config", "minSize=1,maxSize=3,desiredSize=2"]);
    arguments.extend(["--labels", "team=a", "--taints", "key=dedicated,value=a,effect=PREFER_NO_SCHEDULE"]);
    minato.ok("aws", &arguments);
    minato.ok("aws", &["eks", "wait", "nodegroup-active", "--cluster-name", "second", "--nodegroup-name", "workers"]);

    minato.ok("aws", &["eks", "update-kubeconfig", "--name", "second"]);
    let kubeconfig = std::fs::read_to_string(minato.variable("KUBECONFIG")).unwrap();
    assert!(kubeconfig.contains("get-token"), "{kubeconfig}");
    assert!(!kubeconfig.contains("client-certificate") && !kubeconfig.contains("client-key"), "{kubeconfig}");
    let nodes =
        minato.json("kubectl", &["get", "nodes", "-l", "team=a,eks.amazonaws.com/nodegroup=workers", "-o", "json"]);
    let nodes = nodes["items"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    for node in nodes {
        let labels = &node["metadata"]["labels"];
        assert_eq!(labels["node.kubernetes.io/instance-type"], "t3.medium", "the default instance type");
        assert_eq!(labels["eks.amazonaws.com/capacityType"], "ON_DEMAND");
        assert!(labels["topology.kubernetes.io/zone"].as_str().unwrap().starts_with("us-east-1"));
        assert_eq!(node["status"]["capacity"]["pods"], "17");
        assert_eq!(node["spec"]["taints"][0]["effect"], "PreferNoSchedule");
    }
    let who = minato.ok("kubectl", &["auth", "whoami", "-o", "jsonpath={.status.userInfo.extra.arn[0]}"]);
    assert!(who.starts_with("arn:aws:iam::111122223333:"), "{who}");

    let busy = minato.fails("aws", &["eks", "delete-cluster", "--name", "second"]);
    assert!(busy.contains("ResourceInUseException") && busy.contains("Cluster has nodegroups attached"), "{busy}");
    let scale = "minSize=1,maxSize=4,desiredSize=3";
    minato.ok(
        "aws",
        &[
            "eks",
            "update-nodegroup-config",
            "--cluster-name",
            "second",
            "--nodegroup-name",
            "workers",
            "--scaling-config",
            scale,
        ],
    );
    minato.ok("aws", &["eks", "wait", "nodegroup-active", "--cluster-name", "second", "--nodegroup-name", "workers"]);
    // The update ends when the instance runs; its node joins a moment later. Each look takes kubectl a tenth of a second.
    let joined = || minato.ok("kubectl", &["get", "nodes", "-o", "name"]).lines().count() == 3;
    assert!((0..300).any(|_| joined()), "the third node does not join");
    minato.ok("aws", &["eks", "delete-nodegroup", "--cluster-name", "second", "--nodegroup-name", "workers"]);
    minato.ok("aws", &["eks", "wait", "nodegroup-deleted", "--cluster-name", "second", "--nodegroup-name", "workers"]);
    assert_eq!(minato.ok("kubectl", &["get", "nodes", "-o", "name"]), "");
    minato.ok("aws", &["eks", "delete-cluster", "--name", "second"]);
    minato.ok("aws", &["eks", "wait", "cluster-deleted", "--name", "second"]);
    let gone = minato.fails("aws", &["eks", "describe-cluster", "--name", "second"]);
    assert!(
        gone.contains("ResourceNotFoundException") && gone.contains("No cluster found for name: second."),
        "{gone}"
    );
}

#[test]
fn versions_policies_and_tags_are_listed() {
    if !have(&["aws"]) {
        return;
    }
    let minato = Minato::up(&["--nodes", "0"]);
    let versions = minato.ok(
        "aws",
        &["eks", "describe-cluster-versions", "--query", "clusterVersions[].clusterVersion", "--output", "text"],
    );
    for version in ["1.33", "1.34", "1.35", "1.36"] {
        assert!(versions.contains(version), "{versions}");
    }
    let policies =
        minato.ok("aws", &["eks", "list-access-policies", "--query", "accessPolicies[].name", "--output", "text"]);
    assert!(policies.contains("AmazonEKSClusterAdminPolicy"), "{policies}");
    let arn = "arn:aws:eks:us-east-1:111122223333:cluster/minato";
    minato.ok("aws", &["eks", "tag-resource", "--resource-arn", arn, "--tags", "team=a,cost=1"]);
    minato.ok("aws", &["eks", "untag-resource", "--resource-arn", arn, "--tag-keys", "cost"]);
    let tags = minato.json("aws", &["eks", "list-tags-for-resource", "--resource-arn", arn, "--output", "json"]);
    assert_eq!(tags["tags"], serde_json::json!({"team": "a"}));
}

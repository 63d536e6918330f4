//! `minato cluster …` and `minato kubeconfig`: the EKS and IAM APIs, called as any client calls them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::{Value, json};
use world::World;

use crate::cli::{CreateCluster, Kubeconfig};
use crate::client::{self, Client, Query, has_code};
use crate::home::Home;
use crate::kubeconfig::{self, Entry};
use crate::progress::Progress;

/// Pause between two looks at a life cycle: short at first, as an instant one lasts milliseconds, then as AWS's waiters.
const FIRST_POLL: Duration = Duration::from_millis(5);
const LAST_POLL: Duration = Duration::from_secs(5);
/// Longest that a life cycle may take: twice what AWS's slowest does.
const PATIENCE: Duration = Duration::from_secs(40 * 60);

/// The node group that commands of this binary make.
const NODE_GROUP: &str = "workers";

/// Roles that commands of this binary make: name, who may assume it, managed policies.
const ROLES: [(&str, &str, &[&str]); 2] = [
    ("minato-cluster", "eks.amazonaws.com", &["AmazonEKSClusterPolicy"]),
    (
        "minato-node",
        "ec2.amazonaws.com",
        &["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"],
    ),
];

/// Creates a cluster with a node group, waits for both, and makes it the kubeconfig's current cluster.
pub async fn create(world: &World, home: &Home, client: &Client, arguments: &CreateCluster) -> Result<()> {
    let mut progress = Progress::new(world);
    let name = &arguments.name;
    progress.begin("roles and subnets");
    let [cluster_role, node_role] = roles(client).await?;
    let subnets = subnets(client).await?;
    let real = client.region().pace == "real";
    progress.begin(&format!("cluster {name}{}", if real { ", about 9 minutes at this pace" } else { "" }));
    let mut request = json!({
        "name": name,
        "roleArn": cluster_role,
        "resourcesVpcConfig": {"subnetIds": subnets},
        "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"},
    });
    if let Some(version) = &arguments.kubernetes_version {
        request["version"] = json!(version);
    }
    client.json("eks", Method::POST, "/clusters", Some(&request)).await?;
    let path = format!("/clusters/{name}");
    let cluster = wait(world, client, &path, "cluster").await?;
    write_entry(home, &cluster)?;
    progress.done(&format!("cluster {name}, Kubernetes {}", text(&cluster, "version")));
    if arguments.nodes == 0 {
        return Ok(());
    }
    progress.begin(&format!("{} nodes of {}", arguments.nodes, arguments.instance_type));
    let request = json!({
        "nodegroupName": NODE_GROUP,
        "subnets": subnets,
        "nodeRole": node_role,
        "instanceTypes": [arguments.instance_type],
        "scalingConfig": {"minSize": 1, "maxSize": arguments.nodes.max(10), "desiredSize": arguments.nodes},
    });
    client.json("eks", Method::POST, &format!("{path}/node-groups"), Some(&request)).await?;
    wait(world, client, &format!("{path}/node-groups/{NODE_GROUP}"), "nodegroup").await?;
    progress.done(&format!("{} nodes of {} are ready", arguments.nodes, arguments.instance_type));
    Ok(())
}

/// Deletes a cluster's node groups, then the cluster, and its entry in the kubeconfig.
pub async fn delete(world: &World, home: &Home, client: &Client, name: &str) -> Result<()> {
    let mut progress = Progress::new(world);
    let path = format!("/clusters/{}", cloud_wire::encode_percent(name, false));
    let groups = client.json("eks", Method::GET, &format!("{path}/node-groups"), None).await?;
    for group in groups["nodegroups"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        progress.begin(&format!("deleting node group {group}"));
        let group_path = format!("{path}/node-groups/{group}");
        client.json("eks", Method::DELETE, &group_path, None).await?;
        wait_gone(world, client, &group_path, "nodegroup").await?;
        progress.done(&format!("node group {group} is deleted"));
    }
    progress.begin(&format!("deleting cluster {name}"));
    client.json("eks", Method::DELETE, &path, None).await?;
    wait_gone(world, client, &path, "cluster").await?;
    kubeconfig::remove_from(&home.kubeconfig(), name)?;
    progress.done(&format!("cluster {name} is deleted"));
    Ok(())
}

/// What a region that was started on its data holds: waits until its clusters serve, and brings their entries in the kubeconfig
/// up to date.
pub async fn found(world: &World, home: &Home, client: &Client) -> Result<Vec<String>> {
    let mut progress = Progress::new(world);
    let names = names(client).await?;
    for name in &names {
        progress.begin(&format!("cluster {name}"));
        let (cluster, running) = served(world, client, name).await?;
        let status = text(&cluster, "status");
        if running.is_null() {
            progress.done(&format!("cluster {name} is {status}"));
            continue;
        }
        with_entry(home, &cluster, |entry| kubeconfig::refresh_in(&home.kubeconfig(), entry))?;
        let (version, nodes, pods) = (text(&cluster, "version"), &running["nodes"], &running["pods"]);
        progress.done(&format!("cluster {name}, Kubernetes {version}, {nodes} nodes, {pods} pods"));
    }
    Ok(names)
}

/// Waits until a cluster that has a control plane serves where EKS says that it does: after a start, EKS says for a moment where
/// it served before. Returns how EKS describes it, and what the region says of its control plane, if it should have one.
pub(crate) async fn served(world: &World, client: &Client, name: &str) -> Result<(Value, Value)> {
    let give_up = world.elapsed() + PATIENCE;
    let mut poll = FIRST_POLL;
    loop {
        let cluster = describe(client, name).await?;
        if !matches!(text(&cluster, "status"), "ACTIVE" | "UPDATING") {
            return Ok((cluster, Value::Null));
        }
        let status = client.json("minato", Method::GET, "/_minato/status", None).await?;
        let running = status["clusters"].as_array().into_iter().flatten().find(|own| own["name"] == name);
        if let Some(running) = running.filter(|own| own["endpoint"] == cluster["endpoint"]) {
            return Ok((cluster, running.clone()));
        }
        if world.elapsed() >= give_up {
            bail!("the control plane of cluster {name} does not start: {}", cluster["health"]["issues"]);
        }
        world.sleep(poll).await;
        poll = (poll * 2).min(LAST_POLL);
    }
}

/// Prints the clusters.
pub async fn list(client: &Client) -> Result<()> {
    let names = names(client).await?;
    if names.is_empty() {
        println!("There is no cluster; `minato cluster create NAME` makes one.");
        return Ok(());
    }
    println!("{:<24} {:<10} {:<8} ENDPOINT", "NAME", "STATUS", "VERSION");
    for name in names {
        let cluster = describe(client, &name).await?;
        println!(
            "{name:<24} {:<10} {:<8} {}",
            text(&cluster, "status"),
            text(&cluster, "version"),
            text(&cluster, "endpoint")
        );
    }
    Ok(())
}

/// Writes or prints the kubeconfig of a cluster.
pub async fn kubeconfig(home: &Home, client: &Client, arguments: &Kubeconfig) -> Result<()> {
    let name = match &arguments.cluster {
        Some(name) => name.clone(),
        None => names(client)
            .await?
            .into_iter()
            .next()
            .context("there is no cluster; `minato cluster create NAME` makes one")?,
    };
    let cluster = describe(client, &name).await?;
    if arguments.print {
        print!("{}", with_entry(home, &cluster, kubeconfig::render)?);
        return Ok(());
    }
    write_entry(home, &cluster)?;
    println!("{} now holds cluster {name} and makes it the current one.", home.kubeconfig().display());
    Ok(())
}

pub(crate) fn write_entry(home: &Home, cluster: &Value) -> Result<()> {
    with_entry(home, cluster, |entry| kubeconfig::merge_into(&home.kubeconfig(), entry))
}

pub(crate) fn with_entry<T>(home: &Home, cluster: &Value, write: impl FnOnce(&Entry<'_>) -> Result<T>) -> Result<T> {
    let program = std::env::current_exe().context("finding this program")?;
    let authority = cluster["certificateAuthority"]["data"].as_str();
    write(&Entry {
        cluster: text(cluster, "name"),
        server: text(cluster, "endpoint"),
        certificate_authority_data: authority.context("the cluster has no certificate authority yet")?,
        command: &program.display().to_string(),
        home: &home.path().display().to_string(),
    })
}

async fn names(client: &Client) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut path = "/clusters".to_owned();
    loop {
        let page = client.json("eks", Method::GET, &path, None).await?;
        names.extend(page["clusters"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        match page["nextToken"].as_str() {
            Some(token) => path = format!("/clusters?nextToken={}", cloud_wire::encode_percent(token, false)),
            None => return Ok(names),
        }
    }
}

async fn describe(client: &Client, name: &str) -> Result<Value> {
    let path = format!("/clusters/{}", cloud_wire::encode_percent(name, false));
    Ok(client.json("eks", Method::GET, &path, None).await?["cluster"].clone())
}

/// Makes the roles that are missing and returns their ARNs.
async fn roles(client: &Client) -> Result<[String; 2]> {
    let account = &client.region().account;
    for (name, principal, policies) in ROLES {
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole"}],
        });
        let parameters = [("RoleName", name), ("AssumeRolePolicyDocument", &trust.to_string())];
        match client.query(Query::IAM, "CreateRole", &parameters).await {
            Err(error) if has_code(&error, "EntityAlreadyExists") => continue,
            outcome => outcome.with_context(|| format!("creating role {name}"))?,
        };
        for policy in policies {
            let arn = policy_arn(policy);
            client.query(Query::IAM, "AttachRolePolicy", &[("RoleName", name), ("PolicyArn", &arn)]).await?;
        }
    }
    Ok(ROLES.map(|(name, ..)| format!("arn:aws:iam::{account}:role/{name}")))
}

fn policy_arn(name: &str) -> String {
    format!("arn:aws:iam::aws:policy/{name}")
}

/// The subnets of the default VPC, one per zone.
async fn subnets(client: &Client) -> Result<Vec<String>> {
    let filter = [("Filter.1.Name", "default-for-az"), ("Filter.1.Value.1", "true")];
    let subnets = client::all(&client.query(Query::EC2, "DescribeSubnets", &filter).await?, "subnetId");
    if subnets.len() < 2 {
        bail!(
            "the region has no default VPC with subnets in two zones; create the cluster with `aws eks create-cluster`"
        );
    }
    Ok(subnets)
}

/// Waits until what `path` describes is ACTIVE.
pub(crate) async fn wait(world: &World, client: &Client, path: &str, member: &str) -> Result<Value> {
    let mut poll = FIRST_POLL;
    let give_up = world.elapsed() + PATIENCE;
    loop {
        let resource = client.json("eks", Method::GET, path, None).await?[member].take();
        match text(&resource, "status") {
            "ACTIVE" => return Ok(resource),
            "CREATING" | "UPDATING" if world.elapsed() < give_up => {}
            status => bail!("{path} is {status}: {}", resource["health"]["issues"]),
        }
        world.sleep(poll).await;
        poll = (poll * 2).min(LAST_POLL);
    }
}

async fn wait_gone(world: &World, client: &Client, path: &str, member: &str) -> Result<()> {
    let mut poll = FIRST_POLL;
    let give_up = world.elapsed() + PATIENCE;
    loop {
        match client.json("eks", Method::GET, path, None).await {
            Err(error) if has_code(&error, "ResourceNotFoundException") => return Ok(()),
            Err(error) => return Err(error),
            Ok(answer) if text(&answer[member], "status") == "DELETE_FAILED" || world.elapsed() >= give_up => {
                bail!("{path} could not be deleted: {}", answer[member]["health"]["issues"])
            }
            Ok(_) => {}
        }
        world.sleep(poll).await;
        poll = (poll * 2).min(LAST_POLL);
    }
}

pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

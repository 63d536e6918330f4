//! aws-sdk-eks creates a cluster and a node group; kube runs a deployment on it and watches it roll out.

mod kube_runtime;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_eks::client::Waiters;
use aws_sdk_eks::config::{BehaviorVersion, Region as AwsRegion};
use aws_sdk_eks::types::{NodegroupScalingConfig, VpcConfigRequest};
use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::AuthInfo;
use kube::runtime::{WatchStreamExt, wait, watcher};
use kube::{Api, ResourceExt};
use region::{Options, Pace, Region};
use serde_json::{Value, json};
use world::World;

/// Longest that any wait of these tests may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn region(world: &World) -> Region {
    let options = Options {
        world: world.clone(),
        store: store::Store::memory(world, store::Limits::default()),
        listener: Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap()),
        address: "127.0.0.1".parse().unwrap(),
        region: "us-east-1".into(),
        account: "111122223333".into(),
        pace: Pace::Instant,
        audit_folder: None,
        outside: Some(std::sync::Arc::new(region::Sockets)),
    };
    Region::start(options).await.unwrap()
}

fn eks(region: &Region) -> aws_sdk_eks::Client {
    let administrator = region.administrator();
    let (key, secret) = (&administrator.access_key_id, &administrator.secret_access_key);
    let config = aws_sdk_eks::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(AwsRegion::new("us-east-1"))
        .endpoint_url(region.endpoint())
        .credentials_provider(Credentials::new(key, secret, None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_eks::Client::from_conf(config)
}

async fn role(region: &Region, name: &str, service: &str) -> String {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    });
    let input = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
    let role = region.call_as_administrator("iam", "CreateRole", &input).await.unwrap();
    role["Role"]["Arn"].as_str().unwrap().to_owned()
}

async fn subnets(region: &Region) -> Vec<String> {
    let answer = region.call_as_administrator("ec2", "DescribeSubnets", &json!({})).await.unwrap();
    answer["Subnets"].as_array().unwrap().iter().map(|subnet| subnet["SubnetId"].as_str().unwrap().to_owned()).collect()
}

async fn kube(world: &World, region: &Region, cluster: &aws_sdk_eks::types::Cluster) -> kube::Client {
    let administrator = region.administrator();
    let token = cloud_wire::eks_token(&cloud_wire::TokenRequest {
        credentials: cloud_wire::Credentials {
            access_key_id: &administrator.access_key_id,
            secret_key: &administrator.secret_access_key,
            session_token: None,
        },
        region: "us-east-1",
        endpoint_url: &region.endpoint(),
        cluster_name: cluster.name().unwrap(),
        now: world.now(),
    });
    let mut config = kube::Config::new(cluster.endpoint().unwrap().parse().unwrap());
    let authority = cluster.certificate_authority().unwrap().data().unwrap();
    let pem = cloud_wire::decode_blob(authority).unwrap();
    config.root_cert = Some(pem_to_der(&pem));
    config.auth_info = AuthInfo { token: Some(token.unwrap().into()), ..AuthInfo::default() };
    kube::Client::try_from(config).unwrap()
}

/// A client of a new cluster without nodes.
async fn cluster(world: &World, region: &Region) -> kube::Client {
    let eks = eks(region);
    let vpc = VpcConfigRequest::builder().set_subnet_ids(Some(subnets(region).await)).build();
    let role = role(region, "c", "eks.amazonaws.com").await;
    eks.create_cluster().name("w").role_arn(role).resources_vpc_config(vpc).send().await.unwrap();
    let active = eks.wait_until_cluster_active().name("w").wait(PATIENCE).await.unwrap();
    let output = active.into_result().unwrap();
    kube(world, region, output.cluster().unwrap()).await
}

fn pem_to_der(pem: &[u8]) -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(pem).unwrap();
    let bodies = text.split("-----BEGIN CERTIFICATE-----").skip(1).map(|rest| rest.split("-----END").next().unwrap());
    bodies.map(|body| cloud_wire::decode_blob(&body.replace('\n', "")).unwrap()).collect()
}

fn deployment(replicas: i32, image: &str) -> Deployment {
    let labels = json!({"app": "web"});
    let spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}},
    });
    let value: Value = json!({"metadata": {"name": "web"}, "spec": spec});
    serde_json::from_value(value).unwrap()
}

fn rolled_out(replicas: i32) -> impl wait::Condition<Deployment> {
    move |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| {
            let status = deployment.status.clone().unwrap_or_default();
            status.observed_generation == deployment.metadata.generation
                && status.updated_replicas == Some(replicas)
                && status.available_replicas == Some(replicas)
                && status.replicas == Some(replicas)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_rust_clients_run_a_cluster() {
    let world = World::real();
    let region = region(&world).await;
    let eks = eks(&region);
    let (cluster_role, node_role) =
        (role(&region, "c", "eks.amazonaws.com").await, role(&region, "n", "ec2.amazonaws.com").await);
    let subnets = subnets(&region).await;

    let missing = eks.describe_cluster().name("rust").send().await.unwrap_err().into_service_error();
    assert!(missing.is_resource_not_found_exception(), "{missing:?}");
    let vpc = VpcConfigRequest::builder().set_subnet_ids(Some(subnets.clone())).build();
    let created = eks
        .create_cluster()
        .name("rust")
        .role_arn(&cluster_role)
        .resources_vpc_config(vpc.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(created.cluster().unwrap().name(), Some("rust"));
    eks.wait_until_cluster_active().name("rust").wait(PATIENCE).await.unwrap();
    let twice = eks.create_cluster().name("rust").role_arn(&cluster_role).resources_vpc_config(vpc).send().await;
    assert!(twice.unwrap_err().into_service_error().is_resource_in_use_exception());
    let scaling = NodegroupScalingConfig::builder().min_size(1).max_size(3).desired_size(2).build();
    let group = eks.create_nodegroup().cluster_name("rust").nodegroup_name("workers").node_role(&node_role);
    group.set_subnets(Some(subnets)).scaling_config(scaling).send().await.unwrap();
    eks.wait_until_nodegroup_active().cluster_name("rust").nodegroup_name("workers").wait(PATIENCE).await.unwrap();

    let cluster = eks.describe_cluster().name("rust").send().await.unwrap();
    let client = kube(&world, &region, cluster.cluster().unwrap()).await;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    assert_eq!(nodes.items.len(), 2);

    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment(3, "nginx:1")).await.unwrap();
    let settled = wait::await_condition(deployments.clone(), "web", rolled_out(3));
    world.timeout(PATIENCE, settled).await.expect("the deployment rolls out").unwrap();
    let patch =
        json!({"spec": {"replicas": 4, "template": {"spec": {"containers": [{"name": "web", "image": "nginx:2"}]}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    let settled = wait::await_condition(deployments.clone(), "web", rolled_out(4));
    world.timeout(PATIENCE, settled).await.expect("the new version rolls out").unwrap();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let selected = pods.list(&ListParams::default().labels("app=web").fields("status.phase=Running")).await.unwrap();
    let images: Vec<_> = selected
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .map(|pod| pod.spec.as_ref().unwrap().containers[0].image.clone())
        .collect();
    assert_eq!(images, vec![Some("nginx:2".to_owned()); 4]);

    region.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kube_watcher_sees_every_change_in_order() {
    let world = World::real();
    let region = region(&world).await;
    let client = cluster(&world, &region).await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let config = watcher::Config::default().labels("test=watch");
    let mut stream = Box::pin(watcher(maps.clone(), config).applied_objects());
    let map = |step: u32| ConfigMap {
        metadata: kube::api::ObjectMeta {
            name: Some("a".into()),
            labels: Some(BTreeMap::from([("test".into(), "watch".into())])),
            ..Default::default()
        },
        data: Some(BTreeMap::from([("step".into(), step.to_string())])),
        ..Default::default()
    };
    maps.create(&PostParams::default(), &map(0)).await.unwrap();
    let mut seen = Vec::new();
    for step in 0..20 {
        if step > 0 {
            let mut next = map(step);
            next.metadata.resource_version = maps.get("a").await.unwrap().resource_version();
            maps.replace("a", &PostParams::default(), &next).await.unwrap();
        }
        let change = world.timeout(PATIENCE, stream.next()).await.expect("the watch delivers").unwrap().unwrap();
        seen.push(change.data.unwrap()["step"].clone());
    }
    assert_eq!(seen, (0..20).map(|step: u32| step.to_string()).collect::<Vec<_>>());
    let stale = ConfigMap {
        metadata: kube::api::ObjectMeta { resource_version: Some("1".into()), ..map(1).metadata },
        ..map(1)
    };
    let conflict = maps.replace("a", &PostParams::default(), &stale).await.unwrap_err();
    assert!(matches!(&conflict, kube::Error::Api(status) if status.code == 409), "{conflict}");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    region.shutdown(Duration::from_secs(10)).await;
}

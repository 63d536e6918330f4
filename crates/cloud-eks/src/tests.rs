//! The service over a simulated world, a real IAM and EC2, and control planes that only remember what they were told.

mod access;
mod access_switch;
mod clusters;
mod identity_providers;
mod nodegroups;
mod several;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud_ec2::{Ec2, InstanceState, Subnet};
use cloud_iam::{CallContext, Caller, Iam, Sts};
use cloud_wire::AwsError;
use serde_json::{Value, json};
use store::{Limits, Store};
use world::{BoxFuture, Simulation, Tasks, World};

use crate::ports::{ControlPlaneSpec, ControlPlanes, DrainError, Endpoint, NodeConfig, Settings, UpgradeError};
use crate::{Eks, EksParts, Pace};

pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const REGION: &str = "us-west-2";

/// What the fake control planes were told, and how they shall behave.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) running: BTreeMap<String, String>,
    pub(crate) drained: Vec<String>,
    pub(crate) mapped: Vec<String>,
    pub(crate) configured: Vec<NodeConfig>,
    pub(crate) settings: Settings,
    pub(crate) refuse: Option<String>,
    pub(crate) nodes_never_join: bool,
    pub(crate) pods_never_leave: bool,
    /// The control planes run in another process too.
    pub(crate) elsewhere: bool,
}

pub(crate) struct FakePlanes {
    pub(crate) told: Mutex<Told>,
    ec2: Ec2,
}

impl FakePlanes {
    pub(crate) fn told<T>(&self, look: impl FnOnce(&mut Told) -> T) -> T {
        look(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ControlPlanes for FakePlanes {
    fn ensure<'a>(&'a self, spec: &'a ControlPlaneSpec) -> BoxFuture<'a, Result<Endpoint, String>> {
        Box::pin(async move {
            self.told(|told| match &told.refuse {
                Some(why) => Err(why.clone()),
                None => {
                    told.settings = spec.settings.clone();
                    told.running.entry(spec.name.clone()).or_insert_with(|| spec.version.clone());
                    Ok(Endpoint {
                        url: format!("https://{}.local", spec.id),
                        ca_pem: "PEM".to_owned(),
                        oidc_issuer: format!("https://oidc/{}", spec.id),
                    })
                }
            })
        })
    }

    fn remove<'a>(&'a self, cluster: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.told(|told| told.running.remove(cluster));
            Ok(())
        })
    }

    fn ensure_key<'a>(&'a self, arn: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match arn.ends_with("/ffffffff-0000-0000-0000-000000000000") {
                true => Err("there is no such key".to_owned()),
                false => Ok(()),
            }
        })
    }

    fn endpoint(&self, cluster: &str) -> Option<String> {
        self.told(|told| told.elsewhere.then(|| format!("https://{cluster}.here")))
    }

    fn can_upgrade(&self, _cluster: &str, version: &str) -> Result<(), UpgradeError> {
        match version {
            "1.36" => Err(UpgradeError::NotSupported("1.36 is not served".to_owned())),
            _ => Ok(()),
        }
    }

    fn upgrade<'a>(&'a self, cluster: &'a str, version: &'a str) -> BoxFuture<'a, Result<(), UpgradeError>> {
        Box::pin(async move {
            self.told(|told| told.running.insert(cluster.to_owned(), version.to_owned()));
            Ok(())
        })
    }

    fn map_node_role<'a>(&'a self, _cluster: &'a str, role_arn: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.told(|told| told.mapped.push(role_arn.to_owned()));
            Ok(())
        })
    }

    fn ready_nodes<'a>(&'a self, cluster: &'a str, nodegroup: &'a str) -> BoxFuture<'a, BTreeSet<String>> {
        Box::pin(async move {
            if self.told(|told| told.nodes_never_join) {
                return BTreeSet::new();
            }
            let owned = self.ec2.owned(&format!("eks/{cluster}/{nodegroup}")).await.unwrap_or_default();
            let running = owned.into_iter().filter(|instance| instance.state == InstanceState::Running);
            running.map(|instance| instance.id).collect()
        })
    }

    fn configure_nodes<'a>(
        &'a self,
        _cluster: &'a str,
        _instances: &'a [String],
        _previous: &'a NodeConfig,
        config: &'a NodeConfig,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.told(|told| told.configured.push(config.clone()));
            Ok(())
        })
    }

    fn drain<'a>(&'a self, _cluster: &'a str, instance: &'a str) -> BoxFuture<'a, Result<(), DrainError>> {
        Box::pin(async move {
            let stuck = self.told(|told| {
                told.drained.push(instance.to_owned());
                told.pods_never_leave
            });
            if stuck {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

/// A region without a network.
pub(crate) struct Region {
    pub(crate) world: World,
    pub(crate) iam: Iam,
    pub(crate) sts: Sts,
    pub(crate) ec2: Ec2,
    pub(crate) eks: Eks,
    pub(crate) planes: Arc<FakePlanes>,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) admin: Caller,
    pub(crate) store: Store,
    tasks: Tasks,
    pace: Pace,
}

/// Runs a test in a region with a cluster role `cluster` and a node role `node`.
pub(crate) fn run(pace: Pace, test: impl AsyncFnOnce(&Region)) {
    let (world, mut simulation): (World, Simulation) = World::simulated(7);
    simulation.block_on(async {
        let region = Region::new(&world, pace).await;
        for (name, service) in [("cluster", "eks"), ("node", "ec2")] {
            region.role(name, &json!({"Service": format!("{service}.amazonaws.com")})).await;
        }
        test(&region).await;
        assert_eq!(region.tasks.shutdown(Duration::from_secs(5)).await, Vec::<&str>::new());
    });
}

impl Region {
    async fn new(world: &World, pace: Pace) -> Region {
        let store = Store::memory(world, Limits::default());
        let tasks = world.tasks("region");
        let iam = Iam::new(world, store.keyspace("iam/"), ACCOUNT);
        let access = iam.bootstrap("admin").await.expect("an administrator");
        let admin = iam.lookup(&access.key.id).await.expect("readable").expect("its key").caller;
        let ec2 = Ec2::new(world, store.keyspace("ec2/"), iam.clone(), REGION, cloud_ec2::Pace::INSTANT);
        let (_, subnets) = ec2.bootstrap().await.expect("a default VPC");
        ec2.run(&tasks);
        let planes = Arc::new(FakePlanes { told: Mutex::default(), ec2: ec2.clone() });
        let eks = Self::eks(world, &store, &iam, &ec2, &planes, pace, &tasks);
        eks.run().await.expect("EKS runs");
        let sts = Sts::new(iam.clone());
        Region { world: world.clone(), iam, sts, ec2, eks, planes, subnets, admin, store, tasks, pace }
    }

    fn eks(
        world: &World,
        store: &Store,
        iam: &Iam,
        ec2: &Ec2,
        planes: &Arc<FakePlanes>,
        pace: Pace,
        tasks: &Tasks,
    ) -> Eks {
        Eks::new(EksParts {
            world: world.clone(),
            space: store.keyspace("eks/"),
            iam: iam.clone(),
            ec2: ec2.clone(),
            planes: planes.clone(),
            pace,
            tasks: tasks.clone(),
        })
    }

    /// Ends the EKS and starts another on the same store, as a restart would.
    pub(crate) async fn restart_eks(&mut self) {
        self.tasks.shutdown(Duration::from_secs(5)).await;
        self.tasks = self.world.tasks("region again");
        self.ec2.run(&self.tasks);
        self.eks = Self::eks(&self.world, &self.store, &self.iam, &self.ec2, &self.planes, self.pace, &self.tasks);
        self.eks.run().await.expect("EKS runs again");
    }

    pub(crate) fn context(&self, caller: &Caller) -> CallContext {
        CallContext {
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            caller: caller.clone(),
            request_id: "request".to_owned(),
            source_ip: "127.0.0.1".to_owned(),
            now: self.world.now(),
        }
    }

    pub(crate) async fn role(&self, name: &str, principal: &Value) -> String {
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
        });
        let input = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
        let output = self.iam.call(&self.context(&self.admin), "CreateRole", &input).await.expect("a role");
        output["Role"]["Arn"].as_str().expect("an ARN").to_owned()
    }

    /// The caller of a session of a role that trusts the account.
    pub(crate) async fn assume(&self, role_arn: &str, session: &str) -> Caller {
        let input = json!({"RoleArn": role_arn, "RoleSessionName": session});
        let output = self.sts.call(&self.context(&self.admin), "AssumeRole", &input).await.expect("a session");
        let key = output["Credentials"]["AccessKeyId"].as_str().expect("a key");
        self.iam.lookup(key).await.expect("readable").expect("a credential").caller
    }

    pub(crate) async fn call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        self.eks.call(&self.context(&self.admin), operation, &input).await
    }

    pub(crate) fn subnet_ids(&self) -> Vec<String> {
        self.subnets.iter().map(|subnet| subnet.id.clone()).collect()
    }

    pub(crate) fn cluster_input(&self, name: &str) -> Value {
        json!({
            "name": name, "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/cluster"),
            "resourcesVpcConfig": {"subnetIds": self.subnet_ids()},
            "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"},
        })
    }

    pub(crate) fn nodegroup_input(&self, name: &str, size: i64) -> Value {
        json!({
            "clusterName": "blue", "nodegroupName": name, "nodeRole": format!("arn:aws:iam::{ACCOUNT}:role/node"),
            "subnets": self.subnet_ids(), "scalingConfig": {"minSize": 0, "maxSize": 10, "desiredSize": size},
        })
    }

    /// Waits until a described status is as wanted, or the thing is gone (an empty `wanted`).
    pub(crate) async fn wait(&self, operation: &str, input: &Value, member: &str, wanted: &str) -> Value {
        for _ in 0..2000 {
            match self.call(operation, input.clone()).await {
                Ok(output) if output[member]["status"] == wanted => return output[member].clone(),
                Err(error) if wanted.is_empty() && error.code == "ResourceNotFoundException" => return Value::Null,
                Ok(_) => {}
                Err(error) => panic!("{operation}: {error}"),
            }
            self.world.sleep(Duration::from_secs(1)).await;
        }
        panic!("{operation} {input} never reached {wanted}: {:?}", self.call(operation, input.clone()).await)
    }

    pub(crate) async fn cluster(&self, name: &str, status: &str) -> Value {
        self.wait("DescribeCluster", &json!({ "name": name }), "cluster", status).await
    }

    pub(crate) async fn nodegroup(&self, name: &str, status: &str) -> Value {
        self.wait("DescribeNodegroup", &json!({"clusterName": "blue", "nodegroupName": name}), "nodegroup", status)
            .await
    }

    pub(crate) async fn active_cluster(&self) -> Value {
        self.call("CreateCluster", self.cluster_input("blue")).await.expect("accepted");
        self.cluster("blue", "ACTIVE").await
    }
}

/// Merges members into an input; null takes one away.
pub(crate) fn with(mut input: Value, change: Value) -> Value {
    let (Some(members), Value::Object(change)) = (input.as_object_mut(), change) else { return input };
    for (member, value) in change {
        if value.is_null() {
            members.remove(&member);
        } else {
            members.insert(member, value);
        }
    }
    input
}

pub(crate) fn error_of(result: Result<Value, AwsError>) -> String {
    match result {
        Ok(output) => format!("no error: {output}"),
        Err(error) => error.to_string(),
    }
}

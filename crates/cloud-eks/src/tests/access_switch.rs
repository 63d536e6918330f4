//! What becomes of the creator and the nodes when a cluster begins to use access entries.

use cloud_iam::records::{Commit, Tx};

use super::*;
use crate::AssociatedPolicy;
use crate::Scope;
use crate::model::{AuthenticationMode, Cluster};

fn node_role(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

/// An active cluster `blue` in CONFIG_MAP mode.
async fn mapped_cluster(region: &Region, admin: bool) {
    let access = json!({"authenticationMode": "CONFIG_MAP", "bootstrapClusterCreatorAdminPermissions": admin});
    let input = with(region.cluster_input("blue"), json!({ "accessConfig": access }));
    region.call("CreateCluster", input).await.expect("accepted");
    region.cluster("blue", "ACTIVE").await;
}

async fn add_nodegroup(region: &Region, name: &str, role: &str) {
    let input = with(region.nodegroup_input(name, 0), json!({ "nodeRole": role }));
    region.call("CreateNodegroup", input).await.expect("accepted");
}

async fn begin_switch(region: &Region) -> Value {
    let input = json!({"name": "blue", "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"}});
    region.call("UpdateClusterConfig", input).await.expect("accepted")["update"]["id"].clone()
}

async fn switch(region: &Region) {
    let update = begin_switch(region).await;
    let cluster = region.cluster("blue", "ACTIVE").await;
    assert_eq!(cluster["accessConfig"]["authenticationMode"], "API_AND_CONFIG_MAP");
    let input = json!({"name": "blue", "updateId": update});
    assert_eq!(region.call("DescribeUpdate", input).await.expect("found")["update"]["status"], "Successful");
}

/// All entries as described, by principal.
async fn entries(region: &Region) -> BTreeMap<String, Value> {
    let list = region.call("ListAccessEntries", json!({"clusterName": "blue"})).await.expect("a list");
    let mut entries = BTreeMap::new();
    for principal in list["accessEntries"].as_array().expect("entries") {
        let input = json!({"clusterName": "blue", "principalArn": principal});
        let output = region.call("DescribeAccessEntry", input).await.expect("described");
        entries.insert(principal.as_str().expect("an ARN").to_owned(), output["accessEntry"].clone());
    }
    entries
}

/// The type of each entry, by principal.
async fn types(region: &Region) -> BTreeMap<String, String> {
    let kind = |entry: &Value| entry["type"].as_str().expect("a type").to_owned();
    entries(region).await.iter().map(|(principal, entry)| (principal.clone(), kind(entry))).collect()
}

fn expected(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(principal, kind)| ((*principal).to_owned(), (*kind).to_owned())).collect()
}

/// Who the caller is in `blue`: its username, its groups and whether it has the administrators' policy on all of the cluster.
async fn who(region: &Region, caller: &Caller) -> Option<(String, String, bool)> {
    let identity = region.eks.identify("blue", caller, None).await.ok()?;
    let admin = AssociatedPolicy { name: "AmazonEKSClusterAdminPolicy".to_owned(), scope: Scope::Cluster };
    let is_admin = identity.policies == [admin];
    Some((identity.username, identity.groups.join(","), is_admin))
}

#[test]
fn the_creator_stays_an_administrator_if_it_was_one() {
    for (admin, nodes) in [(true, false), (true, true), (false, false), (false, true)] {
        run(Pace::INSTANT, async |region| {
            mapped_cluster(region, admin).await;
            if nodes {
                add_nodegroup(region, "one", &node_role("node")).await;
                region.nodegroup("one", "ACTIVE").await;
            }
            let creator = &region.admin;
            let before = admin.then(|| ("kubernetes-admin".to_owned(), "system:masters".to_owned(), false));
            assert_eq!(who(region, creator).await, before, "before, {admin}");
            switch(region).await;
            let after = admin.then(|| (creator.arn.clone(), String::new(), true));
            assert_eq!(who(region, creator).await, after, "after, {admin}");
            let (node, mut rows) = (node_role("node"), vec![]);
            if admin {
                rows.push((creator.arn.as_str(), "STANDARD"));
            }
            if nodes {
                rows.push((node.as_str(), "EC2_LINUX"));
            }
            assert_eq!(types(region).await, expected(&rows), "admin {admin}, nodes {nodes}");
        });
    }
}

#[test]
fn a_role_with_a_path_that_created_the_cluster_stays_an_administrator() {
    run(Pace::INSTANT, async |region| {
        let admin = region.context(&region.admin);
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
        });
        let role = json!({"RoleName": "maker", "Path": "/a/", "AssumeRolePolicyDocument": trust.to_string()});
        region.iam.call(&admin, "CreateRole", &role).await.expect("a role");
        let all = json!({"RoleName": "maker", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"});
        region.iam.call(&admin, "AttachRolePolicy", &all).await.expect("attached");
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/a/maker");
        let maker = region.assume(&arn, "al").await;
        let input = with(region.cluster_input("blue"), json!({"accessConfig": null}));
        region.eks.call(&region.context(&maker), "CreateCluster", &input).await.expect("accepted");
        region.cluster("blue", "ACTIVE").await;
        switch(region).await;
        let username = format!("arn:aws:sts::{ACCOUNT}:assumed-role/maker/al");
        assert_eq!(who(region, &maker).await, Some((username, String::new(), true)));
        assert_eq!(types(region).await, expected(&[(arn.as_str(), "STANDARD")]));
        // Bound to the role that there was.
        region.iam.call(&admin, "DetachRolePolicy", &all).await.expect("detached");
        region.iam.call(&admin, "DeleteRole", &json!({"RoleName": "maker"})).await.expect("deleted");
        region.iam.call(&admin, "CreateRole", &role).await.expect("another role");
        let another = region.assume(&arn, "al").await;
        assert_eq!(who(region, &another).await, None);
    });
}

#[test]
fn every_role_of_nodes_gets_one_entry_that_goes_with_its_last_group() {
    run(Pace::INSTANT, async |region| {
        mapped_cluster(region, false).await;
        let other = region.role("other", &json!({"Service": "ec2.amazonaws.com"})).await;
        let node = node_role("node");
        for (name, role, ami) in [
            ("one", &node, "AL2023_x86_64_STANDARD"),
            ("two", &node, "BOTTLEROCKET_x86_64"),
            ("three", &other, "WINDOWS_CORE_2022_x86_64"),
        ] {
            let input = with(region.nodegroup_input(name, 0), json!({"nodeRole": role, "amiType": ami}));
            region.call("CreateNodegroup", input).await.expect("accepted");
            region.nodegroup(name, "ACTIVE").await;
        }
        switch(region).await;
        let both = [(node.as_str(), "EC2_LINUX"), (other.as_str(), "EC2_WINDOWS")];
        assert_eq!(types(region).await, expected(&both));
        for (name, left) in [("one", &both[..]), ("two", &both[1..]), ("three", &[])] {
            let input = json!({"clusterName": "blue", "nodegroupName": name});
            region.call("DeleteNodegroup", input).await.expect("accepted");
            region.nodegroup(name, "").await;
            assert_eq!(types(region).await, expected(left), "after {name}");
        }
    });
}

#[test]
fn entries_that_are_there_stay_as_they_are() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        let (creator, node) = (region.admin.arn.clone(), node_role("node"));
        let policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy";
        let input = json!({"clusterName": "blue", "principalArn": creator, "policyArn": policy});
        region.call("DisassociateAccessPolicy", input).await.expect("taken away");
        let input = json!({"clusterName": "blue", "principalArn": node, "kubernetesGroups": ["of-mine"]});
        region.call("CreateAccessEntry", input).await.expect("created");
        add_nodegroup(region, "one", &node).await;
        region.nodegroup("one", "ACTIVE").await;
        let before = entries(region).await;
        // The API has no way back; the store has.
        let mut tx = Tx::new(&region.store.keyspace("eks/"));
        let mut cluster: Cluster = tx.get("blue").await.expect("read").expect("a cluster");
        cluster.authentication = AuthenticationMode::ConfigMap;
        tx.put("blue", &cluster);
        assert!(matches!(tx.commit().await, Ok(Commit::Done(Some(_)))));
        switch(region).await;
        assert_eq!(before.keys().collect::<Vec<_>>(), [&node, &creator]);
        assert_eq!(entries(region).await, before);
        assert_eq!(who(region, &region.admin).await, Some((creator, String::new(), false)));
    });
}

#[test]
fn principals_that_are_gone_get_no_entries() {
    run(Pace::INSTANT, async |region| {
        let admin = region.context(&region.admin);
        let policy = json!({"UserName": "ann", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"});
        let user = json!({"UserName": "ann"});
        let made = region.iam.call(&admin, "CreateUser", &user).await.expect("a user");
        region.iam.call(&admin, "AttachUserPolicy", &policy).await.expect("attached");
        let ann = Caller {
            arn: format!("arn:aws:iam::{ACCOUNT}:user/ann"),
            user_id: made["User"]["UserId"].as_str().expect("an id").to_owned(),
            account: ACCOUNT.to_owned(),
            kind: cloud_iam::CallerKind::User { name: "ann".to_owned() },
            access_key_id: "AKIA".to_owned(),
        };
        let input = with(region.cluster_input("blue"), json!({"accessConfig": null}));
        region.eks.call(&region.context(&ann), "CreateCluster", &input).await.expect("accepted");
        region.cluster("blue", "ACTIVE").await;
        add_nodegroup(region, "one", &node_role("node")).await;
        region.nodegroup("one", "ACTIVE").await;
        region.iam.call(&admin, "DetachUserPolicy", &policy).await.expect("detached");
        region.iam.call(&admin, "DeleteUser", &user).await.expect("deleted");
        let profiles = region.iam.call(&admin, "ListInstanceProfiles", &json!({})).await.expect("profiles");
        let profile = &profiles["InstanceProfiles"][0]["InstanceProfileName"];
        let member = json!({"InstanceProfileName": profile, "RoleName": "node"});
        region.iam.call(&admin, "RemoveRoleFromInstanceProfile", &member).await.expect("removed");
        region.iam.call(&admin, "DeleteRole", &json!({"RoleName": "node"})).await.expect("deleted");
        switch(region).await;
        assert_eq!(types(region).await, expected(&[]));
    });
}

#[test]
fn a_group_that_is_made_while_the_mode_changes_is_not_forgotten() {
    run(Pace { cluster_update: Duration::from_secs(60), ..Pace::INSTANT }, async |region| {
        mapped_cluster(region, false).await;
        begin_switch(region).await;
        // A transaction that began before the group was there and would change the mode after.
        let mut tx = Tx::new(&region.store.keyspace("eks/"));
        let cluster: Cluster = tx.get("blue").await.expect("read").expect("a cluster");
        add_nodegroup(region, "one", &node_role("node")).await;
        tx.put("blue", &cluster);
        assert_eq!(tx.commit().await, Ok(Commit::Conflict));
        region.cluster("blue", "ACTIVE").await;
        assert_eq!(types(region).await, expected(&[(node_role("node").as_str(), "EC2_LINUX")]));
    });
}

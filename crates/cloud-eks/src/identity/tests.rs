//! Who a caller is, over all that may name it. No store and no region: these call what [`Eks::identify`] calls.

use cloud_iam::CallerKind;

use super::*;
use crate::access_policies::Scope;
use crate::model::{Association, Tags};
use AuthenticationMode::{Api, ApiAndConfigMap, ConfigMap};

const ACCOUNT: &str = "111122223333";

fn principal(arn: &str, user_id: &str) -> Caller {
    Caller {
        arn: format!("arn:aws:{arn}"),
        user_id: user_id.to_owned(),
        account: ACCOUNT.to_owned(),
        // The ARN and the id say who it is.
        kind: CallerKind::Root,
        access_key_id: "ASIAEXAMPLE".to_owned(),
    }
}

fn ann() -> Caller {
    principal("iam::111122223333:user/ann", "AIDAANN")
}

fn dev() -> Caller {
    principal("sts::111122223333:assumed-role/dev/eve@example.com", "AROADEV:eve@example.com")
}

fn node(session: &str) -> Caller {
    principal(&format!("sts::111122223333:assumed-role/Nodes/{session}"), &format!("AROANODE:{session}"))
}

fn entry(arn: &str, id: &str, kind: EntryType) -> AccessEntry {
    let principal = format!("arn:aws:iam::{ACCOUNT}:{arn}");
    AccessEntry {
        cluster: "blue".to_owned(),
        arn: String::new(),
        username: default_username(&principal, kind).expect("test entry"),
        principal,
        principal_id: id.to_owned(),
        kind,
        groups: BTreeSet::new(),
        policies: BTreeMap::new(),
        tags: Tags::new(),
        created: 0,
        modified: 0,
        managed: false,
    }
}

fn named(arn: &str, id: &str, username: &str, groups: &[&str]) -> AccessEntry {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    AccessEntry { username: username.to_owned(), groups, ..entry(arn, id, EntryType::Standard) }
}

fn aws_auth() -> AwsAuth {
    let aws_auth = AwsAuth {
        map_roles: "\
- {rolearn: 'arn:aws:iam::111122223333:role/Dev', username: 'dev:{{SessionNameRaw}}', groups: ['of-{{AccountID}}']}
- {rolearn: 'arn:aws:iam::111122223333:role/a/pathed', username: never}
- {rolearn: 'arn:aws:iam::111122223333:role/Nodes', username: 'system:node:{{EC2PrivateDNSName}}', groups: [system:nodes]}
- {rolearn: 'arn:aws:iam::111122223333:role/nameless', groups: [g]}
"
        .to_owned(),
        map_users: "- {userarn: 'arn:aws:iam::111122223333:user/ann', username: ann, groups: [system:masters]}\n"
            .to_owned(),
        map_accounts: "- 444455556666\n".to_owned(),
    };
    assert_eq!(aws_auth.errors(), []);
    aws_auth
}

const DNS: &str = "ip-10-0-0-7.ec2.internal";
const INSTANCE: &str = "i-0123456789abcdef0";

fn map(caller: &Caller, sources: &Sources<'_>) -> Result<Identity, NotMapped> {
    let subject = Subject::new(caller)?;
    let found = find(&subject, sources)?;
    let private_dns = found.instance(&subject).filter(|instance| *instance == INSTANCE).map(|_| DNS);
    Ok(subject.identity(found, private_dns)?)
}

/// `username [group group]`, or the reason.
fn mapped(principal: &Caller, sources: &Sources<'_>) -> String {
    match map(principal, sources) {
        Ok(user) => format!("{} [{}]", user.username, user.groups.join(" ")),
        Err(reason) => format!("error: {reason}"),
    }
}

fn check(principal: &Caller, mode: AuthenticationMode, entries: &[AccessEntry], expected: &str) {
    let aws_auth = aws_auth();
    let sources = Sources { mode, entries, aws_auth: Some(&aws_auth), creator: None };
    assert_eq!(mapped(principal, &sources), expected, "{} {mode:?}", principal.arn);
}

#[test]
fn standard_entries_name_people() {
    let user = "arn:aws:iam::111122223333:user/ann []";
    let session = "arn:aws:sts::111122223333:assumed-role/dev/eve-example.com []";
    check(&ann(), Api, &[entry("user/ann", "AIDAANN", EntryType::Standard)], user);
    check(&dev(), Api, &[entry("role/dev", "AROADEV", EntryType::Standard)], session);
    // The path is no part of the name.
    check(&dev(), Api, &[entry("role/a/b/dev", "AROADEV", EntryType::Standard)], session);
    let pathed = principal("iam::111122223333:user/a/ann", "AIDAANN");
    check(
        &pathed,
        Api,
        &[entry("user/a/ann", "AIDAANN", EntryType::Standard)],
        "arn:aws:iam::111122223333:user/a/ann []",
    );
    let root = principal("iam::111122223333:root", ACCOUNT);
    check(&root, Api, &[entry("root", ACCOUNT, EntryType::Standard)], "arn:aws:iam::111122223333:root []");
    let templates = [
        ("x:{{SessionName}}", "x:eve-example.com"),
        ("x:{{SessionNameRaw}}", "x:eve@example.com"),
        ("{{AccountID}}/{{AccessKeyID}}", "111122223333/ASIAEXAMPLE"),
        ("{{Unknown}} {{ {{AccountID}} {{", "{{Unknown}} {{ 111122223333 {{"),
        ("{{{AccountID}}}", "{111122223333}"),
    ];
    for (template, expected) in templates {
        let entries = [named("role/dev", "AROADEV", template, &["g", "{{AccountID}}"])];
        check(&dev(), Api, &entries, &format!("{expected} [g 111122223333]"));
    }
}

#[test]
fn nodes_get_the_groups_of_their_type() {
    let cases = [
        (EntryType::Ec2, format!("system:node:{DNS} [system:bootstrappers system:nodes]")),
        (EntryType::Ec2Linux, format!("system:node:{DNS} [system:bootstrappers system:nodes]")),
        (
            EntryType::Ec2Windows,
            format!("system:node:{DNS} [eks:kube-proxy-windows system:bootstrappers system:nodes]"),
        ),
        (
            EntryType::FargateLinux,
            format!("system:node:{INSTANCE} [system:bootstrappers system:node-proxier system:nodes]"),
        ),
        (EntryType::HybridLinux, format!("system:node:{INSTANCE} [system:bootstrappers system:nodes]")),
    ];
    for (kind, expected) in cases {
        check(&node(INSTANCE), Api, &[entry("role/Nodes", "AROANODE", kind)], &expected);
    }
    // Groups that are shown with the entry are not given twice.
    let shown = AccessEntry {
        groups: BTreeSet::from(["system:nodes".to_owned()]),
        ..entry("role/Nodes", "AROANODE", EntryType::Ec2Linux)
    };
    check(&node(INSTANCE), Api, &[shown], &format!("system:node:{DNS} [system:nodes system:bootstrappers]"));

    let linux = [entry("role/Nodes", "AROANODE", EntryType::Ec2Linux)];
    let template = "{{EC2PrivateDNSName}} of \"system:node:{{EC2PrivateDNSName}}\" has no value";
    let (gone, old) = ("i-0fedcba9876543210", "i-01234567");
    for unknown in [gone, old] {
        check(&node(unknown), Api, &linux, &format!("error: {template}: instance {unknown} is not known"));
    }
    for session in ["me", "i-123", "i-0123456789abcdef0x", "i-0123-567"] {
        let reason = format!("error: {template}: the session {session:?} is not named by an instance id");
        check(&node(session), Api, &linux, &reason);
    }
    // EC2 is asked only by those who need it.
    let fargate = Match::of_entry(&entry("role/Nodes", "AROANODE", EntryType::FargateLinux));
    let caller = node(INSTANCE);
    let subject = Subject::new(&caller).expect("a caller");
    assert_eq!(fargate.instance(&subject), None);
    assert_eq!(Match::of_entry(&linux[0]).instance(&subject), Some(INSTANCE));
}

#[test]
fn the_mode_decides_which_source_counts() {
    let entries = [named("role/dev", "AROADEV", "by-entry", &[]), named("role/pathed", "AROAP", "p", &[])];
    check(&dev(), Api, &entries, "by-entry []");
    check(&dev(), ApiAndConfigMap, &entries, "by-entry []");
    check(&dev(), ConfigMap, &entries, "dev:eve@example.com [of-111122223333]");
    check(&dev(), ApiAndConfigMap, &[], "dev:eve@example.com [of-111122223333]");
    check(&dev(), Api, &[], "error: arn:aws:iam::111122223333:role/dev is mapped by no access entry of the cluster");
    check(&ann(), ApiAndConfigMap, &entries, "ann [system:masters]");
    check(&ann(), ConfigMap, &[], "ann [system:masters]");
    check(&node(INSTANCE), ConfigMap, &[], &format!("system:node:{DNS} [system:nodes]"));
    // ARNs in aws-auth cannot hold a path.
    let pathed = principal("sts::111122223333:assumed-role/pathed/s", "AROAP:s");
    let nowhere = "error: arn:aws:iam::111122223333:role/pathed is mapped by no aws-auth ConfigMap of the cluster";
    check(&pathed, ConfigMap, &entries, nowhere);
    // A role without a username in aws-auth has none, not its ARN.
    let nameless = principal("sts::111122223333:assumed-role/nameless/s", "AROAN:s");
    check(&nameless, ConfigMap, &[], " [g]");
    for mode in [Api, ApiAndConfigMap, ConfigMap] {
        let nothing = Sources { mode, entries: &[], aws_auth: None, creator: None };
        assert!(matches!(map(&ann(), &nothing), Err(NotMapped::Unknown { .. })));
    }
}

#[test]
fn a_whole_account_may_be_let_in() {
    let stranger = Caller {
        account: "444455556666".to_owned(),
        ..principal("sts::444455556666:assumed-role/a/s", "AROASTRANGER:s")
    };
    check(&stranger, ConfigMap, &[], "arn:aws:iam::444455556666:role/a []");
    check(&stranger, ApiAndConfigMap, &[], "arn:aws:iam::444455556666:role/a []");
    check(&stranger, Api, &[], "error: arn:aws:iam::444455556666:role/a is mapped by no access entry of the cluster");
}

#[test]
fn a_recreated_principal_is_not_the_one_of_the_entry() {
    let old = [named("role/a/dev", "AROAOLD", "by-entry", &[])];
    let reason = "error: the access entry of arn:aws:iam::111122223333:role/a/dev is bound to AROAOLD, but the caller is AROADEV: \
                  the IAM principal was recreated; delete the entry and create it again";
    check(&dev(), Api, &old, reason);
    // aws-auth knows only ARNs.
    check(&dev(), ApiAndConfigMap, &old, "dev:eve@example.com [of-111122223333]");
    let sources = Sources { mode: ApiAndConfigMap, entries: &old, aws_auth: None, creator: None };
    assert_eq!(mapped(&dev(), &sources), reason);
    // The id alone is not enough either.
    let other = [named("role/other", "AROADEV", "by-entry", &[])];
    assert!(matches!(map(&dev(), &Sources { entries: &other, ..sources }), Err(NotMapped::Unknown { .. })));
    // Ids of other accounts are not known.
    let foreign = [named("role/dev", "", "by-name", &[])];
    check(&dev(), Api, &foreign, "by-name []");
    // Both generations of a name: the id chooses.
    let both = [old[0].clone(), named("role/dev", "AROADEV", "new", &[])];
    check(&dev(), Api, &both, "new []");
}

#[test]
fn the_creator_is_administrator_in_config_map_mode_only() {
    let aws_auth = aws_auth();
    let cases = [
        (ConfigMap, "arn:aws:iam::111122223333:role/dev", "kubernetes-admin [system:masters]"),
        (ConfigMap, "arn:aws:iam::111122223333:role/a/dev", "kubernetes-admin [system:masters]"),
        (ConfigMap, "arn:aws:sts::111122223333:assumed-role/dev/other", "kubernetes-admin [system:masters]"),
        (ConfigMap, "arn:aws:iam::111122223333:role/ops", "dev:eve@example.com [of-111122223333]"),
        (ApiAndConfigMap, "arn:aws:iam::111122223333:role/dev", "dev:eve@example.com [of-111122223333]"),
        (
            Api,
            "arn:aws:iam::111122223333:role/dev",
            "error: arn:aws:iam::111122223333:role/dev is mapped by no access entry of the cluster",
        ),
    ];
    for (mode, creator, expected) in cases {
        let sources = Sources { mode, entries: &[], aws_auth: Some(&aws_auth), creator: Some(creator) };
        assert_eq!(mapped(&dev(), &sources), expected, "{mode:?} {creator}");
    }
}

#[test]
fn a_user_carries_who_it_was_in_aws() {
    let association = |namespaces| Association { namespaces, created: 0, modified: 0 };
    let arn = |name: &str| format!("arn:aws:eks::aws:cluster-access-policy/{name}");
    let associations = BTreeMap::from([
        (arn("AmazonEKSEditPolicy"), association(Some(vec!["blue".to_owned()]))),
        (arn("AmazonEKSGonePolicy"), association(None)),
        (arn("AmazonEKSViewPolicy"), association(None)),
    ]);
    let policy = |name: &str, scope| AssociatedPolicy { name: name.to_owned(), scope };
    let policies = vec![
        policy("AmazonEKSEditPolicy", Scope::Namespaces(vec!["blue".to_owned()])),
        policy("AmazonEKSViewPolicy", Scope::Cluster),
    ];
    let entries = [AccessEntry { policies: associations, ..named("role/a/dev", "AROADEV", "u", &["g"]) }];
    let user = map(&dev(), &Sources { mode: Api, entries: &entries, aws_auth: None, creator: None }).expect("mapped");
    let extra = [
        ("accessKeyId", "ASIAEXAMPLE"),
        ("arn", "arn:aws:sts::111122223333:assumed-role/dev/eve@example.com"),
        ("canonicalArn", "arn:aws:iam::111122223333:role/dev"),
        ("principalId", "AROADEV"),
        ("sessionName", "eve@example.com"),
        ("sigs.k8s.io/aws-iam-authenticator/principalId", "AROADEV"),
    ];
    let expected = Identity {
        username: "u".to_owned(),
        groups: vec!["g".to_owned()],
        uid: "aws-iam-authenticator:111122223333:AROADEV".to_owned(),
        extra: extra.into_iter().map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).collect(),
        policies,
    };
    assert_eq!(user, expected);

    let aws_auth = aws_auth();
    let user = map(&ann(), &Sources { mode: ConfigMap, entries: &[], aws_auth: Some(&aws_auth), creator: None })
        .expect("mapped");
    assert_eq!(user.uid, "aws-iam-authenticator:111122223333:AIDAANN");
    assert_eq!(user.extra["sessionName"], [""]);
    assert_eq!(user.policies, []);
}

#[test]
fn callers_of_other_kinds_are_nobody() {
    let nothing = Sources { mode: Api, entries: &[], aws_auth: None, creator: None };
    let cases = [
        (principal("iam::111122223333:service/eks.amazonaws.com", "eks.amazonaws.com"), "Arn"),
        (principal("sts::111122223333:assumed-role/dev", "AROADEV:s"), "Arn"),
        (principal("sts::111122223333:assumed-role/dev/s", "AROADEV"), "UserId"),
        (principal("sts::111122223333:assumed-role/dev/s", "AROADEV:s:t"), "UserId"),
        (principal("sts::111122223333:federated-user/bob", "111122223333:bob"), "Unknown"),
    ];
    for (caller, expected) in cases {
        let reason = format!("{:?}", map(&caller, &nothing).expect_err("not mapped"));
        assert!(reason.starts_with(expected), "{} {reason}", caller.arn);
    }
    // A federated user's id is not cut to the account, which is root's.
    let root = [entry("root", ACCOUNT, EntryType::Standard)];
    let bob = principal("sts::111122223333:federated-user/bob", "111122223333:bob");
    assert!(map(&bob, &Sources { entries: &root, ..nothing }).is_err());
}

//! Policies that AWS owns, known by ARN: `arn:aws:iam::aws:policy<path><name>`.
//!
//! Statements are those of the published policies as far as they concern services that Minato has or will have; conditions
//! that only narrow the tagging of resources are left out.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::policy::{PolicyDocument, Usage, parse};

/// One policy.
#[derive(Debug)]
pub struct ManagedPolicy {
    /// Unique among policies of AWS.
    pub name: &'static str,
    /// `/` or for example `/service-role/`.
    pub path: &'static str,
    /// The statements, a JSON list.
    statements: &'static str,
}

impl ManagedPolicy {
    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::aws:policy{}{}", self.path, self.name)
    }

    /// The document as text.
    pub fn text(&self) -> String {
        format!(r#"{{"Version":"2012-10-17","Statement":{}}}"#, self.statements)
    }
}

/// Finds a policy and its parsed document.
pub fn find(arn: &str) -> Option<(&'static ManagedPolicy, &'static PolicyDocument)> {
    static INDEX: OnceLock<BTreeMap<String, (&'static ManagedPolicy, PolicyDocument)>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let parsed = |policy: &ManagedPolicy| parse(&policy.text(), Usage::Identity).expect("a test parses the table");
        MANAGED_POLICIES.iter().map(|policy| (policy.arn(), (policy, parsed(policy)))).collect()
    });
    index.get(arn).map(|(policy, document)| (*policy, document))
}

/// By name.
pub static MANAGED_POLICIES: &[ManagedPolicy] = &[
    ManagedPolicy {
        name: "AdministratorAccess",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":"*","Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEBSCSIDriverPolicy",
        path: "/service-role/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:AttachVolume","ec2:CreateSnapshot","ec2:CreateTags","ec2:CreateVolume","ec2:DeleteSnapshot","ec2:DeleteVolume","ec2:Describe*","ec2:DetachVolume","ec2:ModifyVolume"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEC2ContainerRegistryPullOnly",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ecr:BatchGetImage","ecr:BatchImportUpstreamImage","ecr:GetAuthorizationToken","ecr:GetDownloadUrlForLayer"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEC2ContainerRegistryReadOnly",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ecr:BatchCheckLayerAvailability","ecr:BatchGetImage","ecr:DescribeImageScanFindings","ecr:DescribeImages","ecr:DescribeRepositories","ecr:GetAuthorizationToken","ecr:GetDownloadUrlForLayer","ecr:GetLifecyclePolicy","ecr:GetLifecyclePolicyPreview","ecr:GetRepositoryPolicy","ecr:ListImages","ecr:ListTagsForResource"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEC2FullAccess",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["autoscaling:*","cloudwatch:*","ec2:*","elasticloadbalancing:*"],"Resource":"*"},{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEC2ReadOnlyAccess",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["autoscaling:Describe*","cloudwatch:Describe*","cloudwatch:GetMetricStatistics","cloudwatch:ListMetrics","ec2:Describe*","ec2:GetSecurityGroupsForVpc","elasticloadbalancing:Describe*"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSBlockStoragePolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:AttachVolume","ec2:CreateSnapshot","ec2:CreateTags","ec2:CreateVolume","ec2:DeleteSnapshot","ec2:DeleteVolume","ec2:Describe*","ec2:DetachVolume","ec2:ModifyVolume"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSClusterPolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["autoscaling:DescribeAutoScalingGroups","autoscaling:UpdateAutoScalingGroup","ec2:AttachVolume","ec2:AuthorizeSecurityGroupIngress","ec2:CreateRoute","ec2:CreateSecurityGroup","ec2:CreateTags","ec2:CreateVolume","ec2:DeleteRoute","ec2:DeleteSecurityGroup","ec2:DeleteVolume","ec2:DescribeAccountAttributes","ec2:DescribeAddresses","ec2:DescribeAvailabilityZones","ec2:DescribeDhcpOptions","ec2:DescribeInstanceTopology","ec2:DescribeInstances","ec2:DescribeInternetGateways","ec2:DescribeNetworkInterfaces","ec2:DescribeRouteTables","ec2:DescribeSecurityGroups","ec2:DescribeSubnets","ec2:DescribeVolumes","ec2:DescribeVolumesModifications","ec2:DescribeVpcs","ec2:DetachVolume","ec2:ModifyInstanceAttribute","ec2:ModifyVolume","ec2:RevokeSecurityGroupIngress","elasticloadbalancing:*","kms:DescribeKey"],"Resource":"*"},{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":"elasticloadbalancing.amazonaws.com"}}}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSComputePolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:CreateFleet","ec2:CreateLaunchTemplate","ec2:CreateTags","ec2:DeleteLaunchTemplate","ec2:Describe*","ec2:RunInstances","ec2:TerminateInstances","iam:AddRoleToInstanceProfile","iam:CreateInstanceProfile","iam:DeleteInstanceProfile","iam:GetInstanceProfile","iam:PassRole","iam:RemoveRoleFromInstanceProfile","iam:TagInstanceProfile"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSFargatePodExecutionRolePolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ecr:BatchCheckLayerAvailability","ecr:BatchGetImage","ecr:GetAuthorizationToken","ecr:GetDownloadUrlForLayer"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSLoadBalancingPolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:Describe*","ec2:AuthorizeSecurityGroupIngress","ec2:CreateSecurityGroup","ec2:CreateTags","ec2:DeleteSecurityGroup","ec2:RevokeSecurityGroupIngress","elasticloadbalancing:*"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSNetworkingPolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:AssignPrivateIpAddresses","ec2:AttachNetworkInterface","ec2:CreateNetworkInterface","ec2:CreateTags","ec2:DeleteNetworkInterface","ec2:Describe*","ec2:ModifyNetworkInterfaceAttribute","ec2:UnassignPrivateIpAddresses"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSServicePolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:CreateNetworkInterface","ec2:CreateNetworkInterfacePermission","ec2:DeleteNetworkInterface","ec2:DescribeInstances","ec2:DescribeNetworkInterfaces","ec2:DescribeSecurityGroups","ec2:DescribeSubnets","ec2:DescribeVpcs","ec2:DetachNetworkInterface","eks:UpdateClusterVersion","iam:ListAttachedRolePolicies","route53:AssociateVPCWithHostedZone"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSVPCResourceController",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:AssignPrivateIpAddresses","ec2:AttachNetworkInterface","ec2:CreateNetworkInterface","ec2:CreateNetworkInterfacePermission","ec2:CreateTags","ec2:DeleteNetworkInterface","ec2:DescribeInstances","ec2:DescribeNetworkInterfaces","ec2:DescribeSecurityGroups","ec2:DescribeSubnets","ec2:DetachNetworkInterface","ec2:ModifyNetworkInterfaceAttribute","ec2:UnassignPrivateIpAddresses"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSWorkerNodeMinimalPolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:DescribeInstances","ec2:DescribeInstanceTypes","eks-auth:AssumeRoleForPodIdentity"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKSWorkerNodePolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:DescribeInstanceTypes","ec2:DescribeInstances","ec2:DescribeRouteTables","ec2:DescribeSecurityGroups","ec2:DescribeSubnets","ec2:DescribeVolumes","ec2:DescribeVolumesModifications","ec2:DescribeVpcs","eks-auth:AssumeRoleForPodIdentity","eks:DescribeCluster"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonEKS_CNI_Policy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:AssignPrivateIpAddresses","ec2:AttachNetworkInterface","ec2:CreateNetworkInterface","ec2:DeleteNetworkInterface","ec2:DescribeInstanceTypes","ec2:DescribeInstances","ec2:DescribeNetworkInterfaces","ec2:DescribeSubnets","ec2:DescribeTags","ec2:DetachNetworkInterface","ec2:ModifyNetworkInterfaceAttribute","ec2:UnassignPrivateIpAddresses"],"Resource":"*"},{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"arn:aws:ec2:*:*:network-interface/*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonS3ReadOnlyAccess",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["s3:Describe*","s3:Get*","s3:List*","s3-object-lambda:Get*","s3-object-lambda:List*"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "AmazonSSMManagedInstanceCore",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2messages:*","ssm:DescribeAssociation","ssm:GetDeployablePatchSnapshotForInstance","ssm:GetDocument","ssm:GetManifest","ssm:GetParameter","ssm:GetParameters","ssm:ListAssociations","ssm:ListInstanceAssociations","ssm:PutComplianceItems","ssm:PutConfigurePackageResult","ssm:PutInventory","ssm:UpdateAssociationStatus","ssm:UpdateInstanceAssociationStatus","ssm:UpdateInstanceInformation","ssmmessages:*"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "CloudWatchAgentServerPolicy",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["cloudwatch:PutMetricData","ec2:DescribeTags","ec2:DescribeVolumes","logs:CreateLogGroup","logs:CreateLogStream","logs:DescribeLogGroups","logs:DescribeLogStreams","logs:PutLogEvents","logs:PutRetentionPolicy","xray:GetSamplingRules","xray:GetSamplingStatisticSummaries","xray:GetSamplingTargets","xray:PutTelemetryRecords","xray:PutTraceSegments"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "IAMFullAccess",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["iam:*","organizations:DescribeAccount","organizations:DescribeOrganization"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "IAMReadOnlyAccess",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["iam:GenerateCredentialReport","iam:GenerateServiceLastAccessedDetails","iam:Get*","iam:List*","iam:SimulateCustomPolicy","iam:SimulatePrincipalPolicy"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "PowerUserAccess",
        path: "/",
        statements: r#"[{"Effect":"Allow","NotAction":["account:*","iam:*","organizations:*"],"Resource":"*"},{"Effect":"Allow","Action":["account:GetAccountInformation","account:ListRegions","iam:CreateServiceLinkedRole","iam:DeleteServiceLinkedRole","iam:ListRoles","organizations:DescribeOrganization"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "ReadOnlyAccess",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["autoscaling:Describe*","cloudformation:Describe*","cloudformation:Get*","cloudformation:List*","cloudwatch:Describe*","cloudwatch:Get*","cloudwatch:List*","ec2:Describe*","ec2:Get*","ec2:List*","ecr:BatchCheck*","ecr:BatchGet*","ecr:Describe*","ecr:Get*","ecr:List*","eks:AccessKubernetesApi","eks:Describe*","eks:List*","elasticloadbalancing:Describe*","iam:Get*","iam:List*","kms:Describe*","kms:List*","logs:Describe*","logs:Get*","s3:Get*","s3:List*","ssm:Describe*","ssm:Get*","ssm:List*","sts:Get*"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "SecurityAudit",
        path: "/",
        statements: r#"[{"Effect":"Allow","Action":["ec2:Describe*","eks:DescribeCluster","eks:DescribeNodegroup","eks:ListClusters","eks:ListNodegroups","iam:Get*","iam:List*"],"Resource":"*"}]"#,
    },
    ManagedPolicy {
        name: "ViewOnlyAccess",
        path: "/job-function/",
        statements: r#"[{"Effect":"Allow","Action":["autoscaling:Describe*","ec2:Describe*","eks:DescribeCluster","eks:ListClusters","eks:ListNodegroups","iam:Get*","iam:List*"],"Resource":"*"}]"#,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_document_is_valid() {
        assert!(MANAGED_POLICIES.windows(2).all(|pair| pair[0].name < pair[1].name));
        for policy in MANAGED_POLICIES {
            parse(&policy.text(), Usage::Identity).expect(policy.name);
            assert_eq!(find(&policy.arn()).map(|(found, _)| found.name), Some(policy.name));
        }
    }
}

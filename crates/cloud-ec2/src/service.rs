//! The EC2 service: its table of operations and the loop that runs one as a transaction.

use std::future::Future;
use std::sync::Arc;

use cloud_iam::records::{Tx, transact};
use cloud_iam::{BoxFuture, CallContext, Iam};
use cloud_wire::AwsError;
use serde_json::Value;
use store::{Compare, Keyspace};
use world::World;

use crate::error;
use crate::lifecycle::Pace;
use crate::{gateways, instance_types, instances, network_interfaces, security_groups, subnets, tags, vpcs, zones};

/// The EC2 of one account in one region. Cheap to clone.
#[derive(Clone)]
pub struct Ec2(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) world: World,
    pub(crate) space: Keyspace,
    pub(crate) iam: Iam,
    pub(crate) region: String,
    pub(crate) pace: Pace,
}

/// One call on its way through a handler.
pub(crate) struct Call<'a> {
    pub(crate) ec2: &'a Ec2,
    pub(crate) input: &'a Value,
    pub(crate) tx: &'a mut Tx,
}

impl Call<'_> {
    pub(crate) fn text(&self, member: &str) -> Option<&str> {
        self.input.get(member).and_then(Value::as_str)
    }

    /// A member that the model requires.
    pub(crate) fn required(&self, member: &str) -> Result<String, AwsError> {
        let missing = || error::client("MissingParameter", format!("The request must contain the parameter {member}"));
        self.text(member).map(str::to_owned).ok_or_else(missing)
    }

    pub(crate) fn strings(&self, member: &str) -> Vec<String> {
        let list = self.input.get(member).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    pub(crate) fn account(&self) -> &str {
        self.ec2.0.iam.account()
    }
}

type Handler = for<'a> fn(Call<'a>) -> BoxFuture<'a, Result<Value, AwsError>>;

/// A row of the table of operations.
pub struct Ec2Operation {
    /// As in the API.
    pub name: &'static str,
    handler: Handler,
}

macro_rules! row {
    ($name:literal, $handler:path) => {
        Ec2Operation { name: $name, handler: |call| Box::pin($handler(call)) }
    };
}

/// By name.
static OPERATIONS: &[Ec2Operation] = &[
    row!("AssociateRouteTable", gateways::associate),
    row!("AttachInternetGateway", gateways::attach),
    row!("AuthorizeSecurityGroupEgress", security_groups::authorize_egress),
    row!("AuthorizeSecurityGroupIngress", security_groups::authorize_ingress),
    row!("CreateInternetGateway", gateways::create_gateway),
    row!("CreateRoute", gateways::create_route),
    row!("CreateRouteTable", gateways::create_table),
    row!("CreateSecurityGroup", security_groups::create),
    row!("CreateSubnet", subnets::create),
    row!("CreateTags", tags::create),
    row!("CreateVpc", vpcs::create),
    row!("DeleteInternetGateway", gateways::delete_gateway),
    row!("DeleteNetworkInterface", network_interfaces::delete),
    row!("DeleteRoute", gateways::delete_route),
    row!("DeleteRouteTable", gateways::delete_table),
    row!("DeleteSecurityGroup", security_groups::delete),
    row!("DeleteSubnet", subnets::delete),
    row!("DeleteTags", tags::delete),
    row!("DeleteVpc", vpcs::delete),
    row!("DescribeAvailabilityZones", zones::describe_zones),
    row!("DescribeInstanceTypeOfferings", instance_types::describe_offerings),
    row!("DescribeInstanceTypes", instance_types::describe),
    row!("DescribeInstances", instances::describe),
    row!("DescribeInternetGateways", gateways::describe_gateways),
    row!("DescribeNetworkInterfaces", network_interfaces::describe),
    row!("DescribeRegions", zones::describe_regions),
    row!("DescribeRouteTables", gateways::describe_tables),
    row!("DescribeSecurityGroups", security_groups::describe),
    row!("DescribeSubnets", subnets::describe),
    row!("DescribeTags", tags::describe),
    row!("DescribeVpcAttribute", vpcs::describe_attribute),
    row!("DescribeVpcs", vpcs::describe),
    row!("DetachInternetGateway", gateways::detach),
    row!("DisassociateRouteTable", gateways::disassociate),
    row!("ModifySubnetAttribute", subnets::modify_attribute),
    row!("ModifyVpcAttribute", vpcs::modify_attribute),
    row!("RevokeSecurityGroupEgress", security_groups::revoke_egress),
    row!("RevokeSecurityGroupIngress", security_groups::revoke_ingress),
    row!("TerminateInstances", instances::terminate),
];

/// Members that name what an operation works on, with the resource type of its ARN. The first that is there counts.
static TARGETS: &[(&str, &str)] = &[
    ("GroupId", "security-group"),
    ("InternetGatewayId", "internet-gateway"),
    ("NetworkInterfaceId", "network-interface"),
    ("RouteTableId", "route-table"),
    ("SubnetId", "subnet"),
    ("VpcId", "vpc"),
];

impl Ec2 {
    /// The EC2 beside an IAM, on its own keyspace. Nothing runs until [`Ec2::run`], nothing exists until [`Ec2::bootstrap`].
    pub fn new(world: &World, space: Keyspace, iam: Iam, region: &str, pace: Pace) -> Ec2 {
        Ec2(Arc::new(Inner { world: world.clone(), space, iam, region: region.to_owned(), pace }))
    }

    /// The same for one who may write only while `guard` holds; see [`Keyspace::guarded`].
    #[must_use]
    pub fn guarded(&self, guard: Compare) -> Ec2 {
        let Inner { world, space, iam, region, pace } = &*self.0;
        Ec2::new(world, space.guarded(guard), iam.clone(), region, *pace)
    }

    /// The region's name.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// The table, by name.
    pub fn operations() -> &'static [Ec2Operation] {
        OPERATIONS
    }

    /// Runs an operation for a caller who may call it.
    ///
    /// # Errors
    /// EC2's errors, `UnauthorizedOperation`, `DryRunOperation`, and `NotImplemented` for an operation without a handler.
    pub async fn call(&self, ctx: &CallContext, operation: &str, input: &Value) -> Result<Value, AwsError> {
        let Ok(row) = OPERATIONS.binary_search_by(|row| row.name.cmp(operation)) else {
            return Err(AwsError::not_supported("ec2", operation));
        };
        let target = self.target(operation, input);
        self.0.iam.authorize(ctx, &format!("ec2:{operation}"), &target, &[]).await?;
        if input.get("DryRun").and_then(Value::as_bool) == Some(true) {
            return Err(AwsError::new("DryRunOperation", 412, "Request would have succeeded, but DryRun flag is set."));
        }
        self.transact(|mut tx| async move { (OPERATIONS[row].handler)(Call { ec2: self, input, tx: &mut tx }).await })
            .await
    }

    fn target(&self, operation: &str, input: &Value) -> String {
        let (region, account) = (&self.0.region, self.0.iam.account());
        if operation.starts_with("Describe") {
            return "*".to_owned();
        }
        let named = TARGETS.iter().find_map(|(member, kind)| Some((kind, input.get(*member)?.as_str()?)));
        match named {
            Some((kind, id)) => format!("arn:aws:ec2:{region}:{account}:{kind}/{id}"),
            None => format!("arn:aws:ec2:{region}:{account}:*/*"),
        }
    }

    /// Runs `work` until its transaction is committed.
    pub(crate) async fn transact<T, F>(&self, work: impl Fn(Tx) -> F) -> Result<T, AwsError>
    where
        F: Future<Output = Result<T, AwsError>>,
    {
        transact(&self.0.space, work).await
    }

    /// A new id: the prefix and seventeen hexadecimal digits, which begin with a zero as EC2's do.
    pub(crate) fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}-0{}", self.0.world.random_string("0123456789abcdef", 16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(OPERATIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}

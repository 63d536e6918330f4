//! Internet gateways and route tables: they are kept and described; whether traffic flows is for the network to say.

use cloud_iam::records::Tx;
use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::cidr::Cidr;
use crate::describe::{Described, describe_page, with_ids};
use crate::error;
use crate::model::{InternetGateway, RouteTable, Tags, tags_json};
use crate::service::Call;
use crate::tags::specified;
use crate::{subnets, vpcs};

/// AWS's quota `Routes per route table` after an increase that everyone gets.
const MAX_ROUTES: usize = 1000;
/// AWS's default quota of gateways and tables per region, generous.
const MAX_THINGS: usize = 1000;

impl Described for InternetGateway {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "attachment.state" => Some(self.vpc.iter().map(|_| "available".to_owned()).collect()),
            "attachment.vpc-id" => Some(self.vpc.iter().cloned().collect()),
            "internet-gateway-id" => Some(vec![self.id.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

fn show_gateway(gateway: &InternetGateway, account: &str) -> Value {
    let attachments: Vec<Value> = gateway.vpc.iter().map(|vpc| json!({"VpcId": vpc, "State": "available"})).collect();
    json!({
        "InternetGatewayId": gateway.id, "OwnerId": account, "Attachments": attachments, "Tags": tags_json(&gateway.tags),
    })
}

async fn find_gateway(tx: &mut Tx, id: &str) -> Result<InternetGateway, AwsError> {
    tx.get::<InternetGateway>(id).await?.ok_or_else(|| error::not_found("igw", id))
}

pub(crate) async fn create_gateway(call: Call<'_>) -> Result<Value, AwsError> {
    if call.tx.list::<InternetGateway>("").await?.len() >= MAX_THINGS {
        return Err(error::client(
            "InternetGatewayLimitExceeded",
            "The maximum number of internet gateways has been reached.",
        ));
    }
    let tags = specified(call.input, "internet-gateway")?;
    let gateway = InternetGateway { id: call.ec2.new_id("igw"), vpc: None, tags };
    call.tx.put(&gateway.id, &gateway);
    Ok(json!({ "InternetGateway": show_gateway(&gateway, call.account()) }))
}

pub(crate) async fn describe_gateways(call: Call<'_>) -> Result<Value, AwsError> {
    let gateways = with_ids(call.tx.list::<InternetGateway>("").await?, &call.strings("InternetGatewayIds"), "igw")?;
    describe_page(&call, gateways, "InternetGateways", |gateway| show_gateway(&gateway, call.account()))
}

pub(crate) async fn attach(call: Call<'_>) -> Result<Value, AwsError> {
    let mut gateway = find_gateway(call.tx, &call.required("InternetGatewayId")?).await?;
    let vpc = vpcs::find(call.tx, &call.required("VpcId")?).await?;
    if let Some(other) = &gateway.vpc {
        return Err(error::client(
            "Resource.AlreadyAssociated",
            format!("resource {} is already attached to network {other}", gateway.id),
        ));
    }
    let gateways = call.tx.list::<InternetGateway>("").await?;
    if gateways.iter().any(|(_, other)| other.vpc.as_ref() == Some(&vpc.id)) {
        return Err(error::invalid(format!("Network {} already has an internet gateway attached", vpc.id)));
    }
    gateway.vpc = Some(vpc.id.clone());
    call.tx.put(&gateway.id, &gateway);
    call.tx.put(&vpc.id, &vpc);
    Ok(json!({}))
}

pub(crate) async fn detach(call: Call<'_>) -> Result<Value, AwsError> {
    let mut gateway = find_gateway(call.tx, &call.required("InternetGatewayId")?).await?;
    let vpc = call.required("VpcId")?;
    if gateway.vpc.as_ref() != Some(&vpc) {
        return Err(error::client(
            "Gateway.NotAttached",
            format!("resource {} is not attached to network {vpc}", gateway.id),
        ));
    }
    gateway.vpc = None;
    call.tx.put(&gateway.id, &gateway);
    Ok(json!({}))
}

pub(crate) async fn delete_gateway(call: Call<'_>) -> Result<Value, AwsError> {
    let gateway = find_gateway(call.tx, &call.required("InternetGatewayId")?).await?;
    if gateway.vpc.is_some() {
        return Err(error::dependency("internetGateway", &gateway.id));
    }
    call.tx.delete::<InternetGateway>(&gateway.id);
    Ok(json!({}))
}

impl Described for RouteTable {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "association.main" => Some(vec![self.main.is_some().to_string()]),
            "association.route-table-association-id" => {
                Some(self.associations.keys().chain(&self.main).cloned().collect())
            }
            "association.subnet-id" => Some(self.associations.values().cloned().collect()),
            "route-table-id" => Some(vec![self.id.clone()]),
            "route.destination-cidr-block" => Some(self.routes.keys().cloned().collect()),
            "route.gateway-id" => Some(self.routes.values().cloned().collect()),
            "vpc-id" => Some(vec![self.vpc.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

fn show_table(table: &RouteTable, account: &str) -> Value {
    let state = json!({"State": "associated"});
    let mut associations: Vec<Value> = Vec::new();
    if let Some(id) = &table.main {
        associations.push(json!({
            "Main": true, "RouteTableAssociationId": id, "RouteTableId": table.id, "AssociationState": state,
        }));
    }
    for (id, subnet) in &table.associations {
        associations.push(json!({
            "Main": false, "RouteTableAssociationId": id, "RouteTableId": table.id, "SubnetId": subnet, "AssociationState": state,
        }));
    }
    let routes: Vec<Value> = table
        .routes
        .iter()
        .map(|(cidr, target)| {
            let origin = if target == "local" { "CreateRouteTable" } else { "CreateRoute" };
            let member = if target.starts_with("nat-") { "NatGatewayId" } else { "GatewayId" };
            json!({"DestinationCidrBlock": cidr, member: target, "Origin": origin, "State": "active"})
        })
        .collect();
    json!({
        "RouteTableId": table.id, "VpcId": table.vpc, "OwnerId": account, "Associations": associations, "Routes": routes,
        "PropagatingVgws": [], "Tags": tags_json(&table.tags),
    })
}

async fn find_table(tx: &mut Tx, id: &str) -> Result<RouteTable, AwsError> {
    tx.get::<RouteTable>(id).await?.ok_or_else(|| error::not_found("rtb", id))
}

pub(crate) async fn create_table(call: Call<'_>) -> Result<Value, AwsError> {
    let vpc = vpcs::find(call.tx, &call.required("VpcId")?).await?;
    if call.tx.list::<RouteTable>("").await?.len() >= MAX_THINGS {
        return Err(error::client("RouteTableLimitExceeded", "The maximum number of route tables has been reached."));
    }
    let table = RouteTable {
        id: call.ec2.new_id("rtb"),
        vpc: vpc.id,
        routes: [(vpc.cidr.to_string(), "local".to_owned())].into(),
        associations: Default::default(),
        main: None,
        tags: specified(call.input, "route-table")?,
    };
    call.tx.put(&table.id, &table);
    Ok(json!({ "RouteTable": show_table(&table, call.account()) }))
}

pub(crate) async fn describe_tables(call: Call<'_>) -> Result<Value, AwsError> {
    let tables = with_ids(call.tx.list::<RouteTable>("").await?, &call.strings("RouteTableIds"), "rtb")?;
    describe_page(&call, tables, "RouteTables", |table| show_table(&table, call.account()))
}

pub(crate) async fn delete_table(call: Call<'_>) -> Result<Value, AwsError> {
    let table = find_table(call.tx, &call.required("RouteTableId")?).await?;
    if table.main.is_some() || !table.associations.is_empty() {
        return Err(error::dependency("routeTable", &table.id));
    }
    call.tx.delete::<RouteTable>(&table.id);
    Ok(json!({}))
}

pub(crate) async fn create_route(call: Call<'_>) -> Result<Value, AwsError> {
    let mut table = find_table(call.tx, &call.required("RouteTableId")?).await?;
    let text = call.required("DestinationCidrBlock")?;
    let cidr = Cidr::parse_lenient(&text).map_err(|_| {
        error::invalid(format!(
            "Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."
        ))
    })?;
    let Some(target) = call.text("GatewayId").map(str::to_owned) else {
        return Err(AwsError::not_supported("ec2", "CreateRoute to other targets than internet gateways"));
    };
    let gateway = find_gateway(call.tx, &target).await?;
    if gateway.vpc.as_ref() != Some(&table.vpc) {
        return Err(error::invalid(format!(
            "route table {} and network gateway {target} belong to different networks",
            table.id
        )));
    }
    match table.routes.get(&cidr.to_string()) {
        Some(old) if *old != target => {
            return Err(error::client("RouteAlreadyExists", format!("The route identified by {cidr} already exists.")));
        }
        _ => {}
    }
    table.routes.insert(cidr.to_string(), target);
    if table.routes.len() > MAX_ROUTES {
        return Err(error::client("RouteLimitExceeded", "The maximum number of routes has been reached."));
    }
    call.tx.put(&table.id, &table);
    Ok(json!({"Return": true}))
}

pub(crate) async fn delete_route(call: Call<'_>) -> Result<Value, AwsError> {
    let mut table = find_table(call.tx, &call.required("RouteTableId")?).await?;
    let cidr = call.required("DestinationCidrBlock")?;
    match table.routes.get(&cidr).map(String::as_str) {
        None => {
            let message = format!("no route with destination-cidr-block {cidr} in route table {}", table.id);
            return Err(error::client("InvalidRoute.NotFound", message));
        }
        Some("local") => {
            let message = format!("cannot remove local route {cidr} in route table {}", table.id);
            return Err(error::invalid(message));
        }
        Some(_) => table.routes.remove(&cidr),
    };
    call.tx.put(&table.id, &table);
    Ok(json!({}))
}

pub(crate) async fn associate(call: Call<'_>) -> Result<Value, AwsError> {
    let mut table = find_table(call.tx, &call.required("RouteTableId")?).await?;
    let Some(subnet) = call.text("SubnetId").map(str::to_owned) else {
        return Err(AwsError::not_supported("ec2", "AssociateRouteTable with a gateway"));
    };
    let subnet = subnets::find(call.tx, &subnet).await?;
    if subnet.vpc != table.vpc {
        let message = format!("Route table {} and subnet {} belong to different networks", table.id, subnet.id);
        return Err(error::invalid(message));
    }
    for (id, other) in call.tx.list::<RouteTable>("").await? {
        if id == table.id && other.associations.values().any(|associated| *associated == subnet.id) {
            let same = other.associations.into_iter().find(|(_, associated)| *associated == subnet.id);
            let association = same.map(|(association, _)| association).unwrap_or_default();
            return Ok(json!({"AssociationId": association, "AssociationState": {"State": "associated"}}));
        }
        if other.associations.values().any(|associated| *associated == subnet.id) {
            let message = format!(
                "the specified association for route table {} conflicts with an existing association",
                table.id
            );
            return Err(error::client("Resource.AlreadyAssociated", message));
        }
    }
    let association = call.ec2.new_id("rtbassoc");
    table.associations.insert(association.clone(), subnet.id);
    call.tx.put(&table.id, &table);
    Ok(json!({"AssociationId": association, "AssociationState": {"State": "associated"}}))
}

pub(crate) async fn disassociate(call: Call<'_>) -> Result<Value, AwsError> {
    let association = call.required("AssociationId")?;
    for (id, mut table) in call.tx.list::<RouteTable>("").await? {
        if table.associations.remove(&association).is_some() {
            call.tx.put(&id, &table);
            return Ok(json!({}));
        }
    }
    let message = format!("The association ID '{association}' does not exist");
    Err(error::client("InvalidAssociationID.NotFound", message))
}

//! What an account finds in a region: the default VPC with a subnet per zone, a way out, a route table and a security group.

use std::net::Ipv4Addr;

use cloud_wire::AwsError;

use crate::cidr::Cidr;
use crate::model::{InternetGateway, RouteTable, Subnet, Tags, Vpc};
use crate::service::Ec2;
use crate::zones::zones;
use crate::{subnets, vpcs};

impl Ec2 {
    /// Makes the default VPC, 172.31.0.0/16 with a /20 per zone, unless the region has it; returns it and its subnets.
    ///
    /// # Errors
    /// The store's.
    pub async fn bootstrap(&self) -> Result<(Vpc, Vec<Subnet>), AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            let vpcs = tx.list::<Vpc>("").await?;
            if let Some((_, vpc)) = vpcs.into_iter().find(|(_, vpc)| vpc.default) {
                let all = tx.list::<Subnet>("").await?;
                let mut own: Vec<Subnet> = all
                    .into_iter()
                    .map(|(_, subnet)| subnet)
                    .filter(|subnet| subnet.vpc == vpc.id && subnet.default)
                    .collect();
                own.sort_by(|a, b| a.zone.cmp(&b.zone));
                return Ok((vpc, own));
            }
            let cidr = Cidr::containing(Ipv4Addr::new(172, 31, 0, 0), 16);
            let vpc = vpcs::insert(self, tx, cidr, true, Tags::new());
            let gateway = InternetGateway { id: self.new_id("igw"), vpc: Some(vpc.id.clone()), tags: Tags::new() };
            tx.put(&gateway.id, &gateway);
            if let Some(mut table) = tx.get::<RouteTable>(&vpc.main_route_table).await? {
                table.routes.insert("0.0.0.0/0".to_owned(), gateway.id);
                tx.put(&table.id, &table);
            }
            let mut own = Vec::new();
            for (zone, third) in zones(self.region()).into_iter().zip([0, 16, 32]) {
                let subnet = Subnet {
                    id: self.new_id("subnet"),
                    vpc: vpc.id.clone(),
                    cidr: Cidr::containing(Ipv4Addr::new(172, 31, third, 0), 20),
                    zone: zone.name,
                    zone_id: zone.id,
                    default: true,
                    public_ips: true,
                    tags: Tags::new(),
                };
                subnets::insert(tx, &subnet);
                own.push(subnet);
            }
            Ok((vpc, own))
        })
        .await
    }
}

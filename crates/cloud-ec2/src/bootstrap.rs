//! What an account finds in a region: the default VPC with a subnet per zone, a way out, a route table and a security group.

use std::net::Ipv4Addr;

use cloud_iam::records::Record;
use cloud_wire::AwsError;
use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::model::{InternetGateway, RouteTable, Subnet, Tags, Vpc};
use crate::service::Ec2;
use crate::zones::zones;
use crate::{subnets, vpcs};

/// Name of the record of the default VPC.
const DEFAULT_VPC: &str = "default-vpc";

/// How often a part of the bootstrap was made: changes whenever it is made, so that no two make it from the same state.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bootstrap {
    times: u64,
}

impl Record for Bootstrap {
    const KIND: &'static str = "bootstrap";
}

impl Ec2 {
    /// Makes the default VPC, 172.31.0.0/16 with a /20 per zone, unless the region has it; returns it and its subnets.
    ///
    /// # Errors
    /// The store's.
    pub async fn bootstrap(&self) -> Result<(Vpc, Vec<Subnet>), AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            // Another process may be about to do the same. The list does not tell the two apart; this does.
            let begun = tx.get::<Bootstrap>(DEFAULT_VPC).await?.unwrap_or_default();
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
            tx.put(DEFAULT_VPC, &Bootstrap { times: begun.times + 1 });
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

#[cfg(test)]
mod tests {
    use super::*;
    use cloud_iam::Iam;
    use store::{Limits, Store};
    use world::World;

    /// Processes that start on one empty store at the same time: they find one default VPC, whoever made it.
    #[test]
    fn a_region_has_one_default_vpc_however_many_make_it() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        runtime.block_on(async {
            let world = World::real();
            for round in 0..50 {
                let store = Store::memory(&world, Limits::default());
                let tasks = world.tasks("processes");
                for _ in 0..4 {
                    let iam = Iam::new(&world, store.keyspace("iam/"), "111122223333");
                    let ec2 = Ec2::new(&world, store.keyspace("ec2/"), iam, "us-east-1", crate::Pace::INSTANT);
                    tasks.spawn("process", async move {
                        ec2.bootstrap().await.unwrap();
                    });
                }
                while !tasks.is_empty() {
                    world.sleep(std::time::Duration::from_millis(1)).await;
                }
                let mut tx = cloud_iam::records::Tx::new(&store.keyspace("ec2/"));
                let (vpcs, subnets) = (tx.list::<Vpc>("").await.unwrap(), tx.list::<Subnet>("").await.unwrap());
                assert_eq!((vpcs.len(), subnets.len()), (1, 3), "round {round}");
            }
        });
    }
}

//! The commands of minato. A library only so that benchmarks use the same client; what a region is stands in crate `region`.

pub mod cli;
pub mod client;
mod clusters;
mod data;
mod environment;
mod etcd;
pub mod home;
mod kubeconfig;
mod progress;
mod restore;
pub mod sign;
mod snapshot;
mod status;
mod token;
mod up;

use anyhow::{Context, Result};
use world::World;

use cli::{Cli, ClusterCommand, Command};
use client::Client;
use home::Home;

/// Runs one command.
pub async fn run(cli: Cli) -> Result<()> {
    if let Command::Version = cli.command {
        println!("minato {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let world = World::real();
    let home = Home::open(cli.home)?;
    match cli.command {
        Command::Up(arguments) => up::run(world, home, arguments).await,
        Command::Down => up::down(&world, &home).await,
        Command::Env(arguments) => {
            let region = home.running()?;
            let program = std::env::current_exe().context("finding this program")?;
            print!(
                "{}",
                environment::render(arguments.shell, &environment::variables(&home, &region), program.parent())
            );
            Ok(())
        }
        Command::Status(arguments) => status::run(&connect(world, &home)?, arguments.json).await,
        Command::Cluster { command: ClusterCommand::List } => clusters::list(&connect(world, &home)?).await,
        Command::Cluster { command: ClusterCommand::Create(arguments) } => {
            let client = connect(world.clone(), &home)?;
            clusters::create(&world, &home, &client, &arguments).await?;
            println!("kubectl now talks to cluster {}.", arguments.name);
            Ok(())
        }
        Command::Cluster { command: ClusterCommand::Delete { name } } => {
            clusters::delete(&world, &home, &connect(world.clone(), &home)?, &name).await
        }
        Command::Cluster { command: ClusterCommand::Restore(arguments) } => {
            restore::run(&world, &home, &connect(world.clone(), &home)?, &arguments).await
        }
        Command::Snapshot { command } => snapshot::run(&world, &home, command).await,
        Command::Kubeconfig(arguments) => clusters::kubeconfig(&home, &connect(world, &home)?, &arguments).await,
        Command::Token(arguments) => token::run(&world, &home, &arguments.cluster),
        Command::Version => Ok(()),
    }
}

fn connect(world: World, home: &Home) -> Result<Client> {
    Ok(Client::new(world, home.running()?))
}

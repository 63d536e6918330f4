//! The minato command: parses the command line and runs one command. What a region is stands in crate `region`.

mod cli;
mod client;
mod clusters;
mod environment;
mod home;
mod kubeconfig;
mod progress;
mod sign;
mod status;
mod token;
mod up;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use world::World;

use cli::{Cli, ClusterCommand, Command};
use client::Client;
use home::Home;

/// Thousands of small JSON values come and go each second; this allocator gives their memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("minato: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
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
        Command::Kubeconfig(arguments) => clusters::kubeconfig(&home, &connect(world, &home)?, &arguments).await,
        Command::Token(arguments) => token::run(&world, &home, &arguments.cluster),
        Command::Version => Ok(()),
    }
}

fn connect(world: World, home: &Home) -> Result<Client> {
    Ok(Client::new(world, home.running()?))
}

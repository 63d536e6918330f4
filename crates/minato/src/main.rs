//! The minato command: parses the command line and runs one command, see the library of this crate.

use std::process::ExitCode;

use clap::Parser;
use minato::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(minato::run(cli)),
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

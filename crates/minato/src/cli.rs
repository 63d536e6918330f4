//! The command line: what can be asked, and help that teaches it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const AFTER_HELP: &str = "\
First steps:
  minato up                      start the region with a first cluster of two nodes
  eval \"$(minato env)\"           point aws, kubectl, eksctl and SDKs of this shell at it
  kubectl get nodes
  kubectl create deployment web --image=nginx --replicas=3
  minato down                    stop it; everything is kept for the next `minato up`

A further cluster, the EKS way:
  aws ec2 describe-subnets --query 'Subnets[].SubnetId' --output text
  aws eks create-cluster --name second --role-arn ROLE --resources-vpc-config subnetIds=SUBNET,SUBNET
  aws eks wait cluster-active --name second
  aws eks update-kubeconfig --name second
or in one step:
  minato cluster create second --nodes 3

Back to an earlier state:
  minato snapshot save FILE      everything of the region in one file, while it runs
  minato cluster restore minato --at 10m --as before     a cluster as it was ten minutes ago, beside it

Nodes and their containers are simulated: pods are scheduled, pulled, started, probed and stopped as a
kubelet does it, but no container process runs. docs/coverage.md says what is served and what is not.";

/// An Amazon EKS that runs on your own machine: an AWS region, the control plane of every cluster, nodes and their VPC.
#[derive(Debug, Parser)]
#[command(name = "minato", version, after_help = AFTER_HELP, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// Where this Minato keeps its state, keys and kubeconfig
    #[arg(long, global = true, env = "MINATO_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the region as it was, or a new one with a first cluster, and say what to do next
    Up(Up),
    /// Stop the region: requests in flight are finished first, and its data stays for the next `up`
    Down,
    /// Print the variables that point AWS and Kubernetes tools at the region
    Env(Env),
    /// Show the region, its clusters and their nodes
    Status(Status),
    /// List, create and delete clusters through the EKS API, and bring one back to its past
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Write a cluster's entry to Minato's kubeconfig, or print it
    Kubeconfig(Kubeconfig),
    /// Print an IAM token for a cluster: the exec plugin of the kubeconfigs that Minato writes
    Token(Token),
    /// Save everything that the region knows to a file, and start a region from one
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Address of the AWS endpoint
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub address: std::net::IpAddr,
    /// Port of the AWS endpoint: the one it had before when absent, or 4566; 0 takes a free one when that is not free
    #[arg(long)]
    pub port: Option<u16>,
    /// AWS region that this is: that of the data when absent, or us-east-1
    #[arg(long)]
    pub region: Option<String>,
    /// AWS account that this is: that of the data when absent, or 111122223333
    #[arg(long)]
    pub account: Option<String>,
    /// Where the region's data is kept; `store` in Minato's own directory when absent
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep the data in memory only: everything is forgotten when the region stops
    #[arg(long, conflicts_with_all = ["data_dir", "store"])]
    pub ephemeral: bool,
    /// Keep the data in an etcd cluster: etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]
    #[arg(long, value_name = "URL", conflicts_with = "data_dir", env = "MINATO_STORE", hide_env_values = true)]
    pub store: Option<String>,
    /// Serve the store over etcd's API too, for etcdctl and others who have the certificate that `minato env` names; 0 takes a
    /// free port
    #[arg(long, value_name = "PORT")]
    pub etcd_port: Option<u16>,
    /// Record what is asked of each cluster's API server in DIR/CLUSTER.log, by the audit policy of EKS
    #[arg(long, value_name = "DIR")]
    pub audit_log: Option<PathBuf>,
    /// How long AWS's life cycles take
    #[arg(long, value_enum, default_value_t = Pace::Instant)]
    pub pace: Pace,
    /// Name of the first cluster
    #[arg(long, default_value = "minato", value_name = "NAME")]
    pub cluster: String,
    /// Nodes of the first cluster
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=450))]
    pub nodes: u32,
    /// EC2 instance type of the nodes
    #[arg(long, default_value = "m5.large", value_name = "TYPE")]
    pub instance_type: String,
    /// Kubernetes version of the first cluster; the region's default when absent
    #[arg(long, value_name = "1.NN")]
    pub kubernetes_version: Option<String>,
    /// Start the region without a cluster
    #[arg(long)]
    pub no_cluster: bool,
    /// Stay in the foreground until SIGTERM or Ctrl-C
    #[arg(long)]
    pub foreground: bool,
    /// Internal: be the region that a background `up` waits for
    #[arg(long, hide = true)]
    pub serve: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// CREATING lasts milliseconds
    Instant,
    /// CREATING lasts the minutes that it takes at AWS
    Real,
}

impl Pace {
    pub fn as_str(self) -> &'static str {
        match self {
            Pace::Instant => "instant",
            Pace::Real => "real",
        }
    }
}

#[derive(Debug, Args)]
pub struct Env {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Shell::Sh)]
    pub shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// export NAME=value, for bash, zsh and sh
    Sh,
    /// set -gx NAME value
    Fish,
    /// $Env:NAME = "value"
    Powershell,
    /// NAME=value lines, for docker --env-file and GITHUB_ENV
    Dotenv,
}

#[derive(Debug, Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// List the clusters
    List,
    /// Create a cluster with a managed node group and wait until its nodes are ready
    Create(CreateCluster),
    /// Delete a cluster with its node groups
    Delete {
        /// Name of the cluster
        name: String,
    },
    /// Bring a cluster back to how it was, as a new cluster or in place of the present one
    Restore(RestoreCluster),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["new", "replace"]))]
pub struct RestoreCluster {
    /// Name of the cluster
    pub name: String,
    /// The moment: a revision of the store, a time such as 2026-01-31T12:00:00Z, or how long ago, such as 90s, 10m, 2h
    #[arg(long, value_name = "REVISION|TIME")]
    pub at: String,
    /// Make a new cluster of this name, with node groups and keys of its own
    #[arg(long = "as", value_name = "NEW")]
    pub new: Option<String>,
    /// Replace the objects of the present cluster, whose nodes stay
    #[arg(long)]
    pub replace: bool,
}

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Save a snapshot, of the running region or else of its data
    Save(SaveSnapshot),
    /// Make the data of a region out of a snapshot, where there is none yet
    Restore(RestoreSnapshot),
    /// Check a snapshot and show what it holds
    Status(SnapshotFile),
}

#[derive(Debug, Args)]
pub struct SaveSnapshot {
    /// The file to write
    pub file: PathBuf,
    /// Read this data, of a region that does not run
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RestoreSnapshot {
    /// The snapshot
    pub file: PathBuf,
    /// The directory to make, for `minato up --data-dir`; that of a plain `minato up` when absent
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SnapshotFile {
    /// The snapshot
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CreateCluster {
    /// Name of the cluster
    pub name: String,
    /// Nodes; 0 creates no node group
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=450))]
    pub nodes: u32,
    /// EC2 instance type of the nodes
    #[arg(long, default_value = "m5.large", value_name = "TYPE")]
    pub instance_type: String,
    /// Kubernetes version; the region's default when absent
    #[arg(long, value_name = "1.NN")]
    pub kubernetes_version: Option<String>,
}

#[derive(Debug, Args)]
pub struct Kubeconfig {
    /// Name of the cluster; the first one when absent
    pub cluster: Option<String>,
    /// Print it instead of writing it
    #[arg(long)]
    pub print: bool,
}

#[derive(Debug, Args)]
pub struct Token {
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_argument_is_explained() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        fn explained(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{} of {}", argument.get_id(), command.get_name());
            }
            for below in command.get_subcommands() {
                assert!(below.get_about().is_some(), "{}", below.get_name());
                explained(below);
            }
        }
        explained(&command);
    }
}

//! `minato up` and `minato down`: starting a region, in the background unless told otherwise, and stopping it.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use region::Region;
use store::{Limits, Store};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use world::World;

use crate::cli::{CreateCluster, Up};
use crate::client::Client;
use crate::clusters;
use crate::home::{FORMAT, Home, RegionFile};
use crate::progress::Progress;

/// How long requests in flight may take once the region is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a region in the background may take to say that it serves.
const START: Duration = Duration::from_secs(30);
/// What the region in the background prints when it serves; everything before goes to its log.
const READY: &str = "minato-ready";

/// `minato up`
pub async fn run(world: World, home: Home, arguments: Up) -> Result<()> {
    if arguments.serve {
        return serve(&world, &home, &arguments, || println!("{READY}")).await;
    }
    if let Ok(running) = home.running() {
        bail!(
            "a region already runs from {} (pid {}, {}); `minato status` shows it, `minato down` stops it",
            home.path().display(),
            running.pid,
            running.endpoint
        );
    }
    if arguments.foreground {
        return foreground(world, home, arguments).await;
    }
    let mut progress = Progress::new(&world);
    progress.begin("region");
    start_in_background(&world, &home, &arguments).await?;
    let region = home.running()?;
    progress.done(&format!("region {} on {}", region.region, region.endpoint));
    first_cluster(&world, &home, &arguments, region).await
}

/// `minato down`
pub async fn down(world: &World, home: &Home) -> Result<()> {
    let region = home.running()?;
    let pid = i32::try_from(region.pid).context("the region's process id")?;
    let status = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
    if !status.context("running kill")?.success() {
        bail!("process {pid} cannot be told to stop");
    }
    let give_up = world.elapsed() + DRAIN * 2;
    while home.running().is_ok() {
        if world.elapsed() > give_up {
            bail!("process {pid} has not stopped after {} s", (DRAIN * 2).as_secs());
        }
        // The lock on the directory has no event to wait for.
        world.sleep(Duration::from_millis(10)).await;
    }
    println!("The region has stopped.");
    Ok(())
}

async fn foreground(world: World, home: Home, arguments: Up) -> Result<()> {
    let tasks = world.tasks("up");
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (world2, home2) = (world.clone(), home.clone());
    let first = arguments.clone();
    tasks.spawn("first cluster", async move {
        if is_ready.await.is_err() {
            return; // The region did not start, which its own error says.
        }
        let outcome = match home2.running() {
            Ok(region) => first_cluster(&world2, &home2, &first, region).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            eprintln!("minato: the region serves, but its first cluster failed: {error:#}");
        }
    });
    let outcome = serve(&world, &home, &arguments, move || {
        let _ = ready.send(());
    });
    let outcome = outcome.await;
    tasks.shutdown(Duration::ZERO).await;
    outcome
}

/// Is the region until SIGTERM or Ctrl-C, then drains.
async fn serve(world: &World, home: &Home, arguments: &Up, ready: impl FnOnce()) -> Result<()> {
    let Some(_lock) = home.lock()? else {
        bail!("another minato uses {}; `minato status` shows it", home.path().display());
    };
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let listener = listen(SocketAddr::new(arguments.address, arguments.port))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let store = Store::memory(world, Limits::default());
    let options = region::Options {
        world: world.clone(),
        store: store.clone(),
        listener: Some(listener),
        address: arguments.address,
        region: arguments.region.clone(),
        account: arguments.account.clone(),
        pace: match arguments.pace {
            crate::cli::Pace::Instant => region::Pace::Instant,
            crate::cli::Pace::Real => region::Pace::Real,
        },
    };
    let region = Region::start(options).await.context("starting the region")?;
    let administrator = region.administrator();
    // The region forgets its clusters when it stops, so what an earlier one wrote reaches nothing any more.
    let _ = std::fs::remove_file(home.kubeconfig());
    home.write_region(&RegionFile {
        format: FORMAT,
        pid: std::process::id(),
        endpoint,
        region: arguments.region.clone(),
        account: arguments.account.clone(),
        access_key_id: administrator.access_key_id.clone(),
        secret_access_key: administrator.secret_access_key.clone(),
        pace: arguments.pace.as_str().to_owned(),
    })?;
    ready();
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("minato: stopping");
    let aborted = region.shutdown(DRAIN).await;
    store.shutdown().await;
    if !aborted.is_empty() {
        eprintln!("minato: stopped without waiting for {}", aborted.join(", "));
    }
    home.remove_region()
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on {address}; another program (or a minato with another --home) may use the port: \
             pass --port N, or --port 0 for a free one"
        )
    })
}

async fn start_in_background(world: &World, home: &Home, arguments: &Up) -> Result<()> {
    // Appended to: two of these may start at once, and the one that loses says why.
    let log = std::fs::OpenOptions::new().create(true).append(true).open(home.log());
    let log = log.with_context(|| format!("writing {}", home.log().display()))?;
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = std::process::Command::new(program);
    command
        .arg("--home")
        .arg(home.path())
        .args(["up", "--serve", "--address", &arguments.address.to_string(), "--port", &arguments.port.to_string()])
        .args(["--region", &arguments.region, "--account", &arguments.account, "--pace", arguments.pace.as_str()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0); // A Ctrl-C in this terminal is not for the region.
    let mut child = tokio::process::Command::from(command).spawn().context("starting the region")?;
    let stdout = child.stdout.take().context("the region's output")?;
    let mut lines = BufReader::new(stdout).lines();
    let said = world.timeout(START, lines.next_line()).await;
    match said.context("the region does not start")?.context("reading the region's output")? {
        Some(line) if line == READY => Ok(()),
        _ => {
            let status = child.wait().await.context("the region's end")?;
            let log = std::fs::read_to_string(home.log()).unwrap_or_default();
            let reason = log.lines().rev().find_map(|line| line.strip_prefix("minato: ")).unwrap_or("see its log");
            bail!("{reason} ({status}; log: {})", home.log().display())
        }
    }
}

async fn first_cluster(world: &World, home: &Home, arguments: &Up, region: RegionFile) -> Result<()> {
    let client = Client::new(world.clone(), region);
    if !arguments.no_cluster {
        let request = CreateCluster {
            name: arguments.cluster.clone(),
            nodes: arguments.nodes,
            instance_type: arguments.instance_type.clone(),
            kubernetes_version: arguments.kubernetes_version.clone(),
        };
        let created = clusters::create(world, home, &client, &request).await;
        created.context("the region runs, but its first cluster could not be made; `minato cluster create` makes one, `minato down` stops the region")?;
    }
    print!("{}", next_steps(home, arguments)?);
    Ok(())
}

fn next_steps(home: &Home, arguments: &Up) -> Result<String> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut env = program.display().to_string();
    if std::env::var_os("MINATO_HOME").is_none() && !home.is_default() {
        env = format!("{env} --home {}", home.path().display());
    }
    let mut text =
        format!("\nMinato is up. Point this shell at it:\n\n    eval \"$({env} env)\"\n\nthen, for example:\n\n");
    if arguments.no_cluster {
        text.push_str("    minato cluster create first\n");
    } else {
        text.push_str("    kubectl get nodes\n    kubectl create deployment web --image=nginx --replicas=3\n");
    }
    text.push_str("    aws eks list-clusters\n\n`minato status` shows what runs, `minato down` stops it. ");
    text.push_str("Nodes are simulated, and the region forgets everything when it stops.\n");
    Ok(text)
}

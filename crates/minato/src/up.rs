//! `minato up` and `minato down`: starting a region, in the background unless told otherwise, and stopping it.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use region::{Marker, Region};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use world::World;

use crate::cli::{CreateCluster, Up};
use crate::client::Client;
use crate::clusters;
use crate::data::{self, Data};
use crate::etcd;
use crate::home::{FORMAT, Home, RegionFile};
use crate::progress::Progress;

/// How long requests in flight may take once the region is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a region in the background may take to say that it serves.
const START: Duration = Duration::from_secs(30);
/// What the region in the background prints when it serves; everything before goes to its log.
const READY: &str = "minato-ready";

/// What a new region is unless it is told otherwise.
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "111122223333";
const PORT: u16 = 4566;

/// What a region was started on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    New,
    Existing,
}

impl Start {
    /// As a region in the background says it.
    fn word(self) -> &'static str {
        match self {
            Start::New => "new",
            Start::Existing => "existing",
        }
    }

    fn of(word: &str) -> Start {
        if word == Start::Existing.word() { Start::Existing } else { Start::New }
    }
}

/// `minato up`
pub async fn run(world: World, home: Home, arguments: Up) -> Result<()> {
    if arguments.serve {
        return serve(&world, &home, &arguments, |start| println!("{READY} {}", start.word())).await;
    }
    if let Some(running) = others(&world, &home).await {
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
    let start = start_in_background(&world, &home, &arguments).await?;
    let region = home.running()?;
    progress.done(&format!("region {} on {}", region.region, region.endpoint));
    clusters_of(&world, &home, &arguments, region, start).await
}

/// The region that runs from here, if it is not about to end: a process that was killed keeps its lock until the last of its threads
/// has left the kernel, where a sync may hold it for a while.
async fn others(world: &World, home: &Home) -> Option<RegionFile> {
    let give_up = world.elapsed() + DRAIN;
    loop {
        let running = home.running().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid));
        if !stat.is_ok_and(|stat| stat.contains(") Z ")) || world.elapsed() > give_up {
            return Some(running);
        }
        // The lock on the directory has no event to wait for.
        world.sleep(Duration::from_millis(10)).await;
    }
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
    match region.data.as_str() {
        "memory" => println!("The region has stopped, and what it knew is gone."),
        data => println!("The region has stopped; `minato up` starts it again with everything, from {data}."),
    }
    Ok(())
}

async fn foreground(world: World, home: Home, arguments: Up) -> Result<()> {
    let tasks = world.tasks("up");
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (world2, home2) = (world.clone(), home.clone());
    let first = arguments.clone();
    tasks.spawn("first cluster", async move {
        let Ok(start) = is_ready.await else {
            return; // The region did not start, which its own error says.
        };
        let outcome = match home2.running() {
            Ok(region) => clusters_of(&world2, &home2, &first, region, start).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            eprintln!("minato: the region serves, but its clusters do not yet: {error:#}");
        }
    });
    let outcome = serve(&world, &home, &arguments, move |start| {
        let _ = ready.send(start);
    });
    let outcome = outcome.await;
    tasks.shutdown(Duration::ZERO).await;
    outcome
}

/// Is the region until SIGTERM or Ctrl-C, then drains.
async fn serve(world: &World, home: &Home, arguments: &Up, ready: impl FnOnce(Start)) -> Result<()> {
    let Some(_lock) = home.lock()? else {
        bail!("another minato uses {}; `minato status` shows it", home.path().display());
    };
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let data = Data::of(home, arguments)?;
    let store = data.open(world).await?;
    let marker = data::marker(&store, &data, arguments).await?;
    let known = |of: fn(&Marker) -> &String| marker.as_ref().map(of).cloned();
    let region_name =
        known(|own| &own.region).or_else(|| arguments.region.clone()).unwrap_or_else(|| REGION.to_owned());
    let account = known(|own| &own.account).or_else(|| arguments.account.clone()).unwrap_or_else(|| ACCOUNT.to_owned());
    let before = marker.as_ref().map(|own| own.port).filter(|port| *port != 0);
    let listener = listen(arguments.address, arguments.port, before)?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let options = region::Options {
        world: world.clone(),
        store: store.clone(),
        listener: Some(listener),
        address: arguments.address,
        region: region_name.clone(),
        account: account.clone(),
        pace: match arguments.pace {
            crate::cli::Pace::Instant => region::Pace::Instant,
            crate::cli::Pace::Real => region::Pace::Real,
        },
        audit_folder: arguments.audit_log.clone(),
        outside: Some(Arc::new(region::Sockets)),
    };
    let region = Region::start(options).await.context("starting the region")?;
    let administrator = region.administrator();
    let start = if marker.is_some() { Start::Existing } else { Start::New };
    if start == Start::New {
        // What a region on other data wrote reaches nothing any more.
        let _ = std::fs::remove_file(home.kubeconfig());
    }
    data.sign(home)?;
    let tasks = world.tasks("etcd");
    let etcd = match arguments.etcd_port {
        Some(port) => Some(etcd::serve(world, home, &store, SocketAddr::new(arguments.address, port), &tasks)?),
        None => None,
    };
    home.write_region(&RegionFile {
        format: FORMAT,
        pid: std::process::id(),
        endpoint,
        region: region_name,
        account,
        access_key_id: administrator.access_key_id.clone(),
        secret_access_key: administrator.secret_access_key.clone(),
        pace: arguments.pace.as_str().to_owned(),
        data: data.to_string(),
        etcd,
    })?;
    ready(start);
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        reason = data::stopped(world, &store) => {
            // Whatever it would still answer might be gone after the next start.
            region.abort();
            home.remove_region()?;
            bail!(
                "the store in {data} has stopped, and the region has ended with it: {reason}. `minato up` starts it again"
            );
        }
    }
    eprintln!("minato: stopping");
    let mut aborted = region.shutdown(DRAIN).await;
    aborted.extend(tasks.shutdown(DRAIN).await);
    if !aborted.is_empty() {
        eprintln!("minato: stopped without waiting for {}", aborted.join(", "));
    }
    store.shutdown().await;
    home.remove_region()
}

/// The port asked for, else the one it had before, else the usual one; for any port, the one before if it is free.
fn listen(address: IpAddr, asked: Option<u16>, before: Option<u16>) -> Result<TcpListener> {
    if let (Some(0), Some(before)) = (asked, before)
        && let Ok(listener) = TcpListener::bind(SocketAddr::new(address, before))
    {
        return Ok(listener);
    }
    let address = SocketAddr::new(address, asked.or(before).unwrap_or(PORT));
    TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on {address}; another program (or a minato with another --home) may use the port: \
             pass --port N, or --port 0 for a free one"
        )
    })
}

async fn start_in_background(world: &World, home: &Home, arguments: &Up) -> Result<Start> {
    // Appended to: two of these may start at once, and the one that loses says why.
    let log = std::fs::OpenOptions::new().create(true).append(true).open(home.log());
    let log = log.with_context(|| format!("writing {}", home.log().display()))?;
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = std::process::Command::new(program);
    command
        .arg("--home")
        .arg(home.path())
        .args(["up", "--serve", "--address", &arguments.address.to_string(), "--pace", arguments.pace.as_str()])
        .args(passed_on(home, arguments)?)
        // Not as an argument, which everybody on the machine can read: it may hold a password.
        .envs(arguments.store.iter().map(|url| ("MINATO_STORE", url)))
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
        Some(line) if line.starts_with(READY) => Ok(Start::of(line[READY.len()..].trim())),
        _ => {
            let status = child.wait().await.context("the region's end")?;
            let log = std::fs::read_to_string(home.log()).unwrap_or_default();
            let reason = log.lines().rev().find_map(|line| line.strip_prefix("minato: ")).unwrap_or("see its log");
            bail!("{reason} ({status}; log: {})", home.log().display())
        }
    }
}

/// The options that say which region on which data, as they were given; paths are absolute, for a process elsewhere.
fn passed_on(home: &Home, arguments: &Up) -> Result<Vec<String>> {
    let mut options = Vec::new();
    let mut option = |name: &str, value: Option<String>| {
        options.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    option("--port", arguments.port.map(|port| port.to_string()));
    option("--region", arguments.region.clone());
    option("--account", arguments.account.clone());
    option("--etcd-port", arguments.etcd_port.map(|port| port.to_string()));
    if arguments.data_dir.is_some() {
        let path = data::directory(home, arguments.data_dir.as_deref())?;
        option("--data-dir", Some(path.to_str().context("the path of --data-dir is not text")?.to_owned()));
    }
    if let Some(folder) = &arguments.audit_log {
        let path = std::path::absolute(folder).context("the path of --audit-log")?;
        option("--audit-log", Some(path.to_str().context("the path of --audit-log is not text")?.to_owned()));
    }
    options.extend(arguments.ephemeral.then(|| "--ephemeral".to_owned()));
    Ok(options)
}

/// Makes the first cluster of a new region, and waits for those of one that was there; then says what to do next.
async fn clusters_of(world: &World, home: &Home, arguments: &Up, region: RegionFile, start: Start) -> Result<()> {
    let data = region.data.clone();
    let client = Client::new(world.clone(), region);
    if start == Start::Existing {
        let found = clusters::found(world, home, &client).await;
        let found = found.context("the region runs, but its clusters cannot be reached; `minato status` shows it")?;
        match found.as_slice() {
            [] => println!("\nThe region is as it was, without a cluster."),
            [one] => println!("\nThe region is as it was, with cluster {one}."),
            several => println!("\nThe region is as it was, with clusters {}.", several.join(", ")),
        }
        print!("{}", next_steps(home, !found.is_empty(), &data)?);
        return Ok(());
    }
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
    print!("{}", next_steps(home, !arguments.no_cluster, &data)?);
    Ok(())
}

fn next_steps(home: &Home, has_cluster: bool, data: &str) -> Result<String> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut env = program.display().to_string();
    if std::env::var_os("MINATO_HOME").is_none() && !home.is_default() {
        env = format!("{env} --home {}", home.path().display());
    }
    let mut text =
        format!("\nMinato is up. Point this shell at it:\n\n    eval \"$({env} env)\"\n\nthen, for example:\n\n");
    if has_cluster {
        text.push_str("    kubectl get nodes\n    kubectl create deployment web --image=nginx --replicas=3\n");
    } else {
        text.push_str("    minato cluster create first\n");
    }
    text.push_str("    aws eks list-clusters\n\n`minato status` shows what runs, `minato down` stops it. ");
    match data {
        "memory" => text.push_str("Nodes are simulated, and the region forgets everything when it stops.\n"),
        data => text.push_str(&format!("Nodes are simulated. Everything is kept in {data}.\n")),
    }
    Ok(text)
}

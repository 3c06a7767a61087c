//! The simulator's process: PD's ports, the control port, and the cluster behind them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::api::{self, Pd};
use crate::args::Args;
use crate::control;
use crate::sim::Sim;
use crate::world::ClusterSpec;
use crate::world::members::PdProcess;

/// Poll interval for the state of each PD's process.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot listen, or cannot write its addresses.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    for number in 0..args.pds {
        listeners.push(bind(&args, pd_port(args.pd_port, number)).await?);
    }
    let control = bind(&args, args.control_port).await?;
    let addresses = listeners.iter().map(TcpListener::local_addr);
    let addresses: Vec<SocketAddr> = addresses.collect::<Result<_, _>>()?;
    let urls: Vec<String> = addresses.iter().map(|at| url(&args, *at)).collect();
    let control_url = url(&args, control.local_addr()?);
    let sim = Arc::new(Sim::new(&spec(&args, &urls)?, args.rate));

    let mut tasks = JoinSet::new();
    for (place, (listener, address)) in listeners.into_iter().zip(addresses).enumerate() {
        let pd = Pd {
            sim: sim.clone(),
            place,
        };
        tasks.spawn(serve_pd(pd, listener, address));
    }
    let router = control::router(sim.clone(), &control_url);
    tasks.spawn(async move { Ok(axum::serve(control, router).await?) });

    let ready = json!({"pds": urls, "control": control_url});
    announce(&args, &ready)?;
    until_signal(&mut tasks).await
}

/// The client port of a PD; by convention the next port is for its peers.
fn pd_port(first: u16, number: u8) -> u16 {
    if first == 0 {
        0
    } else {
        first.saturating_add(2 * u16::from(number))
    }
}

async fn bind(args: &Args, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(args.listen, port);
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}"))
}

fn url(args: &Args, address: SocketAddr) -> String {
    match &args.advertise {
        Some(host) => format!("http://{host}:{}", address.port()),
        None => format!("http://{address}"),
    }
}

fn spec(args: &Args, urls: &[String]) -> anyhow::Result<ClusterSpec> {
    Ok(ClusterSpec {
        release: args.release.parse().map_err(anyhow::Error::msg)?,
        stores: args.stores.into(),
        regions: if args.stores == 0 {
            0
        } else {
            args.regions.into()
        },
        replicas: args.replicas.into(),
        pd_urls: urls.to_vec(),
    })
}

fn announce(args: &Args, ready: &Value) -> anyhow::Result<()> {
    tracing::info!(pds = %ready["pds"], control = %ready["control"], stores = args.stores, regions = args.regions, "ready");
    let Some(path) = &args.ready_file else {
        return Ok(());
    };
    write_whole(path, &ready.to_string())
        .with_context(|| format!("cannot write the addresses into {}", path.display()))
}

/// Renames the file into place, so that readers never see a partial file.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(unfinished, path)
}

async fn until_signal(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(ended) = tasks.join_next() => ended?,
    }
}

/// Serves one PD. Its port is closed while its simulated process is dead.
async fn serve_pd(pd: Pd, listener: TcpListener, address: SocketAddr) -> anyhow::Result<()> {
    let mut listener = Some(listener);
    loop {
        let listening = match listener.take() {
            Some(listening) => listening,
            None => TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} again"))?,
        };
        let until_dead = wait_until(pd.clone(), |process| {
            matches!(process, PdProcess::Killed | PdProcess::Removed)
        });
        let server = axum::serve(listening, api::router(pd.clone()));
        tokio::select! {
            served = server.with_graceful_shutdown(until_dead) => served?,
            // Hanging requests would prevent a graceful shutdown.
            () = killed_for_a_second(pd.clone()) => {}
        }
        wait_until(pd.clone(), |process| {
            matches!(process, PdProcess::Running | PdProcess::Hung)
        })
        .await;
    }
}

async fn killed_for_a_second(pd: Pd) {
    wait_until(pd, |process| {
        matches!(process, PdProcess::Killed | PdProcess::Removed)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn wait_until(pd: Pd, condition: fn(PdProcess) -> bool) {
    loop {
        let process = pd.sim.world().members.list[pd.place].process;
        if condition(process) {
            return;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

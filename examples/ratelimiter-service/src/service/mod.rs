//! One node of the rate limiter: stateless, beside the others on one Redis.

mod api;
mod batch;
mod chaos;
mod check;
mod clock;
mod counters;
mod error;
mod ledger;
mod limit;
mod link;
mod metrics;
mod node;
mod peers;
mod policy;
mod racy;
mod refused;
mod registry;
mod rolling;
mod scan;
mod script;
mod settings;
mod store;
mod watch;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::settings::{Listen, OnRedisError, Secret, Settings};

use self::node::Node;
use self::worker::{Accepted, Management, Worker};

/// Serves until SIGTERM or SIGINT, then leaves in good order.
///
/// # Errors
/// Where the node cannot start. Once it serves, it goes on serving, Redis or not.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let wanted = settings.bind_to();
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("cannot listen on {wanted}"))?;
    let bound = listener
        .local_addr()
        .context("cannot tell the bound address")?;
    let node = Arc::new(Node::new(settings, announced_port(wanted, bound))?);
    let workers = start_workers(&node)?;
    watch::look_once(&node).await;
    announce(&node, bound).await?;

    let mut loops = JoinSet::new();
    loops.spawn(watch::beat(node.clone()));
    loops.spawn(watch::over_redis(node.clone()));
    loops.spawn(watch::sweep(node.clone()));

    let closing = accept_until_told_to_stop(listener, &workers).await?;
    loops.shutdown().await;
    watch::leave(&node).await;
    drain(
        &closing,
        Duration::from_secs(node.settings.shutdown_grace_seconds),
    )
    .await;
    stop(workers);
    Ok(())
}

/// A free port that was taken is told to the others; a fixed one may lie behind another.
fn announced_port(wanted: SocketAddr, bound: SocketAddr) -> u16 {
    if wanted.port() == 0 {
        bound.port()
    } else {
        wanted.port()
    }
}

fn start_workers(node: &Arc<Node>) -> anyhow::Result<Vec<Worker>> {
    let management = Management {
        router: api::router(node.clone()),
        runtime: Handle::current(),
    };
    let desks = node.desks.iter().enumerate();
    desks
        .map(|(index, desk)| worker::start(index, node.clone(), desk.clone(), management.clone()))
        .collect()
}

async fn announce(node: &Node, bound: SocketAddr) -> anyhow::Result<()> {
    let settings = &node.settings;
    tracing::info!(address = %bound, node = node.id(), workers = node.desks.len(), "listening");
    if settings.admin_token.is_none() && !bound.ip().is_loopback() {
        tracing::warn!("anyone who reaches this address can change limits: set an admin token");
    }
    if settings.enable_chaos {
        tracing::warn!("faults can be switched on at /api/v1/chaos");
    }
    let Some(path) = &settings.port_file else {
        return Ok(());
    };
    // Whoever waits for the file finds it whole or not at all.
    let unfinished = path.with_extension("unfinished");
    tokio::fs::write(&unfinished, bound.port().to_string()).await?;
    tokio::fs::rename(&unfinished, path)
        .await
        .with_context(|| format!("cannot write the port into {}", path.display()))
}

/// Deals the connections out to the workers in turn. Returns what ends the connections, once a signal came.
async fn accept_until_told_to_stop(
    listener: TcpListener,
    workers: &[Worker],
) -> anyhow::Result<tokio::sync::watch::Sender<bool>> {
    let (closing, _) = tokio::sync::watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut turn = workers.iter().cycle();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => return Ok(closing),
            _ = interrupt.recv() => return Ok(closing),
        };
        let handed_over = accepted.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.into_std()
        });
        match (handed_over, turn.next()) {
            (Ok(stream), Some(worker)) => {
                let closing = closing.subscribe();
                // Fails only for a worker that is gone, and the client then sees its connection closed.
                let _taken = worker.connections.send(Accepted { stream, closing });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of file handles, the next attempt would fail at once, and so on.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (_, None) => return Ok(closing),
        }
    }
}

async fn drain(closing: &tokio::sync::watch::Sender<bool>, grace: Duration) {
    closing.send_replace(true);
    if timeout(grace, closing.closed()).await.is_ok() {
        tracing::info!("stopped: every connection finished");
    } else {
        let unfinished = closing.receiver_count();
        tracing::warn!(
            unfinished,
            "stopped: connections were cut off after the grace"
        );
    }
}

fn stop(workers: Vec<Worker>) {
    for Worker {
        connections,
        thread,
    } in workers
    {
        drop(connections);
        if thread.join().is_err() {
            tracing::error!("a worker had panicked");
        }
    }
}

//! One node of the rate limiter: stateless, sharing one Redis with the other nodes.

mod allowed_counts;
mod api;
mod background;
mod batch;
mod chaos;
mod check;
mod clock;
mod counters;
mod error;
mod limit;
mod metrics;
mod node;
mod non_atomic;
mod peers;
mod policy;
mod probe;
mod reason;
mod recent;
mod redis_client;
mod refusal_cache;
mod registry;
mod scan;
mod script;
mod settings;
mod store;
mod worker;
mod working;

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

/// Serves until SIGTERM or SIGINT, then shuts down gracefully.
///
/// # Errors
/// If the node cannot start. Once it serves, it keeps serving, with or without Redis.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let wanted = settings.bind_to();
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("cannot listen on {wanted}"))?;
    let bound = listener
        .local_addr()
        .context("cannot read the bound address")?;
    let node = Arc::new(Node::new(settings, announced_port(wanted, bound))?);
    let workers = start_workers(&node)?;
    background::poll_once(&node).await;
    announce(&node, bound).await?;

    let mut tasks = JoinSet::new();
    tasks.spawn(background::heartbeat(node.clone()));
    tasks.spawn(background::poll_redis(node.clone()));
    tasks.spawn(probe::probe_idle(node.clone()));
    tasks.spawn(background::sweep(node.clone()));

    let closing = accept_until_signal(listener, &workers).await?;
    tasks.shutdown().await;
    background::deregister(&node).await;
    drain(
        &closing,
        Duration::from_secs(node.settings.shutdown_grace_seconds),
    )
    .await;
    stop(workers);
    Ok(())
}

/// A port chosen by the system is announced to the others; a configured one may be mapped to another port outside.
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
    let worker_states = node.worker_states.iter().enumerate();
    worker_states
        .map(|(index, worker_state)| {
            worker::start(
                index,
                node.clone(),
                worker_state.clone(),
                management.clone(),
            )
        })
        .collect()
}

async fn announce(node: &Node, bound: SocketAddr) -> anyhow::Result<()> {
    let settings = &node.settings;
    tracing::info!(address = %bound, node = node.id(), workers = node.worker_states.len(), "listening");
    if settings.admin_token.is_none() && !bound.ip().is_loopback() {
        tracing::warn!("anyone who can reach this address can change limits: set an admin token");
    }
    if settings.enable_chaos {
        tracing::warn!("faults can be switched on through /api/v1/chaos");
    }
    let Some(path) = &settings.port_file else {
        return Ok(());
    };
    // Renamed into place, so that readers never see a partial file.
    let unfinished = path.with_extension("unfinished");
    tokio::fs::write(&unfinished, bound.port().to_string()).await?;
    tokio::fs::rename(&unfinished, path)
        .await
        .with_context(|| format!("cannot write the port into {}", path.display()))
}

/// Distributes connections to the workers in turn. After a signal, returns the sender that closes the connections.
async fn accept_until_signal(
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
                // Fails only if the worker is gone; the client then sees its connection closed.
                let _taken = worker.connections.send(Accepted { stream, closing });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Without file descriptors the next attempt would fail immediately as well.
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
            "stopped: connections were closed after the grace period"
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
            tracing::error!("a worker panicked");
        }
    }
}

//! A worker: one thread with its own runtime, Redis connection and batches.
//!
//! No part of a check crosses from one worker to another, so workers do not wait for each other. Management calls run
//! on the main runtime, where they cannot delay checks.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

use super::batch::Batcher;
use super::check::Checker;
use super::error::ApiError;
use super::node::{Node, WorkerState};
use super::redis_client::{RedisClient, keep_connected};

/// An accepted connection, and the signal to close connections.
pub(crate) struct Accepted {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) closing: watch::Receiver<bool>,
}

/// The router for management calls, and the runtime it runs on.
#[derive(Clone)]
pub(crate) struct Management {
    pub(crate) router: Router,
    pub(crate) runtime: Handle,
}

/// A running worker. It ends when its sender is dropped.
pub(crate) struct Worker {
    pub(crate) connections: mpsc::UnboundedSender<Accepted>,
    pub(crate) thread: JoinHandle<()>,
}

struct Service {
    checker: Checker,
    management: Management,
}

pub(crate) fn start(
    index: usize,
    node: Arc<Node>,
    state: Arc<WorkerState>,
    management: Management,
) -> anyhow::Result<Worker> {
    let redis = Arc::new(RedisClient::open(
        &node.settings,
        node.chaos.clone(),
        node.metrics.clone(),
    )?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot create a worker's runtime")?;
    let (connections, accepted) = mpsc::unbounded_channel();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || runtime.block_on(work(node, state, redis, management, accepted)))
        .context("cannot start a worker's thread")?;
    Ok(Worker {
        connections,
        thread,
    })
}

async fn work(
    node: Arc<Node>,
    state: Arc<WorkerState>,
    redis: Arc<RedisClient>,
    management: Management,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
) {
    let (checks, receiver) = mpsc::unbounded_channel();
    let batcher = Arc::new(Batcher::new(node.clone(), state.clone(), redis.clone()));
    let checker = Checker {
        node,
        worker_state: state,
        checks,
    };
    let service = Arc::new(Service {
        checker,
        management,
    });
    // Both tasks end when the worker drops its runtime.
    tokio::spawn(batcher.run(receiver));
    tokio::spawn(keep_connected(redis));
    while let Some(Accepted { stream, closing }) = accepted.recv().await {
        match TcpStream::from_std(stream) {
            Ok(stream) => drop(tokio::spawn(serve(stream, service.clone(), closing))),
            Err(error) => tracing::warn!(%error, "could not register a connection"),
        }
    }
}

async fn serve(stream: TcpStream, service: Arc<Service>, mut closing: watch::Receiver<bool>) {
    let respond = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.respond(request).await) }
    });
    // Replies are small: one flat buffer is cheaper to send than a list of buffers.
    let connection = http1::Builder::new()
        .writev(false)
        .serve_connection(TokioIo::new(stream), respond);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

impl Service {
    async fn respond(&self, request: Request<Incoming>) -> Response {
        if request.uri().path() == "/check" && request.method() == Method::POST {
            return self.checker.answer(request.into_body()).await;
        }
        let Management { router, runtime } = self.management.clone();
        let request = request.map(Body::new);
        match runtime.spawn(router.oneshot(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(error) => {
                tracing::error!(%error, "a management call was cancelled or panicked");
                ApiError::unavailable("stopping", "this node is stopping").into_response()
            }
        }
    }
}

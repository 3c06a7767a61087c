//! `/api/v1/chaos`, served only with `--enable-chaos`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::extract::JsonBody;
use crate::service::chaos::Faults;
use crate::service::error::ApiError;
use crate::service::node::Node;

pub(crate) async fn show(State(node): State<Arc<Node>>) -> Json<Faults> {
    Json(node.chaos.now())
}

pub(crate) async fn set(
    State(node): State<Arc<Node>>,
    JsonBody(faults): JsonBody<Faults>,
) -> Result<Json<Faults>, ApiError> {
    let faults = faults
        .validate()
        .map_err(|message| ApiError::invalid("invalid_fault", message))?;
    tracing::warn!(?faults, "faults switched");
    node.chaos.set(faults);
    Ok(Json(faults))
}

//! Extractors for paths, bodies and query parameters. Rejections use the common error format.

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::service::check::{MAX_BODY_BYTES, check_key};
use crate::service::error::ApiError;

/// The single path parameter, percent-decoded, slashes included.
pub(crate) struct PathText(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Path(text) =
            path.map_err(|error| ApiError::invalid("invalid_path", error.body_text()))?;
        Ok(Self(text))
    }
}

/// A path parameter that is a key, or a key pattern.
pub(crate) struct PathKey(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let PathText(key) = PathText::from_request_parts(parts, state).await?;
        check_key(&key)?;
        Ok(Self(key))
    }
}

/// A JSON body, regardless of its content type.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| refuse(&error))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            ApiError::invalid("invalid_json", format!("the body is invalid: {error}"))
        })
    }
}

fn refuse(error: &BytesRejection) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::too_large(MAX_BODY_BYTES);
    }
    ApiError::invalid("invalid_body", error.body_text())
}

pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::from_request_parts(parts, state).await;
        let Query(params) =
            query.map_err(|error| ApiError::invalid("invalid_query", error.body_text()))?;
        Ok(Self(params))
    }
}

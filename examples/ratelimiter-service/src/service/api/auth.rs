//! The admin token, required for every request that changes state.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use crate::service::error::ApiError;
use crate::service::node::Node;
use crate::service::settings::Secret;

pub(crate) async fn require_token(
    State(node): State<Arc<Node>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let wanted = node.settings.admin_token.as_ref();
    if !reads && wanted.is_some_and(|token| !is_right(request.headers(), token)) {
        let message =
            "this request changes state and needs `Authorization: Bearer` with the admin token";
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            message,
        ));
    }
    Ok(next.run(request).await)
}

/// Compares in constant time.
fn is_right(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let Some((scheme, given)) = given.and_then(|given| given.split_at_checked("Bearer ".len()))
    else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.ct_eq(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        is_right(&headers, &"s3cret".parse().unwrap())
    }

    #[test]
    fn only_the_right_bearer_token_is_accepted() {
        assert!(accepts("Bearer s3cret"));
        assert!(accepts("bearer s3cret"));
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cret2",
            "Bearer ",
            "s3cret",
            "Basic s3cret",
            "",
        ] {
            assert!(!accepts(wrong), "{wrong}");
        }
        assert!(!is_right(&HeaderMap::new(), &"s3cret".parse().unwrap()));
    }
}

//! One request to several subjects at once: a slow one must not delay the others.

use operator_config::SubjectConfig;
use operator_service::{Service, ServiceError};

use super::Failure;

/// Asks every configured subject, all at the same time. The answers are in the order of the configuration.
pub(super) async fn each<T, A>(
    service: &Service,
    ask: impl Fn(Service, SubjectConfig) -> A,
) -> Vec<(String, Result<T, Failure>)>
where
    T: Send + 'static,
    A: Future<Output = Result<T, ServiceError>> + Send + 'static,
{
    let subjects = service.loaded().config.subjects.iter();
    let asked: Vec<_> = subjects
        .map(|subject| {
            let answer = tokio::spawn(ask(service.clone(), subject.clone()));
            (subject.name.clone(), answer)
        })
        .collect();
    let mut answers = Vec::new();
    for (subject, answer) in asked {
        let answer = match answer.await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(error) => Err(Failure::failed(error)),
        };
        answers.push((subject, answer));
    }
    answers
}

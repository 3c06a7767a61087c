//! The mode, the kill switch and the audit.

use operator_model::{ALL_SUBJECTS, AuditBreak, AuditEntry, AuditHead, Control, Mark, Mode};
use operator_store::{AuditFilter, Engaged};
use serde::Serialize;

use super::{Service, ServiceError};

/// Whether anything may be done to a subject, and who decided it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectMode {
    /// Name of the subject.
    pub subject: String,
    /// The mode in effect.
    pub mode: Mode,
    /// Who chose it; absent where it comes from the configuration.
    pub chosen: Option<Mark>,
}

impl Service {
    /// The kill switch and the modes that people chose.
    pub async fn control(&self) -> Result<Control, ServiceError> {
        Ok(self.reading().await?.control().await?)
    }

    /// The mode of every configured subject.
    pub async fn modes(&self) -> Result<Vec<SubjectMode>, ServiceError> {
        let control = self.control().await?;
        let subjects = self.loaded().config.subjects.iter();
        let modes = subjects.map(|subject| SubjectMode {
            subject: subject.name.clone(),
            mode: control.mode(&subject.name, subject.actions.mode),
            chosen: control.chosen(&subject.name).map(|(_, mark)| mark.clone()),
        });
        Ok(modes.collect())
    }

    /// Chooses the mode of one subject or of all; `None` leaves it to the configuration.
    pub async fn set_mode(
        &self,
        subject: Option<&str>,
        mode: Option<Mode>,
        by: &str,
        note: &str,
    ) -> Result<(), ServiceError> {
        let subject = match subject {
            Some(name) => self.subject(Some(name))?.name.as_str(),
            None => ALL_SUBJECTS,
        };
        let mark = Mark::now(by, note);
        let set = self.store().await?.set_mode(subject, mode, &mark).await?;
        set.map_err(|engaged| {
            ServiceError::Input(format!(
                "the kill switch was engaged by {} at {}; `operator kill-switch --lift` lifts it",
                engaged.by, engaged.at
            ))
        })
    }

    /// Engages the kill switch. What that did.
    pub async fn engage_kill_switch(&self, by: &str, note: &str) -> Result<Engaged, ServiceError> {
        let mark = Mark::now(by, note);
        Ok(self.store().await?.engage_kill_switch(&mark).await?)
    }

    /// Lifts the kill switch. Whether it was engaged.
    pub async fn lift_kill_switch(&self, by: &str, note: &str) -> Result<bool, ServiceError> {
        Ok(self
            .store()
            .await?
            .lift_kill_switch(&Mark::now(by, note))
            .await?)
    }

    /// Entries of the audit, in their order.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, ServiceError> {
        Ok(self.reading().await?.audit(filter).await?)
    }

    /// The entries after this number, in their order, at most one page; none at the end.
    pub async fn audit_after(&self, n: i64) -> Result<Vec<AuditEntry>, ServiceError> {
        Ok(self.reading().await?.audit_after(n).await?)
    }

    /// Follows the whole chain of the audit. Its end, or where it is broken.
    pub async fn verify_audit(&self) -> Result<Result<AuditHead, AuditBreak>, ServiceError> {
        Ok(self.reading().await?.verify_audit().await?)
    }
}

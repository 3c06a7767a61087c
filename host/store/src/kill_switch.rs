//! The kill switch: stops everything, whatever else is wrong.

use operator_model::{
    ALL_SUBJECTS, AuditEvent, Mark, Mode, ProposalId, Record,
    audit::{self as audit_event, Why},
};
use sqlx::Row;

use super::{
    Cancelled, Store, StoreError, audit, control, during, next_id, proposals, rows::json_text,
    tickets,
};

/// What engaging the kill switch did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Engaged {
    /// What was pending.
    pub cancelled: Vec<Cancelled>,
    /// What is being executed; its process stops it within a second.
    pub executing: Vec<ProposalId>,
    /// What went wrong after the switch was engaged.
    pub trouble: Vec<String>,
}

impl Store {
    /// Engages the kill switch: sets the mode of every subject to `observe` and cancels all that is pending. What is being
    /// executed is stopped by whoever executes it. Only the first of that must succeed: a defect elsewhere must not
    /// prevent that everything stops.
    pub async fn engage_kill_switch(&self, mark: &Mark) -> Result<Engaged, StoreError> {
        let mut tx = self.begin().await?;
        control::lock_gate(&mut tx).await?;
        let text = json_text(mark);
        control::run(
            &mut tx,
            "INSERT INTO kill_switch (id, mark) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
            &[&text],
        )
        .await?;
        next_id(&mut tx, "kill_switch").await?;
        control::clear_modes(&mut tx).await?;
        control::put_mode(&mut tx, ALL_SUBJECTS, Mode::Observe, mark).await?;
        let executing = proposals::executing(&mut tx).await?;
        control::commit(tx).await?;
        let mut engaged = Engaged {
            executing,
            ..Engaged::default()
        };
        match self.cancel_all(mark).await {
            Ok(cancelled) => engaged.cancelled = cancelled,
            Err(error) => engaged.trouble.push(error.to_string()),
        }
        if let Err(error) = self.record_engaged(mark, &engaged.cancelled).await {
            engaged.trouble.push(error.to_string());
        }
        Ok(engaged)
    }

    async fn cancel_all(&self, mark: &Mark) -> Result<Vec<Cancelled>, StoreError> {
        let mut tx = self.begin().await?;
        control::lock_gate(&mut tx).await?;
        let note = format!("the kill switch was engaged by {}", mark.by);
        let cancelled = proposals::cancel_pending(&mut tx, mark.at, &note).await?;
        for one in &cancelled {
            tickets::raise_revision(&mut tx, &one.subject).await?;
        }
        control::commit(tx).await?;
        Ok(cancelled)
    }

    async fn record_engaged(&self, mark: &Mark, cancelled: &[Cancelled]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        control::lock_gate(&mut tx).await?;
        let engaged = AuditEvent::KillSwitchEngaged(audit_event::Engaged {
            why: mark.note.clone(),
            cancels: cancelled.len(),
        });
        let mut records = vec![record(mark, engaged)];
        records.extend(cancelled.iter().map(|one| {
            let event = AuditEvent::Cancelled(audit_event::End::Decision(Why {
                why: "the kill switch was engaged".to_owned(),
            }));
            Record {
                subject: one.subject.clone(),
                proposal: Some(one.id),
                ticket: one.ticket,
                ..record(mark, event)
            }
        }));
        audit::append(&mut tx, mark.at, &records).await?;
        control::commit(tx).await
    }

    /// How often the kill switch was engaged.
    pub async fn engagements(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT value FROM counters WHERE name = 'kill_switch'")
            .fetch_one(&self.pool)
            .await
            .map_err(during("reading the kill switch"))?;
        row.try_get(0).map_err(during("reading the kill switch"))
    }

    /// Lifts the kill switch. The mode stays `observe` until a person chooses another. Whether it was engaged.
    pub async fn lift_kill_switch(&self, mark: &Mark) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        control::lock_gate(&mut tx).await?;
        let control = control::read(&mut tx).await?;
        if control.kill_switch.is_none() {
            return Ok(false);
        }
        control::run(&mut tx, "DELETE FROM kill_switch", &[]).await?;
        let lifted = AuditEvent::KillSwitchLifted(Why {
            why: mark.note.clone(),
        });
        audit::append(&mut tx, mark.at, &[record(mark, lifted)]).await?;
        control::commit(tx).await?;
        Ok(true)
    }
}

fn record(mark: &Mark, event: AuditEvent) -> Record {
    Record {
        actor: mark.by.clone(),
        event,
        subject: ALL_SUBJECTS.to_owned(),
        proposal: None,
        ticket: None,
    }
}

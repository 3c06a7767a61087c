//! The kill switch and the modes that people chose.

use operator_model::{ALL_SUBJECTS, Control, Mark, Mode, ProposalId, Record};
use sqlx::{Any, Row, Transaction};

use super::{
    Cancelled, Store, StoreError, audit, during, next_id, proposals,
    rows::{Reader, json_text},
    tickets,
};

/// What engaging the kill switch did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Engaged {
    /// What was pending.
    pub cancelled: Vec<Cancelled>,
    /// What runs, and is stopped within a second by whoever runs it.
    pub executing: Vec<ProposalId>,
    /// What else went wrong. The switch is engaged all the same.
    pub trouble: Vec<String>,
}

/// A gate transaction has everything that the gate reads to itself, until it commits.
pub(super) async fn lock_gate(tx: &mut Transaction<'static, Any>) -> Result<(), StoreError> {
    next_id(tx, "gate").await.map(drop)
}

pub(super) async fn read(tx: &mut Transaction<'static, Any>) -> Result<Control, StoreError> {
    let switch = sqlx::query("SELECT mark FROM kill_switch WHERE id = 1")
        .fetch_optional(&mut **tx)
        .await
        .map_err(during("reading the kill switch"))?;
    let modes = sqlx::query("SELECT subject, mode, mark FROM modes")
        .fetch_all(&mut **tx)
        .await
        .map_err(during("reading the modes"))?;
    let engagements = sqlx::query("SELECT value FROM counters WHERE name = 'kill_switch'")
        .fetch_one(&mut **tx)
        .await
        .map_err(during("reading the kill switch"))?;
    let table = "kill_switch";
    let kill_switch = switch
        .map(|row| Reader { table, row: &row }.json("mark"))
        .transpose()?;
    let modes = modes.iter().map(|row| {
        let table = "modes";
        let row = Reader { table, row };
        Ok((row.text("subject")?, (row.name("mode")?, row.json("mark")?)))
    });
    Ok(Control {
        kill_switch,
        engagements: engagements
            .try_get(0)
            .map_err(during("reading the kill switch"))?,
        modes: modes.collect::<Result<_, StoreError>>()?,
    })
}

impl Store {
    /// What people decided.
    pub async fn control(&self) -> Result<Control, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(during("reading the kill switch"))?;
        read(&mut tx).await
    }

    /// Chooses the mode of a subject, or of all; none leaves it to the configuration. Refused while the kill switch is
    /// engaged: then who engaged it is answered.
    pub async fn set_mode(
        &self,
        subject: &str,
        mode: Option<Mode>,
        mark: &Mark,
    ) -> Result<Result<(), Mark>, StoreError> {
        let mut tx = self.begin().await?;
        lock_gate(&mut tx).await?;
        let control = read(&mut tx).await?;
        if let Some(engaged) = control.kill_switch {
            return Ok(Err(engaged));
        }
        if subject == ALL_SUBJECTS {
            clear_modes(&mut tx).await?;
        } else {
            run(&mut tx, "DELETE FROM modes WHERE subject = $1", &[subject]).await?;
        }
        if let Some(mode) = mode {
            put_mode(&mut tx, subject, mode, mark).await?;
        }
        let record = Record {
            actor: mark.by.clone(),
            event: "mode",
            subject: subject.to_owned(),
            proposal: None,
            ticket: None,
            body: serde_json::json!({"mode": mode.map_or("as configured", Mode::as_str), "why": mark.note}),
        };
        audit::append(&mut tx, mark.at, &[record]).await?;
        commit(tx).await?;
        Ok(Ok(()))
    }

    /// Engages the kill switch: sets the mode of every subject to `observe` and cancels all that is pending. What is being
    /// executed is stopped by whoever executes it. Only the first of that must succeed: a defect elsewhere must not keep
    /// anybody from stopping everything.
    pub async fn engage_kill_switch(&self, mark: &Mark) -> Result<Engaged, StoreError> {
        let mut tx = self.begin().await?;
        lock_gate(&mut tx).await?;
        let text = json_text(mark);
        run(
            &mut tx,
            "INSERT INTO kill_switch (id, mark) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
            &[&text],
        )
        .await?;
        next_id(&mut tx, "kill_switch").await?;
        clear_modes(&mut tx).await?;
        put_mode(&mut tx, ALL_SUBJECTS, Mode::Observe, mark).await?;
        let executing = proposals::executing(&mut tx).await?;
        commit(tx).await?;
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
        lock_gate(&mut tx).await?;
        let note = format!("the kill switch was engaged by {}", mark.by);
        let cancelled = proposals::cancel_pending(&mut tx, mark.at, &note).await?;
        for one in &cancelled {
            tickets::raise_revision(&mut tx, &one.subject).await?;
        }
        commit(tx).await?;
        Ok(cancelled)
    }

    async fn record_engaged(&self, mark: &Mark, cancelled: &[Cancelled]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        lock_gate(&mut tx).await?;
        let record = |event, subject: &str, body| Record {
            actor: mark.by.clone(),
            event,
            subject: subject.to_owned(),
            proposal: None,
            ticket: None,
            body,
        };
        let body = serde_json::json!({"why": mark.note, "cancels": cancelled.len()});
        let mut records = vec![record("kill_switch_engaged", ALL_SUBJECTS, body)];
        records.extend(cancelled.iter().map(|one| Record {
            proposal: Some(one.id),
            ticket: one.ticket,
            ..record(
                "cancelled",
                &one.subject,
                serde_json::json!({"why": "the kill switch was engaged"}),
            )
        }));
        audit::append(&mut tx, mark.at, &records).await?;
        commit(tx).await
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
        lock_gate(&mut tx).await?;
        let control = read(&mut tx).await?;
        if control.kill_switch.is_none() {
            return Ok(false);
        }
        run(&mut tx, "DELETE FROM kill_switch", &[]).await?;
        let record = Record {
            actor: mark.by.clone(),
            event: "kill_switch_lifted",
            subject: ALL_SUBJECTS.to_owned(),
            proposal: None,
            ticket: None,
            body: serde_json::json!({"why": mark.note}),
        };
        audit::append(&mut tx, mark.at, &[record]).await?;
        commit(tx).await?;
        Ok(true)
    }
}

async fn clear_modes(tx: &mut Transaction<'static, Any>) -> Result<(), StoreError> {
    run(tx, "DELETE FROM modes", &[]).await
}

async fn put_mode(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
    mode: Mode,
    mark: &Mark,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO modes (subject, mode, mark) VALUES ($1, $2, $3)";
    run(tx, sql, &[subject, mode.as_str(), &json_text(mark)]).await
}

async fn run(
    tx: &mut Transaction<'static, Any>,
    sql: &'static str,
    values: &[&str],
) -> Result<(), StoreError> {
    let mut query = sqlx::query(sql);
    for value in values {
        query = query.bind(*value);
    }
    query
        .execute(&mut **tx)
        .await
        .map_err(during("writing what a person decided"))?;
    Ok(())
}

async fn commit(tx: Transaction<'static, Any>) -> Result<(), StoreError> {
    tx.commit()
        .await
        .map_err(during("writing what a person decided"))
}

//! What people decided while the operator runs: the modes that they chose, and whether the kill switch is engaged.

use operator_model::{ALL_SUBJECTS, AuditEvent, Control, Mark, Mode, Record, audit::ModeChosen};
use sqlx::{Any, Row, Transaction};

use super::{
    Store, StoreError, audit, during, next_id,
    rows::{Reader, json_text},
};

/// Locks all that the gate reads, until the transaction ends.
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

    /// Chooses the mode of a subject, or of all; none leaves it to the configuration. While the kill switch is engaged this
    /// is refused, and the error is who engaged it.
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
            event: AuditEvent::Mode(ModeChosen {
                mode: mode.into(),
                why: mark.note.clone(),
            }),
            subject: subject.to_owned(),
            proposal: None,
            ticket: None,
        };
        audit::append(&mut tx, mark.at, &[record]).await?;
        commit(tx).await?;
        Ok(Ok(()))
    }
}

pub(super) async fn clear_modes(tx: &mut Transaction<'static, Any>) -> Result<(), StoreError> {
    run(tx, "DELETE FROM modes", &[]).await
}

pub(super) async fn put_mode(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
    mode: Mode,
    mark: &Mark,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO modes (subject, mode, mark) VALUES ($1, $2, $3)";
    run(tx, sql, &[subject, mode.as_str(), &json_text(mark)]).await
}

pub(super) async fn run(
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

pub(super) async fn commit(tx: Transaction<'static, Any>) -> Result<(), StoreError> {
    tx.commit()
        .await
        .map_err(during("writing what a person decided"))
}

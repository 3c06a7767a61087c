//! Between rows and the model.

use operator_model::{
    EventKind, Mark, Ticket, TicketEvent, TicketId, TicketKey, TicketState, Timestamp,
};
use operator_plugin_api::Severity;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, any::AnyRow};

use super::StoreError;

pub(super) const TICKET_COLUMNS: &str = "id, subject, invariant, resource, severity, state, message, evidence, \
    first_seen, violated_since, last_seen, opened_at, holding_since, resolved_at, occurrences, acknowledged, held, \
    flapping, transitions";

/// One row of one table, read by column name.
pub(super) struct Reader<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a AnyRow,
}

impl Reader<'_> {
    fn corrupt(&self, what: impl ToString) -> StoreError {
        StoreError::Corrupt {
            table: self.table,
            what: what.to_string(),
        }
    }

    pub(super) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.row
            .try_get(column)
            .map_err(|error| self.corrupt(error))
    }

    pub(super) fn maybe_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.row
            .try_get(column)
            .map_err(|error| self.corrupt(error))
    }

    pub(super) fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.row
            .try_get(column)
            .map_err(|error| self.corrupt(error))
    }

    pub(super) fn maybe_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.row
            .try_get(column)
            .map_err(|error| self.corrupt(error))
    }

    /// A number that is not negative and fits.
    pub(super) fn count<T: TryFrom<i64, Error: ToString>>(
        &self,
        column: &str,
    ) -> Result<T, StoreError> {
        T::try_from(self.int(column)?).map_err(|error| self.corrupt(error))
    }

    pub(super) fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        self.row
            .try_get(column)
            .map_err(|error| self.corrupt(error))
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp)
    }

    pub(super) fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_int(column)?.map(Timestamp))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|error| self.corrupt(format!("{column}: {error}")))
    }

    pub(super) fn maybe_json<T: DeserializeOwned>(
        &self,
        column: &str,
    ) -> Result<Option<T>, StoreError> {
        self.maybe_text(column)?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| self.corrupt(format!("{column}: {error}")))
    }

    /// A value of an enumeration, by the name that serde knows.
    pub(super) fn name<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text = self.text(column)?;
        serde_json::from_value(serde_json::Value::String(text))
            .map_err(|error| self.corrupt(format!("{column}: {error}")))
    }
}

pub(super) fn ticket(row: &AnyRow) -> Result<Ticket, StoreError> {
    let table = "tickets";
    let row = Reader { table, row };
    Ok(Ticket {
        id: TicketId(row.int("id")?),
        subject: row.text("subject")?,
        key: TicketKey {
            invariant: row.text("invariant")?,
            resource: row.maybe_text("resource")?,
        },
        severity: row.name::<Severity>("severity")?,
        state: row.name::<TicketState>("state")?,
        message: row.text("message")?,
        evidence: row.json("evidence")?,
        first_seen: row.time("first_seen")?,
        violated_since: row.time("violated_since")?,
        last_seen: row.time("last_seen")?,
        opened_at: row.maybe_time("opened_at")?,
        holding_since: row.maybe_time("holding_since")?,
        resolved_at: row.maybe_time("resolved_at")?,
        occurrences: row.count("occurrences")?,
        acknowledged: row.maybe_json::<Mark>("acknowledged")?,
        held: row.maybe_json::<Mark>("held")?,
        flapping: row.int("flapping")? != 0,
        transitions: row.json("transitions")?,
    })
}

pub(super) fn event(row: &AnyRow) -> Result<TicketEvent, StoreError> {
    let table = "ticket_events";
    let row = Reader { table, row };
    Ok(TicketEvent {
        at: row.time("at")?,
        kind: row.name::<EventKind>("kind")?,
        actor: row.text("actor")?,
        note: row.text("note")?,
    })
}

/// The JSON text of a value of ours, which always has one.
pub(super) fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

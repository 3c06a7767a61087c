//! The ticket of a store that was lost. Only a person resolves it.

use std::time::Duration;

use operator_config::SubjectConfig;
use operator_model::{OPERATOR, TicketKey, Timestamp};
use operator_plugin_api::Severity;
use operator_store::{Store, StoreError};
use serde_json::Value;

use super::{
    Finding, Hub, Rules, STORE_LOST, Verdicts,
    ledger::Ledger,
    policies, reconcile,
    settle::{Settle, Settled},
};

/// How often the ticket is computed again when another process changes the tickets meanwhile.
const ATTEMPTS: usize = 5;

/// Opens the ticket in the store that takes the lost one's place.
pub async fn open_lost_ticket(store: &Store, hub: &Hub, message: &str) -> Result<(), StoreError> {
    let policies = policies(None, &SubjectConfig::new(OPERATOR, ""));
    let rules = Rules {
        subject: OPERATOR,
        policies: &policies,
        reopen_within: Duration::ZERO,
    };
    let finding = Finding {
        severity: Severity::Critical,
        message: message.to_owned(),
        evidence: Value::Null,
    };
    let mut verdicts = Verdicts::default();
    let key = TicketKey::new(STORE_LOST, None);
    verdicts.findings.insert(key, finding);
    for _ in 0..ATTEMPTS {
        let now = Timestamp::now();
        let mut ledger = Ledger::default();
        ledger.adopt(store.subject_state(OPERATOR, now).await?);
        let changes = reconcile(ledger.tickets(), &verdicts, rules, now);
        let settle = Settle {
            store,
            hub,
            subject: OPERATOR,
            is_readable: true,
        };
        if let Settled::Told(_, error) = settle.settle(ledger.with(&changes), None).await {
            return error.map_or(Ok(()), Err);
        }
    }
    Ok(())
}

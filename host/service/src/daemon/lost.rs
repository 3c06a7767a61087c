//! A store that is lost while the daemon runs.

use std::{collections::BTreeMap, time::Duration};

use operator_model::{Mark, OPERATOR};
use operator_monitor::{Event, Hub, SharedLedger, chain, open_lost_ticket};
use operator_store::{Loss, Remains, Store, StoreError};

/// Between two looks at the file.
const PERIOD: Duration = Duration::from_secs(1);
/// After an attempt to replace it failed.
const PAUSE: Duration = Duration::from_mins(1);

/// Waits until the store is lost, and another could take its place: until then it is better to go on without one.
pub(super) async fn lost(store: &Store, has_failed: bool) -> Loss {
    if has_failed {
        tokio::time::sleep(PAUSE).await;
    }
    let mut before = None;
    loop {
        let loss = look(store).await;
        // A file that is being replaced is gone for a moment.
        if let Some(loss) = loss.filter(|_| loss == before) {
            return loss;
        }
        before = loss;
        tokio::time::sleep(PERIOD).await;
    }
}

/// A file system that hangs must not hold up the daemon.
async fn look(store: &Store) -> Option<Loss> {
    let store = store.clone();
    let looked = move || store.loss().filter(|_| store.can_be_replaced());
    tokio::task::spawn_blocking(looked).await.ok().flatten()
}

/// The store that takes its place; the loops then write there what they know. None if there can be none, which is told.
pub(super) async fn replace(
    store: &Store,
    loss: Loss,
    ledgers: &BTreeMap<String, SharedLedger>,
    hub: &Hub,
) -> Option<Store> {
    let message = format!(
        "the database was {loss} while it was in use; the daemon goes on with another one, in which it writes the tickets that it \
         knows. The audit, approvals, modes and the history of tickets are not in it. Nothing acts until a person lifts the kill \
         switch (`operator kill-switch --lift`)"
    );
    match try_replace(store, loss, ledgers, hub, &message).await {
        Ok(store) => {
            for ledger in ledgers.values() {
                ledger.lose();
            }
            Some(store)
        }
        Err(error) => {
            let message = format!("the lost database cannot be replaced: {}", chain(&error));
            let subject = OPERATOR.to_owned();
            hub.publish(Event::Trouble { subject, message });
            None
        }
    }
}

async fn try_replace(
    store: &Store,
    loss: Loss,
    ledgers: &BTreeMap<String, SharedLedger>,
    hub: &Hub,
    message: &str,
) -> Result<Store, StoreError> {
    let last = ledgers.values().map(SharedLedger::last_ticket).max();
    let remains = Remains {
        unsettled: ledgers.values().flat_map(SharedLedger::unsettled).collect(),
        last_ticket: last.unwrap_or_default(),
    };
    let mark = Mark::now(OPERATOR, message);
    let store = store.replace(loss, &remains, &mark).await?;
    open_lost_ticket(&store, hub, message).await?;
    Ok(store)
}

//! What the tests of this crate act on: a real store, and a subject whose plugin does not exist.

use std::sync::Arc;

use operator_config::{Environment, Origins, SubjectConfig};
use operator_model::{Approval, Mark, OnFailure, Proposal, ProposalParts, Timestamp};
use operator_policy::{
    ValidPlan,
    testing::{plan, registry},
};
use operator_store::{Draft, Store};
use operator_subject::{PluginCache, SubjectContext};
use serde_json::json;
use tokio::sync::watch;

use super::context::{ActionContext, Shutdown};

/// Opens a new database in this folder. Whoever acts is called `me`.
pub(crate) async fn context(folder: &tempfile::TempDir) -> ActionContext {
    let url = format!("sqlite:{}/operator.db", folder.path().display());
    ActionContext {
        store: Store::open(&url).await.unwrap(),
        subject: SubjectConfig::new("db", "/does/not/exist"),
        around: Arc::new(SubjectContext {
            plugin_dirs: Vec::new(),
            copies: folder.path().join("plugins"),
            origins: Origins::default(),
            environment: Environment::from_iter::<[(&str, &str); 0]>([]),
            cache: PluginCache::default(),
        }),
        owner: "me".to_owned(),
        ending: watch::channel(Shutdown::None).1,
    }
}

/// Two steps, to be undone if one fails.
pub(crate) fn two_steps() -> ValidPlan {
    let mut plan = plan(&[
        ("drain", json!({"node": "a"})),
        ("drain", json!({"node": "b"})),
    ]);
    plan.on_failure = OnFailure::Compensate;
    registry().prove(&plan).unwrap()
}

/// Of these two steps, approved.
pub(crate) fn approved(plan: &ValidPlan) -> Proposal {
    let mark = Mark::now("ada", "it is slow");
    let parts = ProposalParts {
        call_key: "key".to_owned(),
        ..ProposalParts::new("db", plan.shown(), plan.risk(), mark.clone())
    };
    let mut proposal = Proposal::from(parts);
    proposal.validate().unwrap();
    let approval = Approval {
        mark,
        by_rule: false,
        expires_at: Timestamp(i64::MAX),
        digest: plan.digest(None),
        definitions: plan.definitions(),
        ticket: None,
    };
    proposal.approve(approval).unwrap();
    proposal
}

pub(crate) async fn kept(store: &Store, proposal: Proposal) -> Proposal {
    let draft = Draft {
        proposal,
        records: Vec::new(),
    };
    store.propose(draft).await.unwrap().unwrap()
}

//! Executions: the calls that were made for a proposal.

use operator_plugin_api::Outcome;
use serde::Serialize;
use serde_json::Value;

use super::{ProposalId, Timestamp};

/// One call of an action or a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Execution {
    /// Unique.
    pub id: String,
    /// The proposal that it belongs to.
    pub proposal: ProposalId,
    /// Which step of the proposal's plan, from 0.
    pub step: usize,
    /// From 1.
    pub attempt: u32,
    /// Name of the subject.
    pub subject: String,
    /// Name of the action or tool.
    pub action: String,
    /// Its parameters, without secrets.
    pub params: Value,
    /// The resources that it affects.
    pub resources: Vec<String>,
    /// Whether it is a tool of the operator, which does not affect the subject.
    pub is_tool: bool,
    /// When the intent was recorded, just before the call.
    pub begun_at: Timestamp,
    /// How it ended; absent while it runs.
    pub end: Option<ExecutionEnd>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecutionEnd {
    /// When.
    pub at: Timestamp,
    /// What is known of the effect.
    pub outcome: Outcome,
    /// One sentence.
    pub message: String,
    /// What the subject answered.
    pub details: Value,
}

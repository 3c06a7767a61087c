//! What can be done to a subject, and what a call of it would do.

use std::sync::Arc;

use operator_actions::{
    self as actions, ActionContext, Consequence, Registry, Ruling, Shutdown, ValidCall, ValidPlan,
};
use operator_config::{self as config, SubjectConfig};
use operator_model::{
    Isolation, OnFailure, Plan as WrittenPlan, PlanStep, Rule, TicketId, When, nearest,
};
use operator_plugin_api::{ActionDefinition, ActionList};
use operator_store::Store;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{Service, ServiceError};

/// What is to be done, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionRequest {
    /// One call of an action or a tool.
    Call {
        /// Its name.
        action: String,
        /// Its parameters as `key=value`.
        arguments: Vec<String>,
    },
    /// A workflow of the configuration, by its name.
    Workflow(String),
}

/// Calls that are proven to fit. May hold secrets, which it does not show.
#[derive(Debug, Clone)]
pub struct Plan(ValidPlan);

/// One call of a plan, for showing: without secrets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedCall {
    /// Name of the subject.
    pub subject: String,
    /// What is called.
    pub definition: ActionDefinition,
    /// What undoes it; absent if nothing does, or if the plugin does not have the action that its definition names.
    pub inverse: Option<ActionDefinition>,
    /// With what.
    pub params: Map<String, Value>,
    /// Whether it is a tool of the operator, which changes nothing in the subject.
    pub is_tool: bool,
}

/// What a plan would do. Nothing was done and nothing was recorded.
#[derive(Debug, Clone, Serialize)]
pub struct DryRun {
    /// The calls with what they take.
    #[serde(skip)]
    pub calls: Vec<PlannedCall>,
    /// The calls as they would be recorded.
    pub plan: WrittenPlan,
    /// What they touch.
    pub resources: Vec<String>,
    /// The answer of every rule to the first call, as if it were approved now.
    pub rules: Vec<Ruling>,
    /// The plugin's preview of each call; none where it offers none.
    pub previews: Vec<Option<String>>,
}

impl Plan {
    /// Its calls, in their order.
    pub fn calls(&self) -> Vec<PlannedCall> {
        shown(&self.0)
    }

    pub(crate) fn valid(&self) -> &ValidPlan {
        &self.0
    }

    pub(crate) fn into_valid(self) -> ValidPlan {
        self.0
    }
}

pub(crate) fn shown(plan: &ValidPlan) -> Vec<PlannedCall> {
    let shown = |call: &ValidCall| PlannedCall {
        subject: call.subject().to_owned(),
        definition: call.definition().clone(),
        inverse: call.inverse().cloned(),
        params: call.shown_params(),
        is_tool: call.is_tool(),
    };
    plan.calls().map(shown).collect()
}

impl Service {
    pub(crate) fn action_context(
        &self,
        subject: &SubjectConfig,
        store: Store,
        ending: watch::Receiver<Shutdown>,
    ) -> ActionContext {
        ActionContext {
            store,
            subject: subject.clone(),
            around: self.subject_context().clone(),
            owner: uuid::Uuid::now_v7().to_string(),
            ending,
        }
    }

    /// A context that records decisions and carries nothing out.
    pub(crate) async fn recording(
        &self,
        subject: &SubjectConfig,
    ) -> Result<ActionContext, ServiceError> {
        let (_, ending) = watch::channel(Shutdown::None);
        Ok(self.action_context(subject, self.store().await?.clone(), ending))
    }

    /// What can be done to a subject.
    pub async fn actions(&self, subject: &SubjectConfig) -> Result<ActionList, ServiceError> {
        let connected = self.connect(subject).await?;
        let actions = connected.observer.list_actions().await;
        connected.close().await;
        Ok(actions?)
    }

    pub(crate) async fn registry(&self, subject: &SubjectConfig) -> Result<Registry, ServiceError> {
        Ok(Registry::new(&subject.name, self.actions(subject).await?))
    }

    /// Proves that what is to be done fits the subject. Records nothing.
    pub async fn plan(
        &self,
        subject: &SubjectConfig,
        request: &ActionRequest,
    ) -> Result<Plan, ServiceError> {
        let registry = self.registry(subject).await?;
        Ok(Plan(
            registry.prove(&written(subject, &registry, request)?)?,
        ))
    }

    /// What it would do. Nothing is done and nothing is recorded.
    pub async fn dry_run(
        &self,
        subject: &SubjectConfig,
        request: &ActionRequest,
        ticket: Option<TicketId>,
    ) -> Result<DryRun, ServiceError> {
        let context = self.recording(subject).await?;
        // A preview is a call of the action: like that, it is made in a process.
        let in_worker = SubjectConfig {
            isolation: Isolation::Worker,
            ..subject.clone()
        };
        let plugin = Arc::new(self.open(subject).await?);
        let connected = self.prepare(&in_worker, plugin).await?;
        let answered = async {
            let list = connected.observer.list_actions().await?;
            let registry = Registry::new(&subject.name, list);
            let plan = registry.prove(&written(subject, &registry, request)?)?;
            let rules = actions::rulings(&context, &plan, ticket).await?;
            // Where nothing runs for now, a preview is still possible: it has no effect.
            let may_run = rules.iter().all(|ruling| {
                matches!(ruling.rule, Rule::Mode | Rule::KillSwitch)
                    || matches!(ruling.refuses, None | Some(Consequence::Defer))
            });
            let mut previews = Vec::new();
            for call in plan.calls() {
                // A plugin may ignore that it is a dry run: what is denied is not called.
                previews.push(if may_run {
                    context.preview(call, &connected).await?
                } else {
                    None
                });
            }
            Ok(DryRun {
                calls: shown(&plan),
                plan: plan.shown(),
                resources: plan.resources(),
                rules,
                previews,
            })
        };
        let answer = answered.await;
        connected.observer.shutdown().await;
        answer
    }
}

/// The plan as it was written, with its parameters typed by the actions' schemas.
pub(crate) fn written(
    subject: &SubjectConfig,
    registry: &Registry,
    request: &ActionRequest,
) -> Result<WrittenPlan, ServiceError> {
    match request {
        ActionRequest::Call { action, arguments } => {
            let params = match registry.find(action) {
                Some(definition) => config::arguments(&definition.params_schema, arguments)?,
                None => Map::new(),
            };
            Ok(WrittenPlan {
                name: action.clone(),
                steps: vec![PlanStep {
                    action: action.clone(),
                    params,
                    when: When::Done,
                }],
                on_failure: OnFailure::Stop,
                has_secrets: false,
            })
        }
        ActionRequest::Workflow(name) => workflow(subject, name),
    }
}

fn workflow(subject: &SubjectConfig, name: &str) -> Result<WrittenPlan, ServiceError> {
    let names = subject.workflows.keys().map(String::as_str);
    let workflow = subject.workflows.get(name).ok_or_else(|| {
        let fix = nearest(name, names)
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        ServiceError::Input(format!(
            "subject `{}` has no workflow `{name}`{fix}",
            subject.name
        ))
    })?;
    Ok(workflow.plan.clone())
}

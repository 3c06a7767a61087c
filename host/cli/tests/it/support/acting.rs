//! A subject to act on, and helpers that read what was done to it.

use serde_json::Value;

use super::{
    common::{misbehaving_subject, wait_for},
    daemon::{Site, put},
};

pub(crate) const BROKEN: &str = r#"{"violations": [{"invariant": "first", "resource": "node-1", "message": "does not answer"}]}"#;
pub(crate) const WHOLE: &str = "{}";

const WORKFLOWS: &str = r#"
[[subjects.db.workflows.twice.steps]]
action = "set_level"
params = { level = 1 }
[[subjects.db.workflows.twice.steps]]
action = "set_level"
params = { level = 2 }

[[subjects.db.workflows.careful.steps]]
action = "set_level"
params = { level = 1 }
[[subjects.db.workflows.careful.steps]]
action = "wait"
params = { for = "10ms" }
[[subjects.db.workflows.careful.steps]]
action = "observe_now"
[[subjects.db.workflows.careful.steps]]
action = "set_level"
params = { level = 2 }
when = { pointer = "/healthy", is = true }

[subjects.db.workflows.doomed]
on_failure = "compensate"
[[subjects.db.workflows.doomed.steps]]
action = "set_level"
params = { level = 1 }
[[subjects.db.workflows.doomed.steps]]
action = "set_level"
params = { level = 2 }
"#;

/// One subject called `db`, that can be broken by a file and acts by writing lines into another.
pub(crate) struct Scene {
    pub(crate) site: Site,
}

impl Scene {
    pub(crate) fn observing(rules: &str) -> Self {
        Self::new(rules, "")
    }

    pub(crate) fn executing(rules: &str) -> Self {
        Self::executing_with(rules, "")
    }

    pub(crate) fn executing_with(rules: &str, config: &str) -> Self {
        Self::new(&format!("mode = \"execute\"\n{rules}"), config)
    }

    fn new(rules: &str, config: &str) -> Self {
        let mut site = Site::new();
        let observation = site.path("observation.json");
        let (effects, fault) = (site.path("effects"), site.path("fault"));
        let lines = format!(
            "interval = \"100ms\"\ndeadlines.invoke = \"60s\"\n\
             [subjects.db.config]\nobservation_file = {observation:?}\neffects_file = {effects:?}\nfault_file = {fault:?}\n{}\n\
             [subjects.db.actions]\n{rules}\n{WORKFLOWS}",
            config.replace(", ", "\n"),
        );
        site.subject("db", misbehaving_subject(), &lines);
        Self { site }
    }

    /// Sets what the subject reports from now on.
    pub(crate) fn report(&self, report: &str) {
        put(&self.site.path("observation.json"), report);
    }

    /// Sets how the plugin is broken from now on.
    pub(crate) fn fault(&self, fault: &str) {
        put(&self.site.path("fault"), fault);
    }

    /// What was done to the subject.
    pub(crate) fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.site.path("effects")).unwrap_or_default();
        text.lines()
            .filter(|line| *line != "dropped")
            .map(str::to_owned)
            .collect()
    }

    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        self.site.ask(arguments)
    }

    #[track_caller]
    pub(crate) fn propose(&self, arguments: &[&str]) {
        self.ask(&[&["proposals", "create"], arguments].concat());
    }

    /// Runs a command that must end with this code and this error, and returns its output.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], code: i32, complaint: &str) -> String {
        let output = self.site.operator().args(arguments).output().unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {printed}{complaints}"
        );
        assert!(
            complaints.contains(complaint),
            "{arguments:?}: {complaints}"
        );
        printed
    }

    pub(crate) fn try_proposal(&self, id: i64) -> Option<Value> {
        let listed = self.ask(&["proposals", "list", "--all", "--json"]);
        let all: Vec<Value> = serde_json::from_str(&listed).unwrap();
        all.into_iter().find(|proposal| proposal["id"] == id)
    }

    #[track_caller]
    pub(crate) fn proposal(&self, id: i64) -> Value {
        self.try_proposal(id).unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, id: i64, is_it: impl Fn(&str) -> bool) -> Value {
        wait_for(&format!("proposal {id}"), || {
            let proposal = self.try_proposal(id)?;
            is_it(proposal["state"].as_str()?).then_some(proposal)
        })
    }

    #[track_caller]
    pub(crate) fn wait_for_state(&self, id: i64, state: &str) -> Value {
        let last = std::cell::RefCell::new(String::new());
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.wait_for(id, |now| {
                now.clone_into(&mut last.borrow_mut());
                now == state
            })
        }));
        found.unwrap_or_else(|_| panic!("proposal {id} is {}, not {state}", last.borrow()))
    }
}

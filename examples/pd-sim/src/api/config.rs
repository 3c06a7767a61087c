//! `/config`.

use axum::extract::State;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use super::Pd;
use super::reply::{HandlerResult, Reply};
use super::request::{Query, object};
use super::stores::limits_by_store;
use crate::go_format::Float;
use crate::world::World;
use crate::world::config::ConfigError;

/// The settings of `schedule`, completed with those stored elsewhere.
struct Schedule<'a>(&'a World);

#[derive(Serialize)]
struct SchedulerConfig<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    args: Option<()>,
    disable: bool,
    #[serde(rename = "args-payload")]
    payload: &'static str,
}

/// Scheduler names in PD's configuration, in PD's order.
const SCHEDULERS: [(&str, &str); 6] = [
    ("balance-region-scheduler", "balance-region"),
    ("balance-leader-scheduler", "balance-leader"),
    ("balance-hot-region-scheduler", "hot-region"),
    ("evict-slow-store-scheduler", "evict-slow-store"),
    ("evict-stopping-store-scheduler", "evict-stopping-store"),
    ("evict-leader-scheduler", "evict-leader"),
];

impl Serialize for Schedule<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let world = self.0;
        let mut map = to.serialize_map(None)?;
        for (key, value) in &world.config.schedule {
            match (*key, value) {
                ("halt-scheduling", value) if value == "false" => {}
                ("store-limit", _) => {
                    map.serialize_entry(key, &limits_by_store(world, false))?;
                }
                ("schedulers-v2", _) => map.serialize_entry(key, &schedulers(world))?,
                (_, Value::Number(number)) if number.is_f64() => {
                    map.serialize_entry(key, &Float(number.as_f64().unwrap_or(0.0)))?;
                }
                (_, value) => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

fn schedulers(world: &World) -> Vec<SchedulerConfig<'_>> {
    let running = SCHEDULERS
        .iter()
        .filter(|(name, _)| world.schedulers.runs(name));
    running
        .map(|(_, kind)| SchedulerConfig {
            kind,
            args: None,
            disable: false,
            payload: "",
        })
        .collect()
}

struct Replication<'a>(&'a World);

impl Serialize for Replication<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(
            self.0
                .config
                .replication
                .iter()
                .map(|(key, value)| (key, value)),
        )
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct All<'a> {
    client_urls: &'a str,
    peer_urls: &'a str,
    advertise_client_urls: &'a str,
    advertise_peer_urls: &'a str,
    name: &'a str,
    lease: u8,
    schedule: Schedule<'a>,
    replication: Replication<'a>,
    cluster_version: &'a str,
}

pub(crate) async fn all(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    let member = &world.members.list[pd.place];
    Ok(Reply::json(&All {
        client_urls: &member.client_url,
        peer_urls: &member.peer_url,
        advertise_client_urls: &member.client_url,
        advertise_peer_urls: &member.peer_url,
        name: &member.name,
        lease: 5,
        schedule: Schedule(&world),
        replication: Replication(&world),
        cluster_version: world.release.shown.trim_start_matches('v'),
    }))
}

pub(crate) async fn schedule(State(pd): State<Pd>) -> HandlerResult {
    Ok(Reply::json(&Schedule(&pd.sim.world())))
}

pub(crate) async fn replicate(State(pd): State<Pd>) -> HandlerResult {
    Ok(Reply::json(&Replication(&pd.sim.world())))
}

fn refused(refusal: ConfigError, invalid: u16) -> Reply {
    match refusal {
        ConfigError::NotFound(key) if key.contains(' ') => Reply::text(400, key),
        ConfigError::NotFound(key) => Reply::text(400, format!("config item {key} not found")),
        ConfigError::Invalid(text) => Reply::text(invalid, text),
        ConfigError::Temporary(key) => {
            Reply::text(400, format!("need to clean up TTL first for {key}"))
        }
        ConfigError::WrongType { key, is, wanted } => {
            let text = format!(
                "json: cannot unmarshal {is} into Go struct field ScheduleConfig.{key} of type {wanted}"
            );
            let data = json!({"Value": is, "Type": {}, "Struct": "ScheduleConfig", "Field": key});
            Reply::input(&text, data)
        }
    }
}

pub(crate) async fn set_schedule(State(pd): State<Pd>, body: String) -> HandlerResult {
    let input = object(&body)?;
    let mut world = pd.sim.world();
    let now = world.now;
    for (key, value) in input {
        let done = world.config.set(&key, &value, now);
        done.map_err(|refusal| refused(refusal, 500))?;
    }
    Reply::done("The config is updated.")
}

pub(crate) async fn set(State(pd): State<Pd>, query: Query, body: String) -> HandlerResult {
    let input = object(&body)?;
    let mut world = pd.sim.world();
    let now = world.now;
    let Some(text) = query.first("ttlSecond") else {
        for (key, value) in input {
            let done = world.config.set(&key, &value, now);
            done.map_err(|refusal| refused(refusal, 400))?;
        }
        return Reply::done("The config is updated.");
    };
    let refusal = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
    let seconds: i64 = text.parse().map_err(|_| Reply::text(400, refusal))?;
    for (key, value) in input {
        let done = world.config.set_for(&key, &value, seconds, now);
        done.map_err(|refusal| refused(refusal, 400))?;
    }
    Reply::done("The ttl config is updated.")
}

#[derive(Serialize)]
struct Rule {
    group_id: &'static str,
    id: &'static str,
    start_key: &'static str,
    end_key: &'static str,
    role: &'static str,
    is_witness: bool,
    count: usize,
}

pub(crate) async fn rules(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    if !world.config.is_on("enable-placement-rules", world.now) {
        let text = "[PD:placement:ErrPlacementDisabled]placement rules feature is disabled";
        return Err(Reply::text(412, text));
    }
    Ok(Reply::json(&[Rule {
        group_id: "pd",
        id: "default",
        start_key: "",
        end_key: "",
        role: "voter",
        is_witness: false,
        count: world.config.number("max-replicas", world.now),
    }]))
}

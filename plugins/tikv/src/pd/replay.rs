//! Every recorded answer of PD is understood, or refused with PD's own message.

use std::{collections::BTreeMap, fs, path::Path};

use operator_plugin_kit::Answer;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{accepted, error::PdErrorKind, operator, parse, regions::listed, wire};

#[derive(Deserialize)]
struct Samples {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(default)]
    query: String,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    raw: String,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    files
        .flat_map(|text| serde_json::from_str::<Samples>(&text).unwrap().cases)
        .collect()
}

fn answer(case: &Case) -> Answer {
    Answer {
        status: case.response.status,
        body: case.response.raw.clone().into_bytes(),
        ..Answer::default()
    }
}

fn reads<T: DeserializeOwned>(answer: &Answer) -> Result<(), String> {
    parse::<T>(answer)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Through the type that the plugin reads such an answer with; `None` where it asks for no such thing.
fn understood(case: &Case, answer: &Answer) -> Option<Result<(), String>> {
    let path = case.request.path.strip_prefix("/pd/api/v1")?;
    if case.request.method != "GET" {
        return Some(reads::<Value>(answer));
    }
    Some(match path {
        "/stores" | "/stores/check" => reads::<wire::Stores>(answer),
        "/stores/limit" => reads::<wire::StoreLimits>(answer),
        "/members" => reads::<wire::Members>(answer),
        "/health" => reads::<Vec<wire::Member>>(answer),
        "/status" => reads::<wire::ServerStatus>(answer),
        "/stats/region" => reads::<wire::RegionStats>(answer),
        "/config/schedule" => reads::<wire::ScheduleConfig>(answer),
        "/config/replicate" => reads::<wire::ReplicationConfig>(answer),
        "/hotspot/stores" => reads::<wire::HotStores>(answer),
        "/scheduler-config/evict-leader-scheduler/list" => reads::<wire::EvictLeaderConfig>(answer),
        "/schedulers" if case.request.query.contains("timestamp") => {
            reads::<Vec<wire::PausedScheduler>>(answer)
        }
        "/schedulers" => reads::<Vec<String>>(answer),
        "/operators" if !case.request.query.contains("object") => operators(answer),
        "/regions/check/hist-size" => return None,
        path if path.starts_with("/store/") => reads::<wire::StoreInfo>(answer),
        path if path.starts_with("/region/id/") => reads::<wire::Region>(answer),
        path if path.starts_with("/regions/") => {
            listed(&answer.body).map(|_| ()).ok_or("no list".into())
        }
        path if path.starts_with("/operators/") && path != "/operators/records" => {
            operator_state(answer)
        }
        _ => return None,
    })
}

fn operators(answer: &Answer) -> Result<(), String> {
    let texts: Option<Vec<String>> = parse(answer).map_err(|error| error.to_string())?;
    let all = texts
        .iter()
        .flatten()
        .all(|text| operator::parse(text).is_some_and(|one| one.timeout_ms.is_some()));
    all.then_some(())
        .ok_or("an operator is not understood".into())
}

fn operator_state(answer: &Answer) -> Result<(), String> {
    let text: String = parse(answer).map_err(|error| error.to_string())?;
    operator::state(&text).map(|_| ()).ok_or(text)
}

#[test]
fn every_recorded_answer_is_understood_or_refused_in_pds_own_words() {
    let cases = cases();
    assert!(cases.len() >= 165, "{}", cases.len());
    let mut understood_cases = 0;
    for case in &cases {
        let what = format!(
            "{} {} ({})",
            case.request.method, case.request.path, case.name
        );
        match accepted(answer(case)) {
            Ok(answer) => match understood(case, &answer) {
                Some(result) => {
                    assert_eq!(result, Ok(()), "{what}");
                    understood_cases += 1;
                }
                // Some answers are plain text, and none of them is asked for.
                None => drop(serde_json::from_slice::<Value>(&answer.body)),
            },
            Err(error) => {
                assert_ne!(error.kind, PdErrorKind::Foreign, "{what}: {error}");
                let message = case.response.raw.trim().trim_matches('"').to_owned();
                let repeated = message.is_empty()
                    || ["null", "{}"].contains(&message.as_str())
                    || case
                        .response
                        .raw
                        .replace('\\', "")
                        .replace('\n', " ")
                        .contains(&error.message);
                assert!(repeated, "{what}: {error}");
            }
        }
    }
    assert!(understood_cases > 50, "{understood_cases}");
}

#[test]
fn the_kinds_of_the_recorded_refusals_are_these() {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases() {
        if let Err(error) = accepted(answer(&case)) {
            *kinds.entry(format!("{:?}", error.kind)).or_default() += 1;
        }
    }
    let known: Vec<_> = kinds.keys().map(String::as_str).collect();
    let expected = [
        "Input",
        "LeaderSilent",
        "NoLeader",
        "NoSuchPath",
        "NotBootstrapped",
        "NotLeader",
        "RateLimited",
        "Refused",
    ];
    assert_eq!(known, expected);
    assert!(kinds["Refused"] > 40, "{kinds:?}");
}

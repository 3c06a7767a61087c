//! The program itself, on real ports.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);

struct Sim {
    child: Child,
    pds: Vec<String>,
    control: String,
    _folder: tempfile::TempDir,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pd-sim"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Looks until there is something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(args: &[&str]) -> Sim {
    let folder = tempfile::tempdir().expect("a folder");
    let ready = folder.path().join("ready.json");
    let child = program()
        .args(["--pd-port", "0", "--control-port", "0", "--ready-file"])
        .arg(&ready)
        .args(args)
        .spawn()
        .expect("the program");
    let ready = wait_for("the ready file", || read(&ready));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Sim {
        child,
        pds: ready["pds"]
            .as_array()
            .expect("a list")
            .iter()
            .map(text)
            .collect(),
        control: text(&ready["control"]),
        _folder: folder,
    }
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .build()
        .into()
}

/// Status and body; none where there is no answer.
fn get(url: &str) -> Option<(u16, String)> {
    let mut response = agent(Duration::from_secs(5)).get(url).call().ok()?;
    let body = response.body_mut().read_to_string().ok()?;
    Some((response.status().as_u16(), body))
}

impl Sim {
    fn control(&self, deed: &str) -> (u16, String) {
        let url = format!("{}/{deed}", self.control);
        let mut response = agent(Duration::from_secs(30))
            .post(&url)
            .send("")
            .expect("an answer");
        let body = response.body_mut().read_to_string().expect("a body");
        (response.status().as_u16(), body)
    }

    fn ask(&self, pd: usize, path: &str) -> Option<(u16, String)> {
        get(&format!("{}/pd/api/v1/{path}", self.pds[pd]))
    }
}

#[test]
fn every_pd_tells_of_the_same_cluster() {
    let sim = start(&["--stores", "5", "--regions", "50"]);
    let answers: Vec<_> = (0..3)
        .map(|pd| sim.ask(pd, "regions/count").unwrap())
        .collect();
    assert_eq!(
        answers[0],
        (
            200,
            "{\n  \"count\": 50,\n  \"regions\": null\n}\n".to_owned()
        )
    );
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let (_, stores) = sim.ask(1, "stores").unwrap();
    let stores: Value = serde_json::from_str(&stores).unwrap();
    assert_eq!(stores["count"], 5);
}

#[test]
fn a_killed_pd_closes_its_port_and_another_leads() {
    let sim = start(&[]);
    assert_eq!(sim.control("pds/pd0/kill").0, 200);
    wait_for("a closed port", || {
        sim.ask(0, "ping").is_none().then_some(())
    });
    // While its lease lasts, nobody is in its place.
    sim.control("clock?advance=10s");
    let leader = wait_for("another leader", || {
        let (status, body) = sim.ask(1, "leader")?;
        (status == 200).then_some(body)
    });
    assert!(leader.contains("\"pd1\""), "{leader}");
    let (_, health) = sim.ask(2, "health").unwrap();
    assert_eq!(health.matches("\"health\": true").count(), 2, "{health}");
    sim.control("pds/pd0/start");
    wait_for("an open port", || sim.ask(0, "ping"));
}

#[test]
fn a_hung_pd_takes_connections_and_says_nothing() {
    let sim = start(&[]);
    sim.control("pds/pd2/hang");
    assert_eq!(sim.ask(2, "ping"), None);
    sim.control("heal");
    assert_eq!(sim.ask(2, "ping"), Some((200, String::new())));
}

#[test]
fn without_a_quorum_only_what_is_local_is_answered() {
    let sim = start(&[]);
    sim.control("pds/pd1/kill");
    sim.control("pds/pd2/kill");
    sim.control("clock?advance=10s");
    let refusal = "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n";
    assert_eq!(sim.ask(0, "stores"), Some((503, refusal.to_owned())));
    assert_eq!(sim.ask(0, "status").unwrap().0, 200);
}

#[test]
fn prometheus_is_told_of_every_store_that_is_there() {
    let sim = start(&["--stores", "3"]);
    let (_, targets) = get(&format!("{}/prometheus/targets", sim.control)).unwrap();
    let targets: Vec<Value> = serde_json::from_str(&targets).unwrap();
    assert_eq!(targets.len(), 6);
    assert_eq!(targets[1]["labels"]["instance"], "tikv-2:20180");
    let path = targets[1]["labels"]["__metrics_path__"].as_str().unwrap();
    let url = format!("{}{path}", sim.control);
    let (status, page) = get(&url).unwrap();
    assert_eq!(status, 200);
    assert!(
        page.contains("tikv_raftstore_region_count{type=\"leader\"} 3"),
        "{page}"
    );
    sim.control("stores/2/kill");
    assert_eq!(get(&url).unwrap().0, 503);
}

#[test]
fn what_cannot_be_done_is_refused_with_what_can() {
    let sim = start(&[]);
    for (deed, status, mend) in [
        ("stores/9/kill", 404, "no store 9"),
        ("stores/1/explode", 404, "write-stall"),
        ("stores/1/fill", 400, "used=0.75"),
        ("stores/1/fill?used=7", 400, "from 0 to 1"),
        ("stores/1/decommission", 400, "NotEnough"),
        ("clock", 400, "advance=5m"),
        ("clock?advance=soon", 400, "write 5m"),
        ("clock?rate=-1", 400, "from 0"),
        ("pds/pd9/kill", 404, "no PD named pd9"),
        ("regions/lose-leader?id=99999", 404, "no such region"),
    ] {
        let (is, body) = sim.control(deed);
        assert_eq!(is, status, "{deed}: {body}");
        assert!(body.contains(mend), "{deed}: {body}");
    }
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_starts() {
    for wrong in [
        ["--stores", "1001"],
        ["--regions", "many"],
        ["--release", "6.0.0"],
        ["--rate", "-1"],
    ] {
        let status = program().args(wrong).status().unwrap();
        assert_eq!(status.code(), Some(2), "{wrong:?}");
    }
}

//! The built program on real ports.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Generous, because the machine may be busy.
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

/// Polls until `probe` returns a value.
fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "timed out: {what}");
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

/// Status and body; `None` if there is no reply.
fn get(url: &str) -> Option<(u16, String)> {
    let mut response = agent(Duration::from_secs(5)).get(url).call().ok()?;
    let body = response.body_mut().read_to_string().ok()?;
    Some((response.status().as_u16(), body))
}

impl Sim {
    fn control(&self, action: &str) -> (u16, String) {
        let url = format!("{}/{action}", self.control);
        let mut response = agent(Duration::from_secs(30))
            .post(&url)
            .send("")
            .expect("a reply");
        let body = response.body_mut().read_to_string().expect("a body");
        (response.status().as_u16(), body)
    }

    fn get(&self, pd: usize, path: &str) -> Option<(u16, String)> {
        get(&format!("{}/pd/api/v1/{path}", self.pds[pd]))
    }
}

#[test]
fn every_pd_shows_the_same_cluster() {
    let sim = start(&["--stores", "5", "--regions", "50"]);
    let replies: Vec<_> = (0..3)
        .map(|pd| sim.get(pd, "regions/count").unwrap())
        .collect();
    assert_eq!(
        replies[0],
        (
            200,
            "{\n  \"count\": 50,\n  \"regions\": null\n}\n".to_owned()
        )
    );
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    let (_, stores) = sim.get(1, "stores").unwrap();
    let stores: Value = serde_json::from_str(&stores).unwrap();
    assert_eq!(stores["count"], 5);
}

#[test]
fn a_killed_pd_closes_its_port_and_another_leads() {
    let sim = start(&[]);
    assert_eq!(sim.control("pds/pd0/kill").0, 200);
    wait_for("a closed port", || {
        sim.get(0, "ping").is_none().then_some(())
    });
    // No member replaces it before its lease expires.
    sim.control("clock?advance=10s");
    let leader = wait_for("another leader", || {
        let (status, body) = sim.get(1, "leader")?;
        (status == 200).then_some(body)
    });
    assert!(leader.contains("\"pd1\""), "{leader}");
    let (_, health) = sim.get(2, "health").unwrap();
    assert_eq!(health.matches("\"health\": true").count(), 2, "{health}");
    sim.control("pds/pd0/start");
    wait_for("an open port", || sim.get(0, "ping"));
}

#[test]
fn a_hung_pd_accepts_connections_and_never_replies() {
    let sim = start(&[]);
    sim.control("pds/pd2/hang");
    assert_eq!(sim.get(2, "ping"), None);
    sim.control("heal");
    assert_eq!(sim.get(2, "ping"), Some((200, String::new())));
}

#[test]
fn without_a_quorum_only_what_is_local_is_answered() {
    let sim = start(&[]);
    sim.control("pds/pd1/kill");
    sim.control("pds/pd2/kill");
    sim.control("clock?advance=10s");
    let refusal = "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n";
    assert_eq!(sim.get(0, "stores"), Some((503, refusal.to_owned())));
    assert_eq!(sim.get(0, "status").unwrap().0, 200);
}

#[test]
fn prometheus_discovers_every_store() {
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
fn invalid_actions_are_rejected_with_an_example() {
    let sim = start(&[]);
    for (action, status, hint) in [
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
        let (is, body) = sim.control(action);
        assert_eq!(is, status, "{action}: {body}");
        assert!(body.contains(hint), "{action}: {body}");
    }
}

#[test]
fn an_invalid_command_line_is_rejected() {
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

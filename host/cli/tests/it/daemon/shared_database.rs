//! Several operators on one `PostgreSQL`, a real one that the test starts and ends.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::support::{
    acting::{BROKEN, Scene, WHOLE},
    common::wait_for,
};

/// A server with an empty database. Its programs refuse to run as root, so then they run as the user of their package.
struct Postgres {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Postgres {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        if geteuid().is_root() {
            let owner = Command::new("chown")
                .arg("postgres")
                .arg(dir.path())
                .status();
            assert!(owner.unwrap().success());
        }
        let made = as_its_user(&bin("initdb"), dir.path())
            .args(["--auth=trust", "--username=operator", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = as_its_user(&bin("postgres"), dir.path())
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
                "-p",
                &port.to_string(),
                "-k",
            ])
            .arg(dir.path())
            .arg("-D")
            .arg(&data)
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        wait_for("PostgreSQL", || {
            let ready = Command::new(bin("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status();
            ready.unwrap().success().then_some(())
        });
        Self {
            child,
            port,
            _dir: dir,
        }
    }

    fn url(&self) -> String {
        format!("postgres://operator@127.0.0.1:{}/postgres", self.port)
    }

    fn sql(&self, statement: &str) -> String {
        let output = Command::new(bin("psql"))
            .args([
                "-At",
                "-h",
                "127.0.0.1",
                "-U",
                "operator",
                "-d",
                "postgres",
                "-p",
            ])
            .arg(self.port.to_string())
            .args(["-c", statement])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
    }
}

/// The newest of what is installed.
fn bin(program: &str) -> PathBuf {
    let versions =
        fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: `make test-servers`");
    let mut found: Vec<_> = versions
        .flatten()
        .map(|version| version.path().join("bin").join(program))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().expect("a server of PostgreSQL is installed")
}

fn as_its_user(program: &Path, dir: &Path) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(dir);
    command
}

#[test]
fn two_operators_share_tickets_proposals_and_the_audit() {
    let server = Postgres::start();
    let mut scene = Scene::executing(
        "cooldown = \"0s\"\nverify_window = \"1s\"\nmax_per_hour = 100\nmax_per_action_per_hour = 100\nblast_radius = 100",
    );
    scene.site.line(&format!("database = {:?}", server.url()));
    let mut daemons = [scene.site.start(), scene.site.start()];
    for daemon in &mut daemons {
        daemon.next_heartbeat("db");
    }

    scene.report(BROKEN);
    // One of the two opens it and prints the event.
    let ticket = wait_for("the ticket", || {
        let listed = scene.ask(&["tickets", "list", "--json"]);
        let tickets: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        Some(tickets.first()?["id"].to_string())
    });
    assert_eq!(
        server.sql("SELECT COUNT(*) FROM tickets WHERE invariant = 'first'"),
        "1"
    );
    scene.propose(&["repair", "--ticket", &ticket]);
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    scene.wait_for_state(1, "verified");
    scene.report(WHOLE);

    for level in 2..=11 {
        scene.propose(&["set_level", &format!("level={level}")]);
        scene.ask(&["proposals", "approve", &level.to_string(), "--yes"]);
    }
    for id in 2..=11 {
        scene.wait_for(id, |state| ["completed", "verified"].contains(&state));
    }
    let levels: Vec<_> = scene
        .effects()
        .into_iter()
        .filter(|line| line.starts_with("set_level"))
        .collect();
    assert_eq!(levels.len(), 10, "{levels:?}");

    assert!(scene.ask(&["audit", "verify"]).starts_with("intact: "));
    server.sql("UPDATE audit SET actor = 'eve' WHERE n = 3");
    scene.refused(&["audit", "verify"], 4, "the audit is broken: entry 3: ");
    server.sql("UPDATE audit SET actor = 'anna' WHERE n = 3");

    scene.ask(&["kill-switch", "--why", "a test"]);
    scene.refused(
        &["mode", "execute"],
        2,
        "the kill switch was engaged by anna",
    );
    assert!(
        scene
            .ask(&["tickets", "list", "--all"])
            .contains("resolved")
    );
    assert!(
        scene
            .ask(&["tickets", "show", &ticket])
            .contains("verified @1")
    );
    for daemon in daemons {
        daemon.stop();
    }
}

#[test]
fn what_is_seen_while_a_server_is_away_is_told_and_not_kept() {
    let mut server = Postgres::start();
    let mut scene = Scene::observing("");
    scene.site.line(&format!("database = {:?}", server.url()));
    scene.report(BROKEN);
    let mut daemon = scene.site.start();
    daemon.wait_for_ticket("db", "first", "opened");
    kill_process(Pid::from_child(&server.child), Signal::INT).unwrap();
    server.child.wait().unwrap();
    daemon.wait_for("trouble", |event| event["event"] == "trouble");
    scene.report(WHOLE);
    let resolved = daemon.wait_for("the end of the fault", |event| {
        event["event"] == "ticket" && event["kind"] == "resolved"
    });
    assert_eq!(resolved["ticket"]["invariant"], "first");
    assert_eq!(resolved["kept"], false);
    daemon.kill();
}

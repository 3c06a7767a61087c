//! The password of a database is never printed, whatever form its address has.

use std::{fs, process::Command};

use crate::support::{
    command::{operator, text},
    daemon::Site,
};

/// In every address, in one form or another.
const PASSWORD: &str = "hunter2canary";

/// Addresses that are refused at once, or that nothing answers.
fn addresses() -> [String; 20] {
    [
        format!("postgres://ada:{PASSWORD}@127.0.0.1:1/db"),
        format!("postgresql://ada:{PASSWORD}@127.0.0.1:1/db?sslmode=require"),
        format!("postgres://ada:x@y:{PASSWORD}@127.0.0.1:1/db"),
        format!("postgres://ada:{PASSWORD}%40@127.0.0.1:1/db"),
        format!("postgres://127.0.0.1:1/db?password={PASSWORD}"),
        format!("postgres://127.0.0.1:1/db?sslpassword={PASSWORD}"),
        format!("postgres://127.0.0.1:1/db?passwd={PASSWORD}&sslmode=disable"),
        format!("postgres://127.0.0.1:1/db?options=-c%20a.b%3D{PASSWORD}"),
        format!("postgres:///db?host=/does/not/exist&password={PASSWORD}"),
        format!("postgres://ada:1/{PASSWORD}@127.0.0.1:1/db"),
        format!("postgres://ada:{PASSWORD}"),
        format!("POSTGRES://ada:{PASSWORD}@127.0.0.1:1/db"),
        format!("ada:{PASSWORD}@127.0.0.1:1/db"),
        format!("host=127.0.0.1 password={PASSWORD}"),
        format!("sqlite:postgres://ada:{PASSWORD}@127.0.0.1:1/db"),
        format!("postgres://127.0.0.1:1/db?sslmode={PASSWORD}"),
        format!("postgres://127.0.0.1:1/db?sslmode=require%26password%3D{PASSWORD}"),
        format!("postgres://127.0.0.1:1/{PASSWORD}@x"),
        format!("sqlite://ada:{PASSWORD}@host/db"),
        format!("sqlite:x.db?password={PASSWORD}"),
    ]
}

fn is_clean(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    prints_cleanly(operator(), arguments, environment)
}

fn prints_cleanly(
    mut command: Command,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> String {
    let output = command
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the operator runs");
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(
        !printed.contains(PASSWORD),
        "{arguments:?} with {environment:?} prints:\n{printed}"
    );
    printed
}

#[test]
fn no_command_prints_the_password_of_a_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().to_str().expect("a path in UTF-8");
    for address in addresses() {
        let environment = [("OPERATOR_DATABASE", address.as_str())];
        for command in [
            &["tickets", "list"][..],
            &["config", "show"],
            &["config", "show", "--json"],
            &["config", "check"],
            &["audit", "verify"],
            &["kill-switch"],
        ] {
            let printed = is_clean(&[command, &["--state-dir", state]].concat(), &environment);
            assert!(!printed.is_empty(), "{command:?} of {address}");
        }
    }
}

/// With a subject, so that the database is opened.
#[test]
fn no_log_contains_the_password_of_a_database() {
    let mut site = Site::new();
    site.honest("db", "");
    let secrets = site.path("pgpass");
    fs::write(&secrets, format!("127.0.0.1:1:db:ada{PASSWORD}\n")).expect("a file of passwords");
    set_private(&secrets);
    let secrets = secrets.to_str().expect("a path in UTF-8");
    let keyless = "postgres://ada@127.0.0.1:1/db".to_owned();
    for address in addresses().into_iter().chain([keyless]) {
        let environment = [
            ("OPERATOR_DATABASE", address.as_str()),
            ("PGPASSFILE", secrets),
        ];
        for level in ["trace", "info", "trace,sqlx_postgres=trace"] {
            let arguments = ["run", "--log-level", level];
            let printed = prints_cleanly(site.operator(), &arguments, &environment);
            let complaint = if address.starts_with("postgres") {
                "opening the database postgres"
            } else if address.starts_with("sqlite:") {
                "is not a database to keep state in"
            } else {
                "OPERATOR_DATABASE"
            };
            assert!(printed.contains(complaint), "{address}: {printed}");
        }
    }
}

#[test]
fn a_refused_address_of_a_file_creates_nothing() {
    let site = Site::new();
    for address in ["sqlite://ada:pass@host/db", "sqlite:///x.db?password=pass"] {
        let environment = [("OPERATOR_DATABASE", address)];
        let printed = prints_cleanly(site.operator(), &["tickets", "list"], &environment);
        assert!(printed.contains("`sqlite:***`"), "{printed}");
        assert!(printed.contains("write the path"), "{printed}");
    }
    assert!(!site.path("ada:pass@host").exists());
}

/// An error number stays one, though the address has parts that are found in it.
#[test]
fn what_is_masked_leaves_the_cause_readable() {
    let site = Site::new();
    let environment = [("OPERATOR_DATABASE", "postgres://127.0.0.1:1/hunter2@x")];
    let printed = prints_cleanly(site.operator(), &["tickets", "list"], &environment);
    assert!(printed.contains("(os error 111)"), "{printed}");
}

fn set_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("permissions");
}

#[test]
fn a_setting_that_cannot_be_read_is_not_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("operator.toml");
    for line in [
        format!("database = \"postgres://ada:{PASSWORD}@host/db"),
        format!("database = postgres://ada:{PASSWORD}@host/db"),
        format!("database = [\"postgres://ada:{PASSWORD}@host/db\"]"),
        format!("database = \"ada:{PASSWORD}@host/db\""),
        format!("databse = \"postgres://ada:{PASSWORD}@host/db\""),
        format!("database.url = \"postgres://ada:{PASSWORD}@host/db\""),
    ] {
        fs::write(&file, format!("{line}\n")).expect("a file");
        let file = file.to_str().expect("a path in UTF-8");
        let printed = is_clean(&["config", "check", "--config", file], &[]);
        assert!(printed.contains("operator.toml"), "{line}: {printed}");
    }
}

use proptest::prelude::*;

use super::*;

/// Addresses, and what is shown of them.
const SHOWN: [(&str, &str); 44] = [
    ("sqlite:/x/operator.db", "sqlite:/x/operator.db"),
    ("sqlite:/home/a@b/c:d.db", "sqlite:/home/a@b/c:d.db"),
    ("sqlite:postgres://me:hunter2@host/db", "sqlite:***"),
    ("sqlite:///home/a@b/c.db", "sqlite:///home/a@b/c.db"),
    ("sqlite://state/x.db", "sqlite://state/x.db"),
    ("sqlite://me:hunter2@host/db", "sqlite:***"),
    ("sqlite://hunter2@host/db", "sqlite:***"),
    ("sqlite://me:hun/ter2@host/db", "sqlite:***"),
    ("sqlite://me:hunter2", "sqlite:***"),
    ("sqlite:////me:hunter2@host/db", "sqlite:***"),
    ("sqlite:x.db?password=hunter2", "sqlite:***"),
    ("sqlite:///x.db?key=hunter2", "sqlite:***"),
    (
        "postgres://host/db?sslmode=hunter2",
        "postgres://host/db?***",
    ),
    ("postgres://host/db", "postgres://host/db"),
    ("postgres://me@host/db", "postgres://me@host/db"),
    ("postgres://me@host:5432/db", "postgres://me@host:5432/db"),
    ("postgres://me:hunter2@host/db", "postgres://me:***@host/db"),
    (
        "postgres://me:hunter2@h1:1,h2:2/db",
        "postgres://me:***@h1:1,h2:2/db",
    ),
    (
        "postgres://me:hunter2@[::1]:5432/db",
        "postgres://me:***@[::1]:5432/db",
    ),
    ("postgres://me:a@b:c@host/db", "postgres://me:***@host/db"),
    ("postgres://me:x@host", "postgres://me:***@host"),
    ("postgres://:hunter2@host/db", "postgres://:***@host/db"),
    (
        "postgres://me:hun%20ter%402@host/db",
        "postgres://me:***@host/db",
    ),
    ("POSTGRES://me:hunter2@host/db", "POSTGRES://me:***@host/db"),
    ("postgres://host/db?password=x", "postgres://host/db?***"),
    (
        "postgres://host/db?sslmode=require&password=hunter2",
        "postgres://host/db?***",
    ),
    (
        "postgres://host/db?sslpassword=hunter2",
        "postgres://host/db?***",
    ),
    (
        "postgres://host/db?options=-c%20a.b%3Dhunter2",
        "postgres://host/db?***",
    ),
    ("postgres://host?password=hunter2", "postgres://host?***"),
    (
        "postgres:///db?host=/var/run/pg&password=hunter2",
        "postgres:///db?***",
    ),
    (
        "postgres://%2Fvar%2Frun/db?password=hunter2",
        "postgres://%2Fvar%2Frun/db?***",
    ),
    ("postgres://host/db?password=a@b", "postgres://***"),
    ("postgres://me:hun/ter@host/db", "postgres://***"),
    ("postgres://me:hun?ter@host/db", "postgres://***"),
    ("postgres://me:hun#ter@host/db", "postgres://***"),
    ("postgres://me:hunter2", "postgres://***"),
    ("postgres://host/db;password=hunter2", "postgres://host/***"),
    ("postgres://host=h password=hunter2", "postgres://***"),
    ("postgres:me:hunter2@host/db", "***"),
    ("me:hunter2@host/db", "***"),
    ("host=h user=me password=hunter2", "***"),
    ("me://hunter2@host/db", "***"),
    ("hunter2", "***"),
    ("", "***"),
];

#[test]
fn an_address_is_shown_without_its_passwords() {
    for (address, shown) in SHOWN {
        assert_eq!(shown_database(address), shown, "{address}");
    }
}

#[test]
fn what_an_error_repeats_of_a_password_is_masked() {
    for (address, message, masked) in [
        (
            "postgres://me:hunter2@host/db",
            "invalid address postgres://me:hunter2@host/db",
            "invalid address postgres://me:***@host/db",
        ),
        (
            "postgres://me:hun%20ter%402@host/db",
            "no such password: \"hun ter@2\" or hun%20ter%402",
            "no such password: \"***\" or ***",
        ),
        (
            "postgres://host/db?password=hunter2",
            "the parameter password=hunter2",
            "the parameter password=***",
        ),
        (
            "postgres://host/db?sslpassword=say+%22so%22",
            r#"bad: "say \"so\"""#,
            r#"bad: "***""#,
        ),
        // Misread: the host is `me`, and the database all that follows the slash.
        (
            "postgres://me:12/w@host/db",
            r#"database "w@host/db" does not exist"#,
            r#"database "***@host/db" does not exist"#,
        ),
        (
            "postgres://me:x@host/db",
            "x: maximum exceeded (x)",
            "***: maximum exceeded (***)",
        ),
        (
            "postgres://host/db?options=-c%20a.b%3Dhunter2",
            r#"invalid value for parameter "a.b": "hunter2""#,
            r#"invalid value for parameter "***": "***""#,
        ),
        (
            "postgres://me@host:5432/db?sslmode=require",
            "host:5432 does not support TLS, which sslmode=require needs",
            "host:5432 does not support TLS, which sslmode=require needs",
        ),
        (
            "me://hunter2@host/db",
            "me://hunter2@host/db: //hunter2",
            "me:***@host/db: ***",
        ),
        (
            "host=h password=://hunter2",
            "password=://hunter2",
            "***=***",
        ),
        (
            "postgres://host/db?sslmode=require%26password%3Dhunter2",
            r#"unknown value "require&password=hunter2" for `ssl_mode`"#,
            r#"unknown value "***" for `ssl_mode`"#,
        ),
        (
            "postgres://host/db?sslmode=hunter2&port=5432",
            r#"unknown value "hunter2" for port 5432"#,
            r#"unknown value "***" for port 5432"#,
        ),
        (
            "postgres://host/db?hostaddr=hunter2&port=hunter3&user=hunter4&sslrootcert=/hunter5",
            "hunter2, hunter3, hunter4 and /hunter5",
            "***, ***, *** and ***",
        ),
        (
            "postgres://127.0.0.1:1/hunter2@x",
            "Connection refused (os error 111): 1/hunter2, hunter2, 1",
            "Connection refused (os error 111): ***, ***, ***",
        ),
        (
            "postgres://127.0.0.1:5432/data@x",
            "database error 54321 of 5432",
            "database error 54321 of ***",
        ),
        (
            "sqlite:/home/a@b/c:d.db",
            "cannot open /home/a@b/c:d.db",
            "cannot open /home/a@b/c:d.db",
        ),
    ] {
        assert_eq!(
            DatabaseSecrets::of(address).mask(message),
            masked,
            "{address}"
        );
    }
}

/// Addresses with a password in every place where one can be, written raw and encoded.
fn addresses(password: &str) -> Vec<String> {
    let encoded = utf8_percent_encode(password, NON_ALPHANUMERIC).to_string();
    let in_all_places = |password: &str| {
        [
            format!("postgres://me:{password}@host/db"),
            format!("postgresql://me:{password}@host:5432/db?sslmode=require"),
            format!("postgres://host/db?password={password}"),
            format!("postgres://host/db?sslpassword={password}&sslmode=require"),
            format!("postgres://host/db?options={password}"),
            format!("postgres:///db?host=/run/pg&password={password}"),
            format!("POSTGRES://me:{password}@host"),
            format!("me:{password}@host/db"),
            format!("host=h password={password}"),
            format!("password='{password}' host=h"),
        ]
    };
    let mut addresses = in_all_places(password).to_vec();
    addresses.extend(in_all_places(&encoded));
    addresses
}

proptest! {
    #[test]
    fn no_password_is_shown(password in "[ -~äß]{4,16}") {
        for address in addresses(&password) {
            let innocent = ["postgresql://me:***@host:5432/db?***", "POSTGRES"];
            prop_assume!(!innocent.iter().any(|text| text.contains(&password)));
            let shown = shown_database(&address);
            prop_assert!(!shown.contains(&password), "{address} is shown as {shown}");
        }
    }

    #[test]
    fn no_password_is_repeated(password in "[ -~äß]{4,16}") {
        prop_assume!(!password.chars().all(|c| SEPARATORS.contains(&c) || c == '*'));
        for address in addresses(&password) {
            let secrets = DatabaseSecrets::of(&address);
            let masked = secrets.mask(&format!("(((({address})))) or (((({password}))))"));
            prop_assert!(!masked.contains(&password), "{address} is repeated as {masked}");
        }
    }
}

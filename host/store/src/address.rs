//! Addresses of `PostgreSQL` databases, as they are given to the driver.

/// Parameters that the driver knows. It logs any other together with its value.
const KNOWN: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The address without the parameters that the driver does not know. That there are any is a warning, without their names: what
/// has no `=` may be the rest of a password.
pub(super) fn for_driver(address: &str) -> String {
    let Some((before, options)) = address.split_once('?') else {
        return address.to_owned();
    };
    let given = options.split('&').filter(|pair| !pair.is_empty());
    let (known, unknown): (Vec<_>, Vec<_>) = given.partition(|pair| is_known(pair));
    if !unknown.is_empty() {
        tracing::warn!(
            "parameters of the database's address that are not known are ignored: {} of them; known are {}",
            unknown.len(),
            KNOWN.join(", ")
        );
    }
    if known.is_empty() {
        return before.to_owned();
    }
    format!("{before}?{}", known.join("&"))
}

fn is_known(pair: &str) -> bool {
    let key = pair.split_once('=').map_or(pair, |(key, _)| key);
    KNOWN.contains(&key) || key.starts_with("options[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_given_what_it_knows() {
        for (address, given) in [
            ("postgres://host/db", "postgres://host/db"),
            (
                "postgres://host/db?sslmode=require&user=me",
                "postgres://host/db?sslmode=require&user=me",
            ),
            (
                "postgres://host/db?options[a.b]=c",
                "postgres://host/db?options[a.b]=c",
            ),
            (
                "postgres://host/db?sslpassword=x&user=me",
                "postgres://host/db?user=me",
            ),
            ("postgres://host/db?passwd=x", "postgres://host/db"),
            ("postgres://host/db?x", "postgres://host/db"),
        ] {
            assert_eq!(for_driver(address), given);
        }
    }
}

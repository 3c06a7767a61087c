//! Passwords of databases: whatever form an address has, and whatever an error repeats of it.

use std::net::IpAddr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::MASK;

/// Parameters that are not meant for secrets: their values end where the parameter ends.
const ORDINARY: [&str; 13] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-mode",
    "ssl-root-cert",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];
/// What the driver knows as modes of TLS.
const TLS_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];
/// What separates the parts of an address.
const SEPARATORS: [char; 11] = ['/', '?', '#', ':', '@', '&', ';', '=', '+', ' ', ','];
/// Shorter secrets are masked only where they stand alone: they would match within words.
const SHORT: usize = 4;

/// A database as it may be shown: `postgres://user:***@host/db?***`. What is ambiguous is masked.
pub fn shown_database(address: &str) -> String {
    if sqlite_path(address).is_some() {
        return address.to_owned();
    }
    if address.starts_with("sqlite:") {
        return format!("sqlite:{MASK}");
    }
    let Some((scheme, rest)) = with_scheme(address) else {
        return MASK.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user_info, host)) => match user_info.split_once(':') {
            Some((user, _)) => (format!("{user}:{MASK}@"), host),
            None => (format!("{user_info}@"), host),
        },
        None => (String::new(), authority),
    };
    // An `@` further on: the credentials may end there, and all before it be the password.
    if tail.contains('@') || !is_host(host) {
        return format!("{scheme}://{MASK}");
    }
    let end = tail.find(['?', '#']).unwrap_or(tail.len());
    let (path, options) = tail.split_at(end);
    let path = if path.contains(['=', ';', ':', '&', ' ']) {
        format!("/{MASK}")
    } else {
        path.to_owned()
    };
    let options = match options.chars().next() {
        Some(mark) => format!("{mark}{MASK}"),
        None => String::new(),
    };
    format!("{scheme}://{user}{host}{path}{options}")
}

/// The file of `sqlite:PATH` or `sqlite://PATH`. None for any other address, and for one that may hold a password: with parameters,
/// or with a user or a port after the slashes.
pub fn sqlite_path(address: &str) -> Option<&str> {
    let path = address.strip_prefix("sqlite:")?;
    if path.contains("://") || path.contains('?') {
        return None;
    }
    let Some(path) = path.strip_prefix("//") else {
        return Some(path);
    };
    let is_absolute = path.starts_with('/') && !path.starts_with("//");
    let authority = path.split('/').next().unwrap_or_default();
    let is_remote = !is_absolute && (path.contains('@') || authority.contains(':'));
    (!is_remote).then_some(path)
}

/// Of a server, which is all that has a scheme with slashes.
fn with_scheme(address: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = address.split_once("://")?;
    let is_known = ["postgres", "postgresql"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme));
    is_known.then_some((scheme, rest))
}

/// Whether this is one host, or several with commas between them, each with a port or without.
fn is_host(text: &str) -> bool {
    text.split(',').all(|one| {
        let bracketed = one.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (name, port) = if let Some((name, port)) = bracketed {
            (
                name.replace(':', ""),
                port.strip_prefix(':').unwrap_or(port),
            )
        } else {
            let (name, port) = one.split_once(':').unwrap_or((one, ""));
            (name.to_owned(), port)
        };
        let is_port = port.is_empty() || port.parse::<u16>().is_ok();
        is_port
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "-._%".contains(c))
    })
}

/// All that may be a password in the address of a database.
#[derive(Clone, Default)]
pub struct DatabaseSecrets {
    /// Every form that each of them may take, the longest first.
    forms: Vec<Form>,
}

/// What may be repeated in a text.
#[derive(Clone, PartialEq, Eq)]
struct Form {
    text: String,
    /// Masked even within words: it may be a whole password, while a piece of one may be a common word or a number.
    is_whole: bool,
}

impl DatabaseSecrets {
    /// Of this address.
    pub fn of(address: &str) -> Self {
        if sqlite_path(address).is_some() {
            return Self::default();
        }
        let (whole, pieces) = parts(address);
        let of = |parts: Vec<String>, is_whole| {
            let texts = parts.into_iter().flat_map(|part| forms(&part));
            texts
                .map(|text| Form { text, is_whole })
                .collect::<Vec<_>>()
        };
        let mut forms = of(whole, true);
        forms.extend(of(pieces, false));
        forms.retain(|form| form.text.chars().any(|c| !SEPARATORS.contains(&c)));
        forms.sort_by(|a, b| {
            let length = b.text.len().cmp(&a.text.len());
            length
                .then_with(|| a.text.cmp(&b.text))
                .then_with(|| b.is_whole.cmp(&a.is_whole))
        });
        forms.dedup_by(|later, kept| later.text == kept.text);
        Self { forms }
    }

    /// The text with all of them masked.
    pub fn mask(&self, text: &str) -> String {
        self.forms.iter().fold(text.to_owned(), |text, form| {
            if form.is_whole && form.text.chars().count() >= SHORT {
                text.replace(form.text.as_str(), MASK)
            } else {
                without_word(&text, &form.text)
            }
        })
    }
}

/// The parts of an address that may be secret, and their pieces: what is misread as a host or a database may be repeated in an
/// error.
fn parts(address: &str) -> (Vec<String>, Vec<String>) {
    let mut readings: Vec<&str> = address
        .split_once("://")
        .map(|(_, rest)| rest)
        .into_iter()
        .collect();
    if with_scheme(address).is_none() {
        // The slashes may belong to a password.
        readings.push(address);
    }
    let mut whole: Vec<&str> = Vec::new();
    for rest in readings {
        whole.extend(credentials(rest));
        let equals = rest.match_indices('=').map(|(at, _)| rest.split_at(at));
        whole.extend(equals.flat_map(|(key, value)| values(key, &value[1..])));
    }
    let whole: Vec<String> = whole.into_iter().map(str::to_owned).collect();
    let decoded = whole
        .iter()
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned());
    let pieces = decoded.chain(whole.iter().cloned()).flat_map(|part| {
        let pieces = part.split(SEPARATORS).map(str::to_owned);
        pieces.collect::<Vec<_>>()
    });
    let pieces = pieces.collect();
    (whole, pieces)
}

/// What may be a password before any `@`.
fn credentials(rest: &str) -> impl Iterator<Item = &str> {
    let credentials = rest.split_once(':').map(|(_, credentials)| credentials);
    credentials.into_iter().flat_map(|credentials| {
        let ends = credentials.match_indices('@');
        ends.map(|(end, _)| &credentials[..end])
    })
}

/// What may be the value of a parameter: to the next separator, or further, if the separator belongs to it.
fn values<'a>(before: &str, value: &'a str) -> Vec<&'a str> {
    const ENDS: [char; 7] = ['?', '&', ';', '#', ' ', '\'', '"'];
    let key = before.rsplit(ENDS).next().unwrap_or_default();
    let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
    let whole = value.split(['&', '#']).next().unwrap_or_default();
    if is_literal(&key, whole) {
        return Vec::new();
    }
    if ORDINARY.contains(&key.as_str()) {
        return vec![whole];
    }
    let value = value.trim_start_matches(['\'', '"']);
    let ends = value.match_indices(ENDS).map(|(end, _)| end);
    ends.chain([value.len()]).map(|end| &value[..end]).collect()
}

/// Whether this is one of the values that the parameter can have, all of which are known and none a secret.
fn is_literal(key: &str, value: &str) -> bool {
    match key {
        "sslmode" | "ssl-mode" => TLS_MODES
            .iter()
            .any(|mode| mode.eq_ignore_ascii_case(value)),
        "port" | "connect_timeout" | "statement-cache-capacity" => value.parse::<u16>().is_ok(),
        "hostaddr" | "host" => value == "localhost" || value.parse::<IpAddr>().is_ok(),
        _ => false,
    }
}

/// As it was written, decoded, encoded, and as an error with quotes around it repeats it.
fn forms(part: &str) -> Vec<String> {
    let decoded = percent_decode_str(part).decode_utf8_lossy().into_owned();
    let spaced = part.replace('+', " ");
    let spaced = percent_decode_str(&spaced).decode_utf8_lossy().into_owned();
    let encoded = utf8_percent_encode(&decoded, NON_ALPHANUMERIC).to_string();
    let plain = [part.to_owned(), decoded, spaced, encoded];
    let quoted = plain.clone().map(|form| {
        let quoted = format!("{form:?}");
        quoted[1..quoted.len() - 1].to_owned()
    });
    plain.into_iter().chain(quoted).collect()
}

/// The text with a word masked wherever it is not within a longer one. Next to a short word there may be no letter or digit at all.
fn without_word(text: &str, word: &str) -> String {
    let is_short = word.chars().count() < SHORT;
    let may_join = |edge: Option<char>| is_short || edge.is_some_and(char::is_alphanumeric);
    let begins = may_join(word.chars().next());
    let ends = may_join(word.chars().next_back());
    let mut shown = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices(word) {
        let after = at + word.len();
        let is_within = begins && text[..at].ends_with(char::is_alphanumeric)
            || ends && text[after..].starts_with(char::is_alphanumeric);
        if !is_within {
            shown += &text[done..at];
            shown += MASK;
            done = after;
        }
    }
    shown + &text[done..]
}

#[cfg(test)]
#[path = "tests/database.rs"]
mod tests;

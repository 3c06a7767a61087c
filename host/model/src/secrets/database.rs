//! Passwords of databases: whatever form an address has, and whatever an error repeats of it.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::MASK;

/// Parameters of an address whose values are not secret.
const HARMLESS: [&str; 13] = [
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
/// What separates the parts of an address.
const SEPARATORS: [char; 11] = ['/', '?', '#', ':', '@', '&', ';', '=', '+', ' ', ','];
/// Shorter secrets are masked only where they stand alone: they would match within words.
const SHORT: usize = 4;

/// A database as it may be shown: `postgres://user:***@host/db?***`. What is ambiguous is masked.
pub fn shown_database(address: &str) -> String {
    if let Some(path) = address.strip_prefix("sqlite:") {
        let is_path = !path.contains("://");
        return if is_path {
            address.to_owned()
        } else {
            format!("sqlite:{MASK}")
        };
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

fn with_scheme(address: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = address.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some((scheme, rest))
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
    forms: Vec<String>,
}

impl DatabaseSecrets {
    /// Of this address.
    pub fn of(address: &str) -> Self {
        let is_file = address.starts_with("sqlite:") && !address.contains("://");
        let parts = if is_file { Vec::new() } else { parts(address) };
        let mut forms: Vec<_> = parts.iter().flat_map(|part| forms(part)).collect();
        forms.retain(|form| form.chars().any(|c| !SEPARATORS.contains(&c)));
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    /// The text with all of them masked.
    pub fn mask(&self, text: &str) -> String {
        self.forms.iter().fold(text.to_owned(), |text, form| {
            if form.chars().count() < SHORT {
                without_word(&text, form)
            } else {
                text.replace(form.as_str(), MASK)
            }
        })
    }
}

/// The parts of an address that may be secret, and their own parts: what is misread as a host or a database may be repeated in
/// an error.
fn parts(address: &str) -> Vec<String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let mut whole: Vec<&str> = credentials(rest).collect();
    let equals = rest.match_indices('=').map(|(at, _)| rest.split_at(at));
    whole.extend(equals.flat_map(|(key, value)| values(key, &value[1..])));
    let decoded = whole
        .iter()
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned());
    let mut parts: Vec<_> = decoded
        .flat_map(|part| {
            part.split(SEPARATORS)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    parts.extend(
        whole
            .iter()
            .flat_map(|part| part.split(SEPARATORS))
            .map(str::to_owned),
    );
    parts.extend(whole.iter().map(|part| (*part).to_owned()));
    parts
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
    if HARMLESS.contains(&key.as_str()) {
        return Vec::new();
    }
    let value = value.trim_start_matches(['\'', '"']);
    let ends = value.match_indices(ENDS).map(|(end, _)| end);
    ends.chain([value.len()]).map(|end| &value[..end]).collect()
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

/// The text with a short secret masked wherever no letter or digit is next to it.
fn without_word(text: &str, word: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let after = &found[word.len()..];
        let is_alone =
            !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        shown += before;
        shown += if is_alone { MASK } else { word };
        rest = after;
    }
    shown + rest
}

#[cfg(test)]
#[path = "tests/database.rs"]
mod tests;

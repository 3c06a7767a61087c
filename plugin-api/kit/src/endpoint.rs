//! Base URLs of HTTP servers.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// A base URL. `Display` and `Debug` show host and port alone, never a user or a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
}

impl Endpoint {
    /// Parses an `http://` URL, which may contain user, password and a path. The error continues "the setting ..." and does
    /// not repeat the URL.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let url = Url::parse(url).map_err(|_| "must be a URL")?;
        if url.scheme() != "http" {
            return Err("must be an http:// URL (TLS is not supported)");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("must name a host");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must have neither query nor fragment");
        }
        Ok(Self { url })
    }

    /// Parses a URL that the watched system reported. Only host and port are accepted, so that a wrong entry in the system
    /// cannot make the plugin send credentials or leave the root path.
    pub fn parse_reported(url: &str) -> Option<Self> {
        let endpoint = Self::parse(url).ok()?;
        let plain = endpoint.url.path() == "/"
            && endpoint.url.username().is_empty()
            && endpoint.url.password().is_none();
        plain.then_some(endpoint)
    }

    /// The same for an address of the form `host:port`.
    pub fn parse_reported_address(address: &str) -> Option<Self> {
        Self::parse_reported(&format!("http://{address}"))
    }

    /// The URL of a request, credentials included. `path` begins with a slash and is already encoded.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// `host:port`, as in Prometheus's label `instance`.
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{host}:{}", self.url.port_or_known_default().unwrap_or(80))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Encodes a text as one segment of a path or one value of a query.
pub fn segment(text: &str) -> String {
    // Proxies and servers that normalise the path would resolve a lone `.` or `..`.
    match text {
        "." => "%2E".into(),
        ".." => "%2E%2E".into(),
        _ => utf8_percent_encode(text, RESERVED).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_has_no_password() {
        let endpoint = Endpoint::parse("http://user:canary@host:81/base/").unwrap();
        assert_eq!(
            format!("{endpoint} {endpoint:?}"),
            "http://host:81 http://host:81"
        );
        assert_eq!(endpoint.at("/x"), "http://user:canary@host:81/base/x");
    }

    #[test]
    fn a_url_that_is_not_a_base_url_is_rejected_without_repeating_it() {
        for url in [
            "canary",
            "ftp://canary",
            "https://canary",
            "http://canary?q",
            "http://canary/#f",
        ] {
            assert!(!Endpoint::parse(url).unwrap_err().contains("canary"));
        }
    }

    #[test]
    fn a_reported_url_is_host_and_port_and_nothing_else() {
        let reported = Endpoint::parse_reported("http://[::1]:2379").unwrap();
        assert_eq!(reported.authority(), "[::1]:2379");
        let address = Endpoint::parse_reported_address("[::1]:8001").unwrap();
        assert_eq!(address.authority(), "[::1]:8001");
        for url in [
            "",
            "host:1",
            "http://u:p@host:1",
            "http://host:1/path",
            "https://host:1",
        ] {
            assert_eq!(Endpoint::parse_reported(url), None, "{url}");
        }
        for address in [
            "",
            "a b",
            "u:p@host:1",
            "host:1/path",
            "host:1?q",
            "host:99999",
        ] {
            assert_eq!(Endpoint::parse_reported_address(address), None, "{address}");
        }
    }

    #[test]
    fn any_text_is_one_segment_of_a_path() {
        assert_eq!(segment("user:1/a b?#%"), "user%3A1%2Fa%20b%3F%23%25");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("é*"), "%C3%A9%2A");
    }
}

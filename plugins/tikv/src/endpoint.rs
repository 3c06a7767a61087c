//! The base URL of something that speaks HTTP.

use std::fmt;

use url::Url;

/// A base URL. What it prints holds neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    url: Url,
}

impl Endpoint {
    /// The error says what is wrong without repeating the URL.
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let url = Url::parse(url).map_err(|_| "must be a URL")?;
        if url.scheme() != "http" {
            return Err("must be an http:// URL (there is no TLS in this plugin)");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("must name a host");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must have neither query nor fragment");
        }
        Ok(Self { url })
    }

    /// Of a PD member, by a client URL that it told: host and port alone, so that it gets no credentials of ours.
    pub(crate) fn of_member(client_url: &str) -> Option<Self> {
        let endpoint = Self::parse(client_url).ok()?;
        let plain = endpoint.url.path() == "/"
            && endpoint.url.username().is_empty()
            && endpoint.url.password().is_none();
        plain.then_some(endpoint)
    }

    /// The URL to ask: `path` begins with a slash and is already encoded.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// `host:port`, for joining and for people.
    pub(crate) fn authority(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_holds_no_password() {
        let endpoint = Endpoint::parse("http://user:canary@pd0:2379/base/").unwrap();
        assert_eq!(
            format!("{endpoint} {endpoint:?}"),
            "http://pd0:2379 http://pd0:2379"
        );
        assert_eq!(endpoint.at("/x"), "http://user:canary@pd0:2379/base/x");
    }

    #[test]
    fn a_member_is_host_and_port_and_nothing_else() {
        assert_eq!(
            Endpoint::of_member("http://[::1]:2379")
                .unwrap()
                .authority(),
            "[::1]:2379"
        );
        for url in [
            "",
            "pd0:2379",
            "http://u:p@pd0:1",
            "http://pd0:1/path",
            "https://pd0:2379",
        ] {
            assert_eq!(Endpoint::of_member(url), None, "{url}");
        }
    }
}

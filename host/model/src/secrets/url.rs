//! Passwords of URLs, wherever they appear.

use super::MASK;

/// The password of `scheme://user:password@host`.
pub(super) fn url_password(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    let (_, password) = user_info.split_once(':')?;
    Some(password.to_owned())
}

/// The text with the password of every `scheme://user:password@host` in it masked.
pub(super) fn without_url_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown += "://";
        let end = part.find(['/', '?', '#']).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        let split = authority
            .rsplit_once('@')
            .and_then(|(user_info, host)| Some((user_info.split_once(':')?.0, host)));
        match split {
            Some((user, host)) => shown += &format!("{user}:{MASK}@{host}"),
            None => shown += authority,
        }
        shown += rest;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_not_shown_whatever_their_key() {
        for (text, shown) in [
            ("http://me:pass@host/path", "http://me:***@host/path"),
            ("a://u:p@h,b://u:q@i?x=1", "a://u:***@h,b://u:***@i?x=1"),
            ("http://me@host/a:b@c", "http://me@host/a:b@c"),
            ("no url: a@b", "no url: a@b"),
        ] {
            assert_eq!(without_url_passwords(text), shown);
        }
    }
}

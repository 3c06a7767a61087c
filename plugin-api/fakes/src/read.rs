//! Reading requests, as far as they must be understood to be recorded.

use std::io::{self, BufRead, BufReader, Read};

use crate::{Exchange, Protocol};

/// The longest line and the largest body that are kept.
const MOST: u64 = 1 << 20;
/// As many words of a command are recorded.
const MOST_WORDS: usize = 64;

/// The next request of a connection; `None` at its end.
pub(crate) fn request<R: Read>(
    protocol: Protocol,
    from: &mut BufReader<R>,
) -> io::Result<Option<Exchange>> {
    let read = match protocol {
        Protocol::Http => http(from)?,
        Protocol::Resp => resp(from)?.map(|line| (line, Vec::new())),
        Protocol::Tcp => tcp(from)?.map(|line| (line, Vec::new())),
    };
    Ok(read.map(|(line, body)| Exchange {
        protocol,
        line,
        body,
    }))
}

fn line<R: Read>(from: &mut BufReader<R>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    Read::take(&mut *from, MOST).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

fn http<R: Read>(from: &mut BufReader<R>) -> io::Result<Option<(String, Vec<u8>)>> {
    let Some(first) = line(from)? else {
        return Ok(None);
    };
    let (mut length, mut is_chunked) = (0, false);
    while let Some(header) = line(from)?.filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "transfer-encoding" => is_chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = if is_chunked {
        chunks(from)?
    } else {
        bytes(from, length)?
    };
    let mut words = first.split(' ');
    let asked = [words.next(), words.next()];
    let asked: Vec<_> = asked.into_iter().flatten().collect();
    Ok(Some((asked.join(" "), body)))
}

fn bytes<R: Read>(from: &mut BufReader<R>, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Read::take(&mut *from, MOST.min(length)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A body in chunks, each after its length in hexadecimal, to the empty one.
fn chunks<R: Read>(from: &mut BufReader<R>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(head) = line(from)? {
        let length = u64::from_str_radix(head.trim(), 16).unwrap_or(0);
        body.extend(bytes(from, length)?);
        line(from)?;
        if length == 0 || body.len() as u64 > MOST {
            break;
        }
    }
    Ok(body)
}

/// An array of bulk strings, or an inline command.
fn resp<R: Read>(from: &mut BufReader<R>) -> io::Result<Option<String>> {
    let Some(first) = line(from)? else {
        return Ok(None);
    };
    let Some(count) = first
        .strip_prefix('*')
        .and_then(|n| n.parse::<usize>().ok())
    else {
        return Ok(Some(first));
    };
    let mut words = Vec::new();
    for _ in 0..count.min(MOST_WORDS) {
        let Some(head) = line(from)? else { break };
        let length = head.strip_prefix('$').and_then(|n| n.parse().ok());
        let word = bytes(from, length.unwrap_or(0))?;
        line(from)?;
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Ok(Some(words.join(" ")))
}

fn tcp<R: Read>(from: &mut BufReader<R>) -> io::Result<Option<String>> {
    let seen = from.fill_buf()?;
    let length = seen.len();
    let text = String::from_utf8_lossy(seen).into_owned();
    from.consume(length);
    Ok((length > 0).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(protocol: Protocol, text: &str) -> Vec<String> {
        let mut from = BufReader::new(text.as_bytes());
        std::iter::from_fn(|| request(protocol, &mut from).unwrap())
            .map(|exchange| exchange.line)
            .collect()
    }

    #[test]
    fn requests_of_one_connection_are_separated() {
        let text = "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /b HTTP/1.1\r\n\r\n";
        assert_eq!(lines(Protocol::Http, text), ["POST /a", "GET /b"]);
        let text = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*1\r\n$4\r\nINFO\r\n";
        assert_eq!(lines(Protocol::Resp, text), ["GET k", "PING", "INFO"]);
        assert_eq!(lines(Protocol::Tcp, "abc"), ["abc"]);
        let text = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        assert_eq!(lines(Protocol::Http, text), ["POST /a", "GET /b"]);
    }

    #[test]
    fn a_request_that_promises_much_takes_no_more_than_there_is() {
        let text = "POST /a HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nxyz";
        assert_eq!(lines(Protocol::Http, text), ["POST /a"]);
        assert_eq!(lines(Protocol::Resp, "*1\r\n$99999999999\r\nx"), ["x"]);
    }
}

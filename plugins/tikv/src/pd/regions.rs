//! How many regions a check lists, from the head of an answer that can be hundreds of megabytes long.

use super::wire::Region;

/// Regions that are named as examples.
const EXAMPLES: usize = 5;

/// The head of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) count: u64,
    /// Ids of the first few.
    pub(crate) examples: Vec<u64>,
}

/// Of `{"count":N,"regions":[...`, of which the end may be missing. None where it does not begin like that.
pub(crate) fn listed(head: &[u8]) -> Option<Listed> {
    let rest = skip(head, b"{")?;
    let rest = skip(rest, b"\"count\"")?;
    let rest = skip(rest, b":")?;
    let rest = rest.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let count = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    // A number that the head cuts off would be too small.
    let rest = skip(&rest[digits..], b",")?;
    let rest = skip(rest, b"\"regions\"")?;
    let rest = skip(rest, b":")?;
    Some(Listed {
        count,
        examples: skip(rest, b"[").map(examples).unwrap_or_default(),
    })
}

fn skip<'a>(text: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
    text.trim_ascii_start().strip_prefix(token)
}

/// The ids of the first regions that are there as a whole.
fn examples(mut rest: &[u8]) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.len() < EXAMPLES {
        let mut regions = serde_json::Deserializer::from_slice(rest).into_iter::<Region>();
        let Some(Ok(region)) = regions.next() else {
            break;
        };
        ids.push(region.id);
        let end = regions.byte_offset();
        let Some(next) = skip(&rest[end..], b",") else {
            break;
        };
        rest = next;
    }
    ids
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = br#"{"count":12,"regions":[{"id":18,"start_key":"a","end_key":"","leader":{"role_name":"Voter","id":1,"store_id":1}},{"id":19,"start_key":"","end_key":"","leader":{"role_name":""}}]}"#;

    #[test]
    fn the_head_is_enough() {
        let whole = Listed {
            count: 12,
            examples: vec![18, 19],
        };
        assert_eq!(listed(BODY), Some(whole));
        let head = listed(&BODY[..130]).unwrap();
        assert_eq!((head.count, head.examples), (12, vec![18]));
        let none = listed(br#"{"count":0,"regions":[]}"#).unwrap();
        assert_eq!((none.count, none.examples.len()), (0, 0));
        let spaced = listed(b"{\n  \"count\": 96,\n  \"regions\": null\n}\n").unwrap();
        assert_eq!(spaced.count, 96);
    }

    #[test]
    fn what_is_not_a_region_list_is_not_counted() {
        for body in [
            "",
            "{",
            "{\"count\":1",
            "{\"count\":-1,\"regions\":[]}",
            "{\"count\":\"1\",\"regions\":[]}",
            "[]",
            "null",
            "{\"count\":99999999999999999999,\"regions\":[]}",
        ] {
            assert_eq!(listed(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn a_head_of_any_length_tells_the_truth_or_nothing(cut in 0..BODY.len()) {
            if let Some(head) = listed(&BODY[..cut]) {
                prop_assert_eq!(head.count, 12);
                prop_assert!([18, 19].starts_with(&head.examples));
            }
        }
    }
}

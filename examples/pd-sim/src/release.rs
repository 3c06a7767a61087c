//! The release of PD that is shown: answers differ between releases.

use std::str::FromStr;

/// A release, with the text that names it in answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    number: (u32, u32, u32),
    /// With its `v`.
    pub(crate) shown: String,
}

impl Release {
    fn since(&self, major: u32, minor: u32, patch: u32) -> bool {
        self.number >= (major, minor, patch)
    }

    /// v26.3 and later.
    pub(crate) fn is_newest(&self) -> bool {
        self.since(26, 3, 0)
    }

    /// Whether an unknown region is a 404, not an answer of zeros.
    pub(crate) fn tells_unknown_regions(&self) -> bool {
        self.since(9, 0, 0)
    }

    /// Whether a follower waits for a leader, and answers some paths itself.
    pub(crate) fn waits_for_a_leader(&self) -> bool {
        self.since(8, 5, 0)
    }

    /// Whether evict-leader's configuration has a batch.
    pub(crate) fn evicts_in_batches(&self) -> bool {
        self.since(8, 3, 0)
    }

    /// Whether operators can be listed as objects, and canceled all at once.
    pub(crate) fn lists_operators_as_objects(&self) -> bool {
        self.since(8, 1, 0)
    }

    /// Whether `pd_cluster_status` tells the store, and hot regions their CPU.
    pub(crate) fn tells_stores_apart(&self) -> bool {
        self.is_newest() || (self.since(8, 5, 7) && !self.since(9, 0, 0))
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no release; write 8.5.7");
        let bare = text.trim_start_matches('v');
        let numbers = bare.split('-').next().unwrap_or_default().split('.');
        let numbers: Result<Vec<u32>, _> = numbers.map(str::parse).collect();
        match numbers.map_err(|_| wrong())?.as_slice() {
            [major, minor, patch] if *major >= 7 => Ok(Self {
                number: (*major, *minor, *patch),
                shown: format!("v{bare}"),
            }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_differ() {
        let release = |text: &str| text.parse::<Release>().unwrap();
        assert!(!release("8.1.2").waits_for_a_leader());
        assert!(release("v8.5.7").waits_for_a_leader());
        assert!(!release("8.5.7").tells_unknown_regions());
        assert!(release("9.0.0-beta.1").tells_unknown_regions());
        assert!(!release("9.0.0-beta.1").tells_stores_apart());
        assert!(release("26.3.4").is_newest());
    }

    #[test]
    fn what_is_no_release_is_refused_with_an_example() {
        for wrong in ["", "8.5", "6.1.0", "nightly"] {
            assert!(wrong.parse::<Release>().unwrap_err().contains("8.5.7"));
        }
    }
}

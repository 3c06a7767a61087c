//! The PD release to simulate: replies differ between releases.

use std::str::FromStr;

/// A release, with its name in replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    number: (u32, u32, u32),
    /// With the leading `v`.
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

    /// Whether an unknown region is a 404 rather than a reply of zeros.
    pub(crate) fn unknown_region_is_404(&self) -> bool {
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

    /// Whether operators can be listed as objects, and cancelled all at once.
    pub(crate) fn lists_operators_as_objects(&self) -> bool {
        self.since(8, 1, 0)
    }

    /// Whether `pd_cluster_status` has a store label, and hot regions their CPU usage.
    pub(crate) fn has_store_labels(&self) -> bool {
        self.is_newest() || (self.since(8, 5, 7) && !self.since(9, 0, 0))
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a release; write 8.5.7");
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
        assert!(!release("8.5.7").unknown_region_is_404());
        assert!(release("9.0.0-beta.1").unknown_region_is_404());
        assert!(!release("9.0.0-beta.1").has_store_labels());
        assert!(release("26.3.4").is_newest());
    }

    #[test]
    fn an_invalid_release_is_rejected_with_an_example() {
        for wrong in ["", "8.5", "6.1.0", "nightly"] {
            assert!(wrong.parse::<Release>().unwrap_err().contains("8.5.7"));
        }
    }
}

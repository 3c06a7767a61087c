//! Which parts of the subject a cycle looked at. Pure.

use std::collections::{BTreeMap, BTreeSet};

use operator_plugin_api::Resource;

/// The resources that an observation listed, by kind and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed(BTreeMap<String, BTreeMap<String, Part>>);

/// What an observation says of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing<'a> {
    /// It was looked at.
    Present,
    /// It is no longer a part of the subject, and why.
    Gone(&'a str),
    /// Nothing: nobody looked.
    Missing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Present,
    Gone(String),
}

impl Listed {
    /// `named` makes of a resource's name what tickets have. What is listed as present and as gone is present.
    pub(super) fn new(resources: &[Resource], named: impl Fn(&str) -> String) -> Self {
        let mut kinds: BTreeMap<String, BTreeMap<String, Part>> = BTreeMap::new();
        for resource in resources {
            let parts = kinds.entry(resource.kind.clone()).or_default();
            let name = named(&resource.id);
            match &resource.gone {
                Some(why) => {
                    parts.entry(name).or_insert_with(|| Part::Gone(why.clone()));
                }
                None => {
                    parts.insert(name, Part::Present);
                }
            }
        }
        Self(kinds)
    }

    pub(super) fn find(&self, kind: &str, name: &str) -> Listing<'_> {
        match self.0.get(kind).and_then(|parts| parts.get(name)) {
            Some(Part::Present) => Listing::Present,
            Some(Part::Gone(why)) => Listing::Gone(why),
            None => Listing::Missing,
        }
    }

    /// The names of a kind that something is known of.
    pub(super) fn names(&self, kind: &str) -> BTreeSet<String> {
        let parts = self.0.get(kind).into_iter();
        parts.flat_map(BTreeMap::keys).cloned().collect()
    }
}

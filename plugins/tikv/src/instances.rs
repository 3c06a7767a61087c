//! Which of Prometheus's instances is which store.

use std::collections::{BTreeMap, BTreeSet};

use operator_plugin_kit::prometheus::Sample;

use crate::observation::Store;

/// The labels that can name a store's process where `instance` is not its status address. Others, such as the machine's
/// name, are shared with other targets.
const LABELS: [&str; 7] = [
    "instance",
    "pod",
    "pod_name",
    "kubernetes_pod",
    "kubernetes_pod_name",
    "host",
    "hostname",
];

/// The number of instances that an observation names.
const MAX_NAMED: usize = 10;

/// The targets of Prometheus, by their instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Instances(BTreeMap<String, Vec<Target>>);

#[derive(Debug, Clone, PartialEq)]
struct Target {
    labels: BTreeMap<String, String>,
    is_up: bool,
}

impl Instances {
    /// From the series of `up`.
    pub(crate) fn new(up: Vec<Sample>) -> Self {
        let mut instances: BTreeMap<String, Vec<Target>> = BTreeMap::new();
        for sample in up {
            let Some(instance) = sample.label("instance").map(str::to_owned) else {
                continue;
            };
            instances.entry(instance).or_default().push(Target {
                labels: sample.labels,
                is_up: sample.value > 0.0,
            });
        }
        Self(instances)
    }

    /// The instance of each store, by its status address or, where that is none, by the name of its host or pod. A name
    /// that several stores claim belongs to none of them, and neither does one that stands for several targets.
    pub(crate) fn of_stores(&self, stores: &[Store]) -> BTreeMap<u64, &str> {
        let mut claims: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for store in stores {
            for instance in self.candidates(store) {
                claims.entry(instance).or_default().insert(store.id);
            }
        }
        let mut found: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
        for (instance, ids) in &claims {
            if let (1, Some(id)) = (ids.len(), ids.first()) {
                found.entry(*id).or_default().insert(instance);
            }
        }
        let only = found
            .into_iter()
            .filter_map(|(id, names)| Some((id, *names.first().filter(|_| names.len() == 1)?)));
        only.collect()
    }

    fn candidates(&self, store: &Store) -> Vec<&str> {
        let Some(address) = store.status_address.as_deref() else {
            return Vec::new();
        };
        if let Some((instance, _)) = self.0.get_key_value(address) {
            return vec![instance];
        }
        let names = names(address);
        let named = self
            .0
            .iter()
            .filter(|(_, targets)| match targets.as_slice() {
                [target] => LABELS.iter().any(|label| {
                    let value = target.labels.get(*label);
                    value.is_some_and(|value| names.contains(&value.as_str()))
                }),
                _ => false,
            });
        named.map(|(instance, _)| instance.as_str()).collect()
    }

    /// Whether one of its targets was scraped; None where there is no such instance.
    pub(crate) fn is_up(&self, instance: &str) -> Option<bool> {
        let targets = self.0.get(instance)?;
        Some(targets.iter().any(|target| target.is_up))
    }

    /// The first few, those first that are likely to be stores.
    pub(crate) fn named(&self) -> Vec<String> {
        let is_store = |targets: &[Target]| {
            targets.iter().any(|target| {
                let values = target.labels.values();
                values.into_iter().any(|value| value.contains("tikv"))
            })
        };
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|(instance, targets)| (!is_store(targets), instance))
            .collect();
        all.sort();
        let all = all.into_iter().map(|(_, instance)| instance.clone());
        all.take(MAX_NAMED).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// The names by which the process behind an address can be known: the host, and its first label, which is the pod's name in
/// Kubernetes. An IP address has one name only.
fn names(address: &str) -> Vec<&str> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let is_ip = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    let first = host.split('.').next().filter(|_| !is_ip);
    std::iter::once(host)
        .chain(first)
        .filter(|name| !name.is_empty() && *name != "localhost" && *name != "127.0.0.1")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(labels: &[(&str, &str)]) -> Sample {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Sample {
            labels: labels.collect(),
            value: 1.0,
        }
    }

    fn store(id: u64, status_address: &str) -> Store {
        Store {
            id,
            status_address: Some(status_address.into()),
            ..Store::default()
        }
    }

    /// The instances of two stores, as an operator of Kubernetes names them.
    fn joined(targets: Vec<Sample>) -> Vec<(u64, String)> {
        let stores = [
            store(1, "basic-tikv-0.basic-tikv-peer.db.svc:20180"),
            store(4, "basic-tikv-1.basic-tikv-peer.db.svc:20180"),
        ];
        let instances = Instances::new(targets);
        let found = instances.of_stores(&stores).into_iter();
        found.map(|(id, name)| (id, name.to_owned())).collect()
    }

    #[test]
    fn a_store_is_found_by_its_address_its_host_or_its_pod() {
        let address = "basic-tikv-0.basic-tikv-peer.db.svc:20180";
        assert_eq!(
            joined(vec![
                up(&[("instance", address)]),
                up(&[("instance", "basic-tikv-1"), ("component", "tikv")]),
                up(&[("instance", "basic-pd-0")]),
            ]),
            [(1, address.to_owned()), (4, "basic-tikv-1".to_owned())]
        );
        assert_eq!(
            joined(vec![up(&[
                ("instance", "10.0.0.7:20180"),
                ("pod", "basic-tikv-1")
            ])]),
            [(4, "10.0.0.7:20180".to_owned())]
        );
    }

    #[test]
    fn a_name_that_is_not_unique_belongs_to_no_store() {
        let two_namespaces = ["db", "test"].map(|namespace| {
            up(&[
                ("instance", "basic-tikv-0"),
                ("kubernetes_namespace", namespace),
            ])
        });
        assert_eq!(joined(two_namespaces.into()), []);
        let two_instances = ["10.0.0.7:20180", "10.0.0.7:9100"]
            .map(|instance| up(&[("instance", instance), ("pod", "basic-tikv-0")]));
        assert_eq!(joined(two_instances.into()), []);
        let instances = Instances::new(vec![up(&[("instance", "0.0.0.0:20180")])]);
        let both = [store(1, "0.0.0.0:20180"), store(4, "0.0.0.0:20180")];
        assert!(instances.of_stores(&both).is_empty());
    }

    #[test]
    fn an_address_of_ip_has_no_pod() {
        assert_eq!(names("10.0.0.7:20180"), ["10.0.0.7"]);
        assert_eq!(names("[::1]:20180"), ["[::1]"]);
        assert_eq!(names("127.0.0.1:20180"), [""; 0]);
        assert_eq!(names("a.b:1"), ["a.b", "a"]);
    }

    #[test]
    fn those_that_are_likely_stores_are_named_first() {
        let other = (0..20).map(|index| up(&[("instance", &format!("a{index:02}:9100"))]));
        let targets = other.chain([up(&[("instance", "z"), ("job", "tikv")])]);
        let instances = Instances::new(targets.collect());
        assert_eq!(instances.count(), 21);
        assert_eq!(instances.named()[..2], ["z", "a00:9100"]);
        assert_eq!(instances.named().len(), MAX_NAMED);
    }
}

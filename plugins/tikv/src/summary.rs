//! The summary of an observation: the line for people, and the service level indicators.

use std::{collections::BTreeMap, fmt::Write as _};

use operator_plugin_kit::text::{decimal, grouped, share_percent};

use crate::{
    check::{disk_used_percent, serving_stores},
    observation::{Data, Store, StoreState},
};

/// `3 of 3 stores up, 96 regions, PD leader pd0, 1,004 requests/s`
pub(crate) fn line(data: &Data) -> String {
    let mut line = match &data.stores {
        Some(stores) => {
            let up = stores
                .iter()
                .filter(|store| store.state == Some(StoreState::Up))
                .count();
            format!("{up} of {} stores up", stores.len())
        }
        None => "stores unknown".to_owned(),
    };
    if let Some(regions) = data.cluster_metrics.region_count {
        let _ = write!(line, ", {} regions", grouped(&regions.to_string()));
    }
    match (&data.pd.leader, data.pd.has_leader) {
        (Some(leader), _) => {
            let _ = write!(line, ", PD leader {leader}");
        }
        (None, Some(false)) => line.push_str(", no PD leader"),
        (None, _) => line.push_str(", PD leader unknown"),
    }
    if let Some(qps) = data.cluster_metrics.qps {
        let _ = write!(line, ", {} requests/s", grouped(&decimal(qps, 0)));
    }
    line
}

pub(crate) fn slis(data: &Data) -> BTreeMap<String, Option<f64>> {
    [
        (
            "write_latency_p99_ms",
            data.cluster_metrics.write_latency_p99_ms,
        ),
        ("disk_used_percent", fullest(data)),
        ("store_availability_percent", availability(data)),
        ("requests_per_second", data.cluster_metrics.qps),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The sum over the stores that serve; unknown while one of them is not measured, for the others do not stand for it.
pub(crate) fn qps(data: &Data) -> Option<f64> {
    let metrics = data.store_metrics.as_ref()?;
    let rates = serving_stores(data)?
        .into_iter()
        .map(|store| metrics.get(&store.id.to_string())?.qps);
    let rates: Option<Vec<f64>> = rates.collect();
    rates
        .filter(|rates| !rates.is_empty())
        .map(|rates| rates.iter().sum())
}

/// Of the fullest store; unknown while one of them is.
fn fullest(data: &Data) -> Option<f64> {
    let used: Option<Vec<f64>> = data
        .stores
        .as_ref()?
        .iter()
        .map(disk_used_percent)
        .collect();
    used?.into_iter().reduce(f64::max)
}

/// The share of stores that are up, of those that should be; unknown while one of them is.
fn availability(data: &Data) -> Option<f64> {
    let expected = data
        .stores
        .as_ref()?
        .iter()
        .filter(|store| store.state != Some(StoreState::Offline));
    let up: Option<Vec<bool>> = expected.map(is_up).collect();
    share_percent(&up?)
}

/// A new leader does not decide about a store from which it has received no heartbeat itself.
fn is_up(store: &Store) -> Option<bool> {
    match store.state? {
        StoreState::Up => Some(true),
        _ => store.heard_by_leader?.then_some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::samples::healthy, observation::ClusterMetrics};

    #[test]
    fn the_line_says_what_is_known() {
        let mut data = healthy();
        data.cluster_metrics.region_count = Some(1_234_567);
        assert_eq!(
            line(&data),
            "3 of 3 stores up, 1,234,567 regions, PD leader pd0, 300 requests/s"
        );
        data.pd.leader = None;
        data.pd.has_leader = Some(false);
        data.stores = None;
        data.cluster_metrics = ClusterMetrics::default();
        assert_eq!(line(&data), "stores unknown, no PD leader");
    }

    #[test]
    fn the_requests_of_those_who_report_are_not_those_of_all() {
        let mut data = healthy();
        assert_eq!(qps(&data), Some(300.0));
        data.store_metrics.as_mut().unwrap().remove("4");
        assert_eq!(qps(&data), None);
        data.stores.as_mut().unwrap()[1].state = Some(StoreState::Down);
        assert_eq!(qps(&data), Some(200.0), "a store that is down serves none");
        data.stores.as_mut().unwrap()[0].state = None;
        assert_eq!(qps(&data), None);
    }

    #[test]
    fn an_indicator_with_an_unknown_part_is_unknown() {
        let mut data = healthy();
        assert_eq!(slis(&data)["store_availability_percent"], Some(100.0));
        assert_eq!(slis(&data)["disk_used_percent"], Some(40.0));
        data.stores.as_mut().unwrap()[0].state = Some(StoreState::Offline);
        assert_eq!(
            slis(&data)["store_availability_percent"],
            Some(100.0),
            "planned"
        );
        data.stores.as_mut().unwrap()[1].state = Some(StoreState::Disconnected);
        assert_eq!(slis(&data)["store_availability_percent"], Some(50.0));
        data.stores.as_mut().unwrap()[1].heard_by_leader = Some(false);
        assert_eq!(slis(&data)["store_availability_percent"], None);
        data.stores.as_mut().unwrap()[1].capacity_bytes = None;
        assert_eq!(slis(&data)["disk_used_percent"], None);
    }
}

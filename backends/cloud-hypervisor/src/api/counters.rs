//! What Cloud Hypervisor counts.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Counters by their names, by the names of devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Counters(pub(crate) BTreeMap<String, BTreeMap<String, u64>>);

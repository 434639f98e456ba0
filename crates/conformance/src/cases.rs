//! All cases, grouped by what they are about.

mod console;
mod crash;
mod create;
mod crowd;
mod devices;
mod end;
mod ending;
mod file_system;
mod isolation;
mod lifetime;
mod limits;
mod moment;
mod network;
mod parts;
mod pause;
mod probe;
mod refusal;
mod transcript;
mod vsock;

use crate::Case;

/// Every case there is; names are unique.
pub fn cases() -> Vec<Case> {
    [
        probe::CASES,
        refusal::CASES,
        limits::CASES,
        create::CASES,
        moment::CASES,
        end::CASES,
        crash::CASES,
        lifetime::CASES,
        isolation::CASES,
        console::CASES,
        ending::CASES,
        devices::CASES,
        file_system::CASES,
        vsock::CASES,
        network::CASES,
        transcript::CASES,
        pause::CASES,
        parts::CASES,
        crowd::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = cases().iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().len());
    }
}

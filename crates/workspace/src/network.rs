//! What network a machine gets.

use microagent_guest_protocol::NetworkConfig;
use microagent_machine::{Publish, UserNet};

use crate::resolver::HostResolver;

/// What network a machine gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// None: no device but the loopback.
    Isolated,
    /// One whose way out are sockets of the host.
    User {
        /// Ports of the host that lead to the guest.
        publish: Vec<Publish>,
    },
}

/// A network with whom its guest asks for names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PlannedNetwork(Option<(UserNet, HostResolver)>);

impl PlannedNetwork {
    /// The network that was asked for, on a host with this resolver.
    pub(crate) fn new(network: &Network, host: impl FnOnce() -> HostResolver) -> Self {
        Self(match network {
            Network::Isolated => None,
            Network::User { publish } => {
                let host = host();
                let net = UserNet { publish: publish.clone(), resolver: host.loopback };
                Some((net, host))
            }
        })
    }

    /// What the backend is asked for.
    pub(crate) fn for_machine(&self) -> Option<UserNet> {
        self.0.as_ref().map(|(net, _)| net.clone())
    }

    /// What the agent is told about it.
    pub(crate) fn for_agent(&self) -> Option<NetworkConfig> {
        let (net, host) = self.0.as_ref()?;
        Some(NetworkConfig {
            mac: UserNet::MAC,
            address: UserNet::ADDRESS,
            prefix: UserNet::PREFIX,
            gateway: UserNet::GATEWAY,
            mtu: UserNet::MTU,
            nameservers: match net.resolver {
                true => vec![UserNet::GATEWAY],
                false => host.servers.clone(),
            },
            search: host.search.clone(),
        })
    }
}

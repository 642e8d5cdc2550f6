//! What the components of an app share on their way out.

use std::fmt;
use std::sync::Arc;

use outbound_hosts::BlockedNetworks;

use crate::limit::{Limit, PermitObserver, Total};
use crate::tls::{Tls, TlsRule, TlsRules};

/// What all components of an app share: blocked networks, the limit of all their
/// connections, and the certificates that servers are checked with.
#[derive(Default)]
pub struct OutboundNetwork {
    blocked: BlockedNetworks,
    total: Arc<Total>,
    tls: TlsRules,
}

impl OutboundNetwork {
    /// A network from which nothing leads to `blocked`, with at most `limit`
    /// connections of all kinds at a time, and with TLS as `rules` say.
    pub fn new(blocked: BlockedNetworks, limit: Option<usize>, rules: Vec<TlsRule>) -> Self {
        Self::observed(blocked, limit, rules, None)
    }

    /// The same, whose `observer` is told what limits permit.
    pub fn observed(
        blocked: BlockedNetworks,
        limit: Option<usize>,
        rules: Vec<TlsRule>,
        observer: Option<Arc<dyn PermitObserver>>,
    ) -> Self {
        Self { blocked, total: Arc::new(Total::new(limit, observer)), tls: TlsRules::new(rules) }
    }

    /// The networks nothing leads to.
    pub fn blocked(&self) -> &BlockedNetworks {
        &self.blocked
    }

    /// The limit of one more kind of connections, which is called `kind`: at most
    /// `limit` of its own, all of which count for the limit of the network.
    pub fn limit(&self, kind: &'static str, limit: Option<usize>) -> Limit {
        Limit::new(kind, limit, Arc::clone(&self.total))
    }

    /// The TLS of connections that no rule is about, such as those of triggers.
    pub fn tls(&self) -> &Arc<Tls> {
        self.tls.other()
    }

    pub(crate) fn tls_of(&self, component: &str, host: &str) -> &Arc<Tls> {
        self.tls.of(component, host)
    }
}

impl fmt::Debug for OutboundNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundNetwork").finish_non_exhaustive()
    }
}

//! Who may see what the broker shows of itself by another way than a connection of its own: the dashboard asks here.
//!
//! Owns one question. The rule is that of connections: without a policy this user and root, with one whom it lets monitor.

use super::BrokerHandle;
use crate::policy::{Principal, Right};
use crate::transport::PeerCredentials;

impl BrokerHandle {
    /// Whether a process that the system says this of may see everything that the broker does, as the object `sys.broker` shows it. Asks
    /// the policy that is in force at this moment; a user that is not known may nothing, with a policy or without.
    #[must_use]
    pub fn may_monitor(&self, who: &PeerCredentials) -> bool {
        let Some(uid) = who.uid else {
            return false;
        };
        match self.shared.policy.get() {
            None => who.is_same_user_or_root(),
            Some(policy) => {
                let principal = Principal::of_uid(uid);
                policy.decide(&principal, Right::Monitor, "", "").allowed
            }
        }
    }
}

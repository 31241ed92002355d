//! Counts the listener's connections by peer, and bounds each peer's share.
//!
//! ```text
//! accepted ──► Peers::admit ──► Place, for as long as the connection is served
//!                  └─ the peer's share is used up: closed
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of each peer. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    /// Connections of one peer at once.
    share: usize,
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A peer's connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// No connections yet, at most `share` for each peer.
    pub(super) fn new(share: usize) -> Self {
        Self { share, held: Arc::default() }
    }

    /// A place for one more connection of `peer`; `None` where it holds its share already. An IPv4 address that arrives through
    /// an IPv6 socket is the same peer.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let mut held = self.held();
        let connections = held.entry(peer).or_default();
        if *connections == self.share {
            return None;
        }
        *connections += 1;
        Some(Place { peers: self.clone(), peer })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.peers.held();
        if let Some(connections) = held.get_mut(&self.peer) {
            *connections -= 1;
            if *connections == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_peer_has_its_own_share_and_gets_places_back() {
        let peers = Peers::new(2);
        let first = peers.admit(address("10.0.0.1")).unwrap();
        let second = peers.admit(address("::ffff:10.0.0.1")).unwrap();
        assert!(peers.admit(address("10.0.0.1")).is_none());
        assert!(peers.admit(address("10.0.0.2")).is_some() && peers.admit(address("::1")).is_some());
        drop(first);
        assert!(peers.admit(address("10.0.0.1")).is_some());
        drop(second);
        assert!(peers.held().is_empty(), "a peer that left is forgotten");
    }

    proptest! {
        /// Any arrivals and departures, against a list of those who are there.
        #[test]
        fn nobody_holds_more_than_the_share(steps in proptest::collection::vec((0_u8..4, any::<bool>()), 0..200)) {
            let (peers, mut there) = (Peers::new(3), Vec::new());
            for (peer, comes) in steps {
                let peer = IpAddr::from([10, 0, 0, peer]);
                let held = there.iter().filter(|place: &&Place| place.peer == peer).count();
                if comes {
                    let place = peers.admit(peer);
                    prop_assert_eq!(place.is_some(), held < 3);
                    there.extend(place);
                } else if let Some(at) = there.iter().position(|place| place.peer == peer) {
                    there.remove(at);
                }
                prop_assert_eq!(peers.held().values().sum::<usize>(), there.len());
            }
        }
    }
}

//! The event id: a hash over the primary key and the pins of the world, the same for every run, retry
//! and restart (contract, section 5).
//!
//! ```text
//! output_id|pk1|pk2|…|manifest_fingerprint|parameter_hash|seed|scenario_id ──sha256──► [u8; 32]
//! ```

use sha2::{Digest as _, Sha256};

use crate::model::{OutputId, WorldKey};

/// Makes the event ids of one output of one world.
#[derive(Debug, Clone)]
pub struct EventIds {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
}

impl EventIds {
    /// For `output_id` of `world`.
    #[must_use]
    pub fn new(output_id: &OutputId, world: &WorldKey) -> Self {
        let WorldKey { manifest_fingerprint, parameter_hash, scenario_id, seed } = world;
        Self {
            prefix: output_id.as_str().as_bytes().to_vec(),
            suffix: format!("|{manifest_fingerprint}|{parameter_hash}|{seed}|{scenario_id}").into_bytes(),
        }
    }

    /// The id of the row whose primary key has these texts, in the catalogue's order.
    #[must_use]
    pub fn of(&self, primary_key: &[&str]) -> [u8; 32] {
        let mut preimage = Vec::new();
        self.begin(&mut preimage);
        for value in primary_key {
            preimage.push(b'|');
            preimage.extend_from_slice(value.as_bytes());
        }
        self.finish(&mut preimage)
    }

    /// Starts a preimage in a buffer that is used again and again.
    pub(super) fn begin(&self, preimage: &mut Vec<u8>) {
        preimage.clear();
        preimage.extend_from_slice(&self.prefix);
    }

    /// Ends the preimage, to which each primary key value was added behind a `|`, and hashes it.
    pub(super) fn finish(&self, preimage: &mut Vec<u8>) -> [u8; 32] {
        preimage.extend_from_slice(&self.suffix);
        Sha256::digest(preimage).into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::hex;
    use super::*;

    #[test]
    fn the_vectors_of_the_producer_in_place_come_out() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/hash_vectors.json")).unwrap();
        let vectors = vectors["event_id"].as_array().unwrap();
        assert_eq!(vectors.len(), 12);
        for vector in vectors {
            let parts: Vec<&str> = vector["preimage"].as_str().unwrap().split('|').collect();
            let (key, pins) = parts[1..].split_at(parts.len() - 5);
            let world = WorldKey {
                manifest_fingerprint: pins[0].parse().unwrap(),
                parameter_hash: pins[1].parse().unwrap(),
                seed: pins[2].parse().unwrap(),
                scenario_id: pins[3].parse().unwrap(),
            };
            let id = EventIds::new(&parts[0].parse().unwrap(), &world).of(key);
            assert_eq!(hex(&id).as_slice(), vector["event_id"].as_str().unwrap().as_bytes());
        }
    }
}

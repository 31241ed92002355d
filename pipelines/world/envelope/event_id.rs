//! The event id: a hash over the primary key and the pins of the world, the same for every run, retry
//! and restart (contract, section 5).
//!
//! ```text
//! output_id|pk1|pk2|…|manifest_fingerprint|parameter_hash|seed|scenario_id ──sha256──► [u8; 32]
//! └── shared by many rows ┘ its whole blocks are hashed once
//! ```

use sha2::block_api::compress256;

use crate::model::{OutputId, WorldKey};

/// The state that SHA-256 begins with (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// Bytes that SHA-256 takes in at once.
const BLOCK: usize = 64;

/// How the preimages of many rows start.
#[derive(Debug, Clone)]
pub(super) struct Start {
    /// The hash's state behind the whole blocks of it.
    state: [u32; 8],
    /// Bytes in these.
    hashed: usize,
    /// What is left of it, less than a block.
    rest: Vec<u8>,
    /// How many parts of the primary key are in it.
    pub(super) parts: usize,
}

impl Start {
    fn new(text: &[u8], parts: usize) -> Self {
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let mut state = INITIAL;
        compress256(&mut state, blocks);
        Self { state, hashed: text.len() - rest.len(), rest: rest.to_vec(), parts }
    }

    /// Begins what is left of a preimage to hash, in a buffer that is used again and again.
    pub(super) fn begin(&self, preimage: &mut Vec<u8>) {
        preimage.clear();
        preimage.extend_from_slice(&self.rest);
    }

    /// The hash over what was hashed at the start and `text` behind it. Leaves `text` padded.
    fn finish(&self, text: &mut Vec<u8>) -> [u8; 32] {
        let bits = 8 * (self.hashed + text.len()) as u64;
        text.push(0x80);
        let padded = (text.len() + 8).next_multiple_of(BLOCK);
        text.resize(padded - 8, 0);
        text.extend_from_slice(&bits.to_be_bytes());
        let mut state = self.state;
        compress256(&mut state, text.as_chunks().0);
        let mut hash = [0; 32];
        for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *bytes = word.to_be_bytes();
        }
        hash
    }
}

/// Makes the event ids of one output of one world.
#[derive(Debug, Clone)]
pub struct EventIds {
    /// The output's name alone.
    plain: Start,
    prefix: Vec<u8>,
    suffix: Vec<u8>,
}

impl EventIds {
    /// For `output_id` of `world`.
    #[must_use]
    pub fn new(output_id: &OutputId, world: &WorldKey) -> Self {
        let WorldKey { manifest_fingerprint, parameter_hash, scenario_id, seed } = world;
        let prefix = output_id.as_str().as_bytes().to_vec();
        Self {
            plain: Start::new(&prefix, 0),
            prefix,
            suffix: format!("|{manifest_fingerprint}|{parameter_hash}|{seed}|{scenario_id}").into_bytes(),
        }
    }

    /// The id of the row whose primary key has these texts, in the catalogue's order.
    #[must_use]
    pub fn of(&self, primary_key: &[&str]) -> [u8; 32] {
        let mut preimage = Vec::new();
        self.plain.begin(&mut preimage);
        for value in primary_key {
            preimage.push(b'|');
            preimage.extend_from_slice(value.as_bytes());
        }
        self.finish(&self.plain, &mut preimage)
    }

    /// The start that all rows of the output have.
    pub(super) fn plain(&self) -> &Start {
        &self.plain
    }

    /// The start of rows that share the first `parts` parts of their primary key, written in `key` behind a `|` each.
    pub(super) fn start(&self, key: &[u8], parts: usize) -> Start {
        Start::new(&[self.prefix.as_slice(), key].concat(), parts)
    }

    /// Ends the preimage, to which each other primary key value was added behind a `|`, and hashes it.
    pub(super) fn finish(&self, start: &Start, preimage: &mut Vec<u8>) -> [u8; 32] {
        preimage.extend_from_slice(&self.suffix);
        start.finish(preimage)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_vectors_of_the_producer_in_place_come_out() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/golden/hash_vectors.json")).unwrap();
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
            assert_eq!(const_hex::encode(id), vector["event_id"].as_str().unwrap());
        }
    }

    proptest! {
        #[test]
        fn wherever_a_start_is_cut_the_hash_is_the_same(text in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
            let (shared, own) = text.split_at(cut.min(text.len()));
            let start = Start::new(shared, 0);
            let mut rest = Vec::new();
            start.begin(&mut rest);
            rest.extend_from_slice(own);
            prop_assert_eq!(start.finish(&mut rest), <[u8; 32]>::from(Sha256::digest(&text)));
        }
    }
}

//! Ids of runs: the names of their folders. Those that are given out here are ULIDs, 26 letters and digits that sort by when
//! they were given out; folders that others made have any name. An id from a request is a name to look up, never a path.

use super::chance;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Crockford's digits.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Bytes of a folder's name, which is what file systems take.
const LONGEST: usize = 255;
/// Random bits behind the time.
const RANDOM_BITS: u32 = 80;

/// The name of a run's folder inside the runs folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A new id, later than all before it.
    pub fn new() -> RunId {
        static LAST: Mutex<u128> = Mutex::new(0);
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        // One bit less than there is room for: ids of the same millisecond are counted on.
        let random = (u128::from(chance::number()) << 16 | u128::from(chance::number() & 0xffff)) >> 1;
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last + 1).max(millis << RANDOM_BITS | random);
        RunId((0..26).map(|place| char::from(DIGITS[(*last >> (125 - 5 * place)) as usize & 31])).collect())
    }

    /// A name from a request or a folder, if it can be a run's: that of one folder, not hidden. Whether there is such a run
    /// the folder's listing says.
    pub fn parse(name: &str) -> Option<RunId> {
        let one_folder = !name.is_empty() && name.len() <= LONGEST && !name.contains(['/', '\\', '\0']);
        (one_folder && !name.starts_with('.')).then(|| RunId(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_sort_by_when_they_were_given_out() {
        let ids: Vec<RunId> = (0..1000).map(|_| RunId::new()).collect();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(ids.iter().all(|id| id.as_str().len() == 26 && RunId::parse(id.as_str()).as_ref() == Some(id)));
        assert!(ids[0].as_str().starts_with('0'), "the years until 10889");
    }

    #[test]
    fn what_could_lead_out_of_the_folder_is_no_id() {
        for bad in ["", ".", "..", "../run", "a/b", "a\\b", "/", ".queue", "a\0", &"a".repeat(256)] {
            assert_eq!(RunId::parse(bad), None, "{bad:?}");
        }
        for name in ["run-2", "my run", "苹果", "_x", "-rf", "%2e%2e", "a..b"] {
            assert_eq!(RunId::parse(name).unwrap().as_str(), name);
        }
    }
}

//! Who asks: a visitor is known by a cookie, or where a program sends none, by its address and the name it gives. Where
//! the server listens to the room, the join code opens the door.
//!
//! Enters: cookies, codes. Leaves: a [`Visitor`], and whether it may come in. Who has joined stays so over a restart.

use super::chance;
use crate::error::{Error, IoContext, Result};
use crate::files::atomic::write_atomically;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Wrong codes that are answered in a minute to one address.
const GUESSES: usize = 30;
/// Wrong codes in a minute, from all addresses together, after which every code waits before it is looked at.
const MANY: usize = 60;
/// How long it waits.
const SLOW: Duration = Duration::from_secs(1);
/// The most who may join: more than any lecture hall holds.
const MOST_JOINED: usize = 2000;
const MINUTE: Duration = Duration::from_secs(60);

/// Whoever asks, by a name that tells nothing of the cookie.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Visitor(String);

impl Visitor {
    /// That of a cookie's token.
    pub fn of_token(token: &str) -> Visitor {
        Visitor(digest(&format!("token {token}"))[..12].into())
    }

    /// That of a program without a cookie.
    pub fn of_address(address: IpAddr, name: &str) -> Visitor {
        Visitor(digest(&format!("address {address} {name}"))[..12].into())
    }

    /// One with this very name.
    #[cfg(test)]
    pub fn named(name: &str) -> Visitor {
        Visitor(name.into())
    }

    /// The name, which others may see.
    pub fn label(&self) -> &str {
        &self.0
    }
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Queue runs, look at all, cancel their own.
    Guest,
    /// Cancel anybody's too.
    Host,
}

/// What a code opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The door.
    Welcome(Role),
    /// Nothing.
    Wrong,
    /// There were too many wrong ones from this address: the room's code is not looked at for a while.
    TooMany,
}

/// The codes of this server.
#[derive(Debug, Clone)]
pub struct Codes {
    /// For the room.
    pub join: String,
    /// For the lecturer, who may cancel every run.
    pub host: String,
}

/// The door.
#[derive(Debug)]
pub struct Door {
    codes: Option<Codes>,
    /// Where those are remembered who have joined.
    file: Option<PathBuf>,
    /// Digests of the tokens that were given out for a code.
    joined: Mutex<HashMap<String, Role>>,
    wrong: Mutex<Wrong>,
}

/// The wrong codes of the last minute. They are counted by address: one visitor who guesses must not shut out the room.
#[derive(Debug, Default)]
struct Wrong {
    /// When and from where, the oldest first.
    all: VecDeque<(Instant, IpAddr)>,
    of: HashMap<IpAddr, usize>,
}

impl Wrong {
    fn forget_old(&mut self) {
        while let Some((_, from)) = self.all.pop_front_if(|(when, _)| when.elapsed() >= MINUTE) {
            let left = self.of.get_mut(&from).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                self.of.remove(&from);
            }
        }
    }

    fn note(&mut self, from: IpAddr) {
        self.all.push_back((Instant::now(), from));
        *self.of.entry(from).or_default() += 1;
    }
}

/// The address that wrong codes are counted for: whoever has one of IPv6 has all 2⁶⁴ beside it too.
fn counted(from: IpAddr) -> IpAddr {
    match from {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        IpAddr::V4(_) => from,
    }
}

impl Door {
    /// A door with these codes, or an open one. The file, if there is one, remembers who has joined.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn new(codes: Option<Codes>, file: Option<PathBuf>) -> Result<Door> {
        let joined = file.as_deref().map(read_joined).transpose()?.unwrap_or_default();
        Ok(Door { codes, file, joined: Mutex::new(joined), wrong: Mutex::default() })
    }

    /// Whether everybody may come in.
    pub fn is_open(&self) -> bool {
        self.codes.is_none()
    }

    /// The codes, if there are any.
    pub fn codes(&self) -> Option<&Codes> {
        self.codes.as_ref()
    }

    /// How long a code waits before it is looked at: guesses from many addresses are slowed down, and so is everybody
    /// else, for who guesses would know a right code by its quick answer. The lecturer's code is too long to be guessed and
    /// waits for nothing.
    pub fn pause(&self, code: &str) -> Duration {
        let Some(codes) = &self.codes else { return Duration::ZERO };
        let mut wrong = lock(&self.wrong);
        wrong.forget_old();
        if wrong.all.len() < MANY || is(&codes.host, code) { Duration::ZERO } else { SLOW }
    }

    /// What a code opens that comes from this address.
    pub fn try_code(&self, code: &str, from: IpAddr) -> Answer {
        let Some(codes) = &self.codes else { return Answer::Welcome(Role::Host) };
        if is(&codes.host, code) {
            return Answer::Welcome(Role::Host);
        }
        let from = counted(from);
        let mut wrong = lock(&self.wrong);
        wrong.forget_old();
        if wrong.of.get(&from).is_some_and(|count| *count >= GUESSES) {
            return Answer::TooMany;
        }
        if is(&codes.join, code) {
            return Answer::Welcome(Role::Guest);
        }
        wrong.note(from);
        Answer::Wrong
    }

    /// A token for somebody who had the right code, kept on disk.
    ///
    /// # Errors
    /// When there are too many already, or the list cannot be written.
    pub fn admit(&self, role: Role) -> Result<String> {
        let token = chance::token();
        if self.is_open() {
            return Ok(token);
        }
        let mut joined = lock(&self.joined);
        if joined.len() >= MOST_JOINED {
            let way = "the lecturer can stop the server, remove `joined.json` from `.queue`, and start it again";
            return Err(Error::invalid(format!("{MOST_JOINED} visitors have joined, which is the most"), way));
        }
        joined.insert(digest(&token), role);
        if let Some(file) = &self.file {
            let json = serde_json::to_vec(&*joined).map_err(|e| Error::bad_file(file, "list of visitors", e))?;
            write_atomically(file, &json)?;
        }
        Ok(token)
    }

    /// What the bearer of a token may do; `None` for one that was not given out here.
    pub fn role(&self, token: &str) -> Option<Role> {
        if self.is_open() {
            return is_token(token).then_some(Role::Host);
        }
        lock(&self.joined).get(&digest(token)).copied()
    }
}

/// Whether somebody typed this code, in however large letters. It takes as long for every wrong one of a length.
fn is(right: &str, typed: &str) -> bool {
    right.to_ascii_uppercase().as_bytes().ct_eq(typed.trim().to_ascii_uppercase().as_bytes()).into()
}

fn read_joined(file: &Path) -> Result<HashMap<String, Role>> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::bad_file(file, "list of visitors", e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(error).at("read", file),
    }
}

/// Whether a text has the form of a token.
fn is_token(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn door(file: &Path) -> Door {
        let codes = Codes { join: "ABC234".into(), host: "HOST99HOST99".into() };
        Door::new(Some(codes), Some(file.into())).unwrap()
    }

    #[test]
    fn the_code_opens_and_a_restart_forgets_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("joined.json");
        let first = door(&file);
        assert_eq!(first.try_code(" abc234 ", address(1)), Answer::Welcome(Role::Guest));
        assert_eq!(first.try_code("host99HOST99", address(1)), Answer::Welcome(Role::Host));
        let token = first.admit(Role::Guest).unwrap();
        assert!(!std::fs::read_to_string(&file).unwrap().contains(&token), "who reads the file cannot come in");
        assert_eq!(door(&file).role(&token), Some(Role::Guest));
        assert_eq!(door(&file).role(&chance::token()), None);
    }

    #[test]
    fn who_tries_codes_out_is_shut_out_alone() {
        let folder = tempfile::tempdir().unwrap();
        let door = door(&folder.path().join("joined.json"));
        for _ in 0..GUESSES {
            assert_eq!(door.try_code("ABC235", address(1)), Answer::Wrong);
        }
        assert_eq!(door.try_code("ABC234", address(1)), Answer::TooMany);
        assert_eq!(door.try_code("ABC234", address(2)), Answer::Welcome(Role::Guest));
        assert_eq!(door.try_code("HOST99HOST99", address(1)), Answer::Welcome(Role::Host));
        // From many addresses: nobody is shut out, but all are slowed down.
        assert_eq!(door.pause("ABC234"), Duration::ZERO);
        for other in 0..MANY - GUESSES {
            assert_eq!(door.try_code("ABC235", address(3 + other as u8)), Answer::Wrong);
        }
        assert_eq!((door.pause("ABC234"), door.pause("HOST99HOST99")), (SLOW, Duration::ZERO));
        assert_eq!(door.try_code("ABC234", address(2)), Answer::Welcome(Role::Guest));
    }

    #[test]
    fn wrong_codes_are_forgotten_and_a_network_counts_as_one() {
        let (mut wrong, from) = (Wrong::default(), address(1));
        wrong.note(from);
        wrong.all[0].0 = Instant::now().checked_sub(MINUTE).unwrap();
        wrong.note(from);
        wrong.forget_old();
        assert_eq!((wrong.all.len(), wrong.of.get(&from)), (1, Some(&1)));
        wrong.all[0].0 = Instant::now().checked_sub(MINUTE).unwrap();
        wrong.forget_old();
        assert!(wrong.all.is_empty() && wrong.of.is_empty());
        let network = |address: &str| counted(address.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    }
}

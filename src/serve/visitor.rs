//! Who asks: a visitor is known by a cookie, or where a program sends none, by its address and the name it gives. Where
//! the server listens to the room, the join code opens the door.
//!
//! Enters: cookies, codes. Leaves: a [`Visitor`], and whether it may come in. Who has joined stays so over a restart.

use super::chance;
use crate::error::{Error, IoContext, Result};
use crate::files::atomic::write_atomically;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Wrong codes that are answered in a minute, from all visitors together.
const GUESSES: usize = 30;
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
    /// There were too many wrong ones: no code is looked at for a while.
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
    wrong: Mutex<Vec<Instant>>,
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

    /// What a code opens.
    pub fn try_code(&self, code: &str) -> Answer {
        let Some(codes) = &self.codes else { return Answer::Welcome(Role::Host) };
        let mut wrong = lock(&self.wrong);
        wrong.retain(|when| when.elapsed() < MINUTE);
        if wrong.len() >= GUESSES {
            return Answer::TooMany;
        }
        let code = code.trim().to_ascii_uppercase();
        let is = |right: &str| bool::from(right.to_ascii_uppercase().as_bytes().ct_eq(code.as_bytes()));
        match (is(&codes.host), is(&codes.join)) {
            (true, _) => Answer::Welcome(Role::Host),
            (_, true) => Answer::Welcome(Role::Guest),
            _ => {
                wrong.push(Instant::now());
                Answer::Wrong
            }
        }
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

    fn door(file: &Path) -> Door {
        let codes = Codes { join: "ABC234".into(), host: "HOST99".into() };
        Door::new(Some(codes), Some(file.into())).unwrap()
    }

    #[test]
    fn the_code_opens_and_a_restart_forgets_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("joined.json");
        let first = door(&file);
        assert_eq!(first.try_code(" abc234 "), Answer::Welcome(Role::Guest));
        assert_eq!(first.try_code("HOST99"), Answer::Welcome(Role::Host));
        let token = first.admit(Role::Guest).unwrap();
        assert!(!std::fs::read_to_string(&file).unwrap().contains(&token), "who reads the file cannot come in");
        assert_eq!(door(&file).role(&token), Some(Role::Guest));
        assert_eq!(door(&file).role(&chance::token()), None);
    }

    #[test]
    fn codes_cannot_be_tried_out() {
        let folder = tempfile::tempdir().unwrap();
        let door = door(&folder.path().join("joined.json"));
        for _ in 0..GUESSES {
            assert_eq!(door.try_code("ABC235"), Answer::Wrong);
        }
        assert_eq!(door.try_code("ABC234"), Answer::TooMany);
    }
}

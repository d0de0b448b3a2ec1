//! Where the Hugging Face libraries keep their downloads, by the variables that they read and in their order.

use std::ffi::OsString;
use std::path::PathBuf;

/// The cache's folder: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE` (its old name), `hub` in the libraries' [`home`].
pub fn folder() -> Option<PathBuf> {
    folder_by(&|name| std::env::var_os(name))
}

/// The libraries' folder: `HF_HOME`, else `huggingface` in `XDG_CACHE_HOME` or in `~/.cache`.
pub fn home() -> Option<PathBuf> {
    home_by(&|name| std::env::var_os(name))
}

/// The user's cache folder: `XDG_CACHE_HOME`, else `~/.cache`.
pub fn of_user() -> Option<PathBuf> {
    of_user_by(&|name| std::env::var_os(name))
}

/// A path that a variable holds, with a leading `~` and the variables in it filled in.
pub fn path_in(name: &str) -> Option<PathBuf> {
    path_by(&|name| std::env::var_os(name), name)
}

type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn folder_by(var: Variables) -> Option<PathBuf> {
    let named = path_by(var, "HF_HUB_CACHE").or_else(|| path_by(var, "HUGGINGFACE_HUB_CACHE"));
    named.or_else(|| Some(home_by(var)?.join("hub")))
}

fn home_by(var: Variables) -> Option<PathBuf> {
    path_by(var, "HF_HOME").or_else(|| Some(of_user_by(var)?.join("huggingface")))
}

fn of_user_by(var: Variables) -> Option<PathBuf> {
    path_by(var, "XDG_CACHE_HOME").or_else(|| Some(path_by(var, "HOME")?.join(".cache")))
}

fn path_by(var: Variables, name: &str) -> Option<PathBuf> {
    let value = var(name).filter(|value| !value.is_empty())?;
    // A path that is not UTF-8 is taken as it stands.
    let Some(text) = value.to_str() else { return Some(value.into()) };
    Some(with_variables(var, with_home(var, text)).into())
}

/// Python's `os.path.expanduser`, for the user who runs this.
fn with_home(var: Variables, text: &str) -> OsString {
    let home = var("HOME").filter(|home| !home.is_empty());
    match (text.strip_prefix('~'), home) {
        (Some(rest), Some(mut home)) if rest.is_empty() || rest.starts_with('/') => {
            home.push(rest);
            home
        }
        _ => text.into(),
    }
}

/// Python's `os.path.expandvars`: `$NAME` and `${NAME}`; what is not set stays as it is written.
fn with_variables(var: Variables, path: OsString) -> OsString {
    let Some(text) = path.to_str() else { return path };
    let mut out = OsString::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = match after.strip_prefix('{').and_then(|inner| inner.find('}').map(|end| &inner[..end])) {
            Some(name) => (name, name.len() + 2),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match var(name).filter(|_| !name.is_empty()) {
            Some(value) => out.push(value),
            None => out.push(&rest[at..at + 1 + length]),
        }
        rest = &after[length..];
    }
    out.push(rest);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder(set: &[(&str, &str)]) -> Option<String> {
        let var = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        folder_by(&var).map(|path| path.to_str().unwrap().to_string())
    }

    /// The order and the answers of huggingface_hub.
    #[test]
    fn the_cache_is_where_the_libraries_look() {
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HUGGINGFACE_HUB_CACHE", "/b"),
            ("HF_HOME", "/c"),
            ("XDG_CACHE_HOME", "/d"),
            ("HOME", "/home/e"),
        ];
        let expected = ["/a", "/b", "/c/hub", "/d/huggingface/hub", "/home/e/.cache/huggingface/hub"];
        for (first, expected) in expected.into_iter().enumerate() {
            assert_eq!(folder(&all[first..]).unwrap(), expected);
        }
        assert_eq!(folder(&[]), None);
        assert_eq!(folder(&[("HF_HUB_CACHE", ""), ("HF_HOME", "/c")]).unwrap(), "/c/hub");
    }

    #[test]
    fn the_home_and_variables_are_filled_in() {
        let home = ("HOME", "/home/e");
        for (value, expected) in [
            ("~/models", "/home/e/models"),
            ("~", "/home/e"),
            ("~other/models", "~other/models"),
            ("/x/~", "/x/~"),
            ("$DISK/hub", "/disk/hub"),
            ("${DISK}2/$DISK", "/disk2//disk"),
            ("/x/$NONE/${NONE}/$", "/x/$NONE/${NONE}/$"),
            ("/x/${DISK", "/x/${DISK"),
        ] {
            let set = [home, ("DISK", "/disk"), ("HF_HUB_CACHE", value)];
            assert_eq!(folder(&set).unwrap(), expected, "{value}");
        }
        assert_eq!(folder(&[home, ("HF_HOME", "~/hf")]).unwrap(), "/home/e/hf/hub");
        assert_eq!(folder(&[home, ("XDG_CACHE_HOME", "$HOME/c")]).unwrap(), "/home/e/c/huggingface/hub");
        assert_eq!(folder(&[home, ("HUGGINGFACE_HUB_CACHE", "~/old")]).unwrap(), "/home/e/old");
    }
}

//! The wait of libgomp's threads is settled before it starts, the user has the last word, and programs that are started
//! find the environment as the user left it.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::process::{Command, Output};

/// `sdviz WORDS` in an environment that holds nothing but these.
fn sdviz(words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdviz"));
    command.env_clear().envs(environment.iter().copied()).args(words).output().unwrap()
}

/// What libgomp says it was told, when it is asked to.
fn spin_count(environment: &[(&str, &str)]) -> String {
    let output = sdviz(&["schedulers"], &[&[("OMP_DISPLAY_ENV", "verbose")], environment].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    let line = said.lines().find(|line| line.contains("GOMP_SPINCOUNT")).unwrap_or_default();
    line.split('\'').nth(1).unwrap_or_default().to_string()
}

#[test]
fn threads_spin_shortly_unless_the_user_says_how() {
    assert_eq!(spin_count(&[("_", "/bin/sdviz")]), "8000");
    assert_eq!(spin_count(&[("HOME", "/"), ("OLDPWD", "/tmp")]), "8000");
    assert_eq!(spin_count(&[("_", "/bin/sdviz"), ("OMP_WAIT_POLICY", "passive")]), "0");
    assert_eq!(spin_count(&[("_", "/bin/sdviz"), ("GOMP_SPINCOUNT", "77")]), "77");
}

#[test]
fn a_plug_in_finds_the_environment_of_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let plug_in = folder.path().join("sdviz-whereabouts");
    std::fs::write(&plug_in, "#!/bin/sh\n/usr/bin/env\n").unwrap();
    std::fs::set_permissions(&plug_in, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = folder.path().to_str().unwrap();
    let seen = sdviz(&["whereabouts"], &[("PATH", path), ("LS_COLORS", "di=1"), ("SDVIZ_MODEL", "pocket")]);
    let seen = String::from_utf8(seen.stdout).unwrap();
    assert!(seen.contains("LS_COLORS=di=1"), "{seen}");
    assert!(!seen.contains("GOMP_SPINCOUNT"), "{seen}");
}

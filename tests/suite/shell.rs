//! What shells and `man` are given: completions and manual pages of the verbs that there are.

use crate::common::{sdviz, stdout};
use std::process::Command;

#[test]
fn every_shell_is_given_verbs_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = sdviz(&["completions", shell]);
        let script = stdout(&output);
        assert!(output.status.success(), "{shell}");
        for word in ["trace", "filmstrip", "guidance-scale", "decode-what"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(sdviz(&["completions", "tcsh"]).status.code(), Some(2));
}

/// bash itself completes with the script.
#[test]
fn bash_completes_a_verb() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("sdviz.bash");
    std::fs::write(&script, sdviz(&["completions", "bash"]).stdout).unwrap();
    let ask = format!(
        "source {}; COMP_WORDS=(sdviz films); COMP_CWORD=1; _sdviz sdviz films sdviz; echo ${{COMPREPLY[@]}}",
        script.display()
    );
    let Ok(output) = Command::new("bash").args(["--norc", "-c", &ask]).output() else { return };
    assert_eq!(stdout(&output).trim(), "filmstrip", "{output:?}");
}

#[test]
fn there_is_a_page_for_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    let output = sdviz(&["man", "--out", out.to_str().unwrap()]);
    assert!(output.status.success());
    let named: Vec<String> = stdout(&output).lines().map(String::from).collect();
    let there: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(named.len(), there.len());
    let help = String::from_utf8(sdviz(&["--help"]).stdout).unwrap();
    for verb in ["trace", "report", "completions", "dataset-build", "train-lora"] {
        let page = std::fs::read_to_string(out.join(format!("sdviz-{verb}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains(&format!("sdviz-{verb}").replace('-', "\\-")), "{page}");
        assert!(help.contains(verb.split('-').next().unwrap()));
    }
    let page = std::fs::read_to_string(out.join("sdviz-trace.1")).unwrap();
    assert!(page.contains("guidance\\-scale") && page.contains("How strongly to follow the prompt"));
}

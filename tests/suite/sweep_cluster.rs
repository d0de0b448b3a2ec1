//! Sweeps handed to a cluster, with a stand-in for `sbatch` that carries the array's tasks out one after another, and what
//! is said of a sweep from outside. A real Slurm is tried by `make test-slurm`.
#![cfg(unix)]

use crate::common::{command, stderr, stdout};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const FOUR: [&str; 10] =
    ["--prompt", "a cat's \"red\" $HAT", "--steps", "1,2", "--seed", "1,2", "--width", "32", "--height", "32"];

fn sdviz(folder: &Path, args: &[&str]) -> Command {
    let mut command = command();
    command.args(args).current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

/// The same with a stand-in `sbatch`, and nothing else but the usual programs, on the PATH.
fn with_sbatch(folder: &Path, sbatch: &str, args: &[&str]) -> Output {
    let (bin, program) = (folder.join("bin"), folder.join("bin/sbatch"));
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(&program, format!("#!/bin/sh\n{sbatch}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    sdviz(folder, args).env("PATH", format!("{}:/usr/bin:/bin", bin.display())).output().unwrap()
}

fn status(folder: &Path, sweep: &str) -> String {
    let output = sdviz(folder, &["sweep", "--status", sweep]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// Carries the tasks out as they are numbered in the script, and gives a job's number as sbatch does.
const CARRIES_OUT: &str = r#"
    echo "$@" >> sbatch.log
    last=$(sed -n 's/^#SBATCH --array=1-//p' "$2")
    for task in $(seq "$last"); do SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task sh "$2" >>tasks.log 2>&1 || exit 3; done
    echo "7;cluster""#;

#[test]
fn a_submitted_sweep_is_the_sweep() {
    let home = tempfile::tempdir().unwrap();
    let submit = ["--submit", "slurm", "--tasks=3", "--slurm-options", "--gres=gpu:1 --time=5", "--out", "a sweep"];
    let output = with_sbatch(home.path(), CARRIES_OUT, &[&["sweep"], &FOUR[..], &submit].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "7\n", "a program reads the job's number");
    assert!(stderr(&output).contains("4 cells in 3 tasks"), "{}", stderr(&output));
    let script = std::fs::read_to_string(home.path().join("a sweep/slurm/sweep.sh")).unwrap();
    assert!(
        script.contains("\n#SBATCH --gres=gpu:1 --time=5\n") && script.contains("#SBATCH --array=1-3\n"),
        "{script}"
    );
    assert!(!script.contains("--submit slurm --"), "{script}");
    assert!(status(home.path(), "a sweep").starts_with("4 cells: 4 done, 0 running, 0 failed, 0 missing"));

    let here = sdviz(home.path(), &[&["sweep"], &FOUR[..], &["--out", "here"]].concat()).output().unwrap();
    assert!(here.status.success(), "{}", stderr(&here));
    let grid = |sweep: &str| std::fs::read(home.path().join(sweep).join("exports/grid.png")).unwrap();
    assert!(grid("a sweep") == grid("here"), "another grid than without a cluster");
}

#[test]
fn more_tasks_than_cells_are_not_asked_for_and_what_is_wrong_is_said_before() {
    let home = tempfile::tempdir().unwrap();
    let submit = |sbatch: &str, args: &[&str]| {
        with_sbatch(home.path(), sbatch, &[&["sweep", "--submit", "slurm"], args].concat())
    };
    let output = submit("echo 1", &FOUR);
    assert!(stderr(&output).contains("4 cells in 4 tasks"), "{}", stderr(&output));
    for (args, word) in [
        (&["--steps", "1,2"][..], "has no prompt"),
        (&["--prompt", "a cat", "--steps", "many"], "many"),
        (&["--prompt", "a cat", "--tasks", "0"], "an array of 0 tasks"),
        (&["--prompt", "a cat", "--shard", "1/2"], "--shard"),
        (&["--prompt", "a cat", "--out", "bin"], "not a sweep"),
    ] {
        let output = submit("echo called > called", args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains(word) && !home.path().join("called").exists(),
            "{args:?}: {}",
            stderr(&output)
        );
    }
    let output = submit("echo 'sbatch: error: invalid partition' >&2; exit 1", &FOUR);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("invalid partition") && stderr(&output).contains("--slurm-options"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn without_sbatch_the_script_is_named() {
    let home = tempfile::tempdir().unwrap();
    let args = [&["sweep", "--submit", "slurm"], &FOUR[..]].concat();
    let output = sdviz(home.path(), &args).env("PATH", home.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.contains("there is no `sbatch` on the PATH") && told.contains("/sweep/slurm/sweep.sh`"), "{told}");
    assert!(home.path().join("sweep/slurm/sweep.sh").is_file());
}

#[test]
fn a_sweep_says_how_far_it_is_and_who_makes_it() {
    let home = tempfile::tempdir().unwrap();
    let output = sdviz(home.path(), &[&["sweep"], &FOUR[..], &["--shard", "1/2", "--no-grid", "--no-report"]].concat())
        .env("SLURMD_NODENAME", "node7")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(status(home.path(), "sweep").starts_with("4 cells: 2 done, 0 running, 0 failed, 2 missing"));
    // Another process makes one of them, and a kill has left the lock file of the other.
    let (store, record) = sdviz::sweep::store::Store::open(&home.path().join("sweep")).unwrap();
    let missing: Vec<&str> = record.cells.iter().map(|c| c.cell.as_str()).filter(|c| !store.cell(c).exists()).collect();
    let _claim = store.claim(missing[0]).unwrap().unwrap();
    std::fs::write(store.dir().join("cells").join(format!(".{}.lock", missing[1])), "long gone").unwrap();
    let said = status(home.path(), "sweep");
    assert!(said.starts_with("4 cells: 2 done, 1 running, 0 failed, 1 missing"), "{said}");
    let maker = format!("process {}", std::process::id());
    assert!(said.lines().any(|line| line.contains(missing[0]) && line.contains(&maker)), "{said}");
    assert!(!said.contains("long gone"), "{said}");
}

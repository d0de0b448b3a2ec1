//! What many tests need: paths, the program as a process, the tiny model, how far two tensors are apart.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sdviz::model::files::ModelFiles;
use sdviz::model::resolve::ModelChoice;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::tch::{Kind, Tensor};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A path in the repository.
pub fn root(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A path in `tests/goldens`.
pub fn golden_file(path: impl AsRef<Path>) -> PathBuf {
    root("tests/goldens").join(path)
}

/// The folder of the tiny model, as an argument.
pub fn tiny_sd() -> String {
    golden_file("tiny-sd").display().to_string()
}

/// The program with no settings of this machine's, no cache, and one thread: tests run side by side, and more threads would
/// only wait for one another.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdviz"));
    command.env_remove("SDVIZ_MODEL").env_remove("RUST_BACKTRACE");
    command.env("OMP_NUM_THREADS", "1").env("HF_HUB_CACHE", "/nowhere");
    command
}

/// What the program does with these words.
pub fn sdviz(words: &[impl AsRef<OsStr>]) -> Output {
    command().args(words).output().unwrap()
}

/// The same in a folder.
pub fn sdviz_in(folder: &Path, words: &[impl AsRef<OsStr>]) -> Output {
    command().args(words).current_dir(folder).output().unwrap()
}

/// Words parted by blanks; `~` stands for one.
pub fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| word.replace('~', " ")).collect()
}

/// Runs a command that must succeed.
pub fn done(words: &[impl AsRef<OsStr> + std::fmt::Debug]) -> Output {
    succeeded(sdviz(words), &words)
}

/// Output of a command that must have succeeded.
pub fn succeeded(output: Output, what: &dyn std::fmt::Debug) -> Output {
    assert!(output.status.success(), "{what:?}: {}", stderr(&output));
    output
}

/// Runs a command that must be refused: what it says.
pub fn refused(words: &[impl AsRef<OsStr> + std::fmt::Debug]) -> String {
    complaint(&sdviz(words), &words)
}

/// What a command that must have been refused said.
pub fn complaint(output: &Output, what: &dyn std::fmt::Debug) -> String {
    assert_eq!(output.status.code(), Some(2), "{what:?}: {}", stderr(output));
    stderr(output)
}

/// Standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A model's folder, chosen as `--model` chooses it.
pub fn chosen(folder: impl Into<PathBuf>) -> ModelChoice {
    ModelChoice { id: "test".into(), chosen_by: "--model", files: ModelFiles::Folder(folder.into()) }
}

/// The tiny model in f32.
pub fn tiny_pipeline() -> Pipeline {
    Pipeline::load(&chosen(golden_file("tiny-sd")), LoadOptions::default()).unwrap()
}

/// Largest absolute difference over the largest absolute value of the golden.
pub fn relative(ours: &Tensor, golden: &Tensor) -> f64 {
    assert_eq!(ours.size(), golden.size());
    let (ours, golden) = (ours.to_kind(Kind::Double), golden.to_kind(Kind::Double));
    ((ours - &golden).abs().max() / golden.abs().max()).double_value(&[])
}

/// Changes the record of a run.
pub fn edit_record(run: &Path, edit: impl Fn(&mut Value)) {
    let path = run.join("run.json");
    let mut record = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut record);
    std::fs::write(path, record.to_string()).unwrap();
}

/// A weight file's tensors: by name their type, shape and bytes.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// What a weight file holds.
pub fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let own = |(name, t): (&str, TensorView)| (name.into(), (t.dtype(), t.shape().to_vec(), t.data().to_vec()));
    file.iter().map(own).collect()
}

/// Writes a weight file.
pub fn write_tensors(path: &Path, tensors: &Tensors, header: Option<HashMap<String, String>>) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, header, path).unwrap();
}

/// Writes the tensors of a weight file again, these in eight bits, with some of f32 beside them.
pub fn narrowed(file: &Path, (kind, dtype): (Kind, Dtype), beside: &[(&str, &[f32])]) {
    let mut all = Tensors::new();
    for (name, tensor) in Tensor::read_safetensors(file).unwrap() {
        let shape = tensor.size().iter().map(|n| *n as usize).collect();
        let bytes = tensor.to_kind(kind).view_dtype(Kind::Uint8).flatten(0, -1);
        all.insert(name, (dtype, shape, Vec::try_from(bytes).unwrap()));
    }
    for (name, numbers) in beside {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        all.insert(name.to_string(), (Dtype::F32, vec![numbers.len()], bytes));
    }
    write_tensors(file, &all, None);
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

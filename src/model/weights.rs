//! Weights: safetensors files mapped into memory and handed out tensor by tensor under their diffusers names.
//!
//! Enters: a file (or bytes inside the program), a device and a dtype. Leaves: [`Weights`], a path into the file that reads
//! like the keys: `weights / "attn1" / "to_q"`. Where file and model agree on f32 on the CPU, tensors are views of the
//! mapped file and nothing is copied. Old key names are renamed on the way in.

use super::{fp8, sniff};
use crate::error::{Error, IoContext, Result};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Div;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Where a weight file's bytes are.
#[derive(Debug)]
pub enum Bytes {
    /// A file on disk, mapped.
    Mapped(Mmap),
    /// Inside the program.
    Embedded(&'static [u8]),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Embedded(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Maps a file.
    ///
    /// # Errors
    /// When it cannot be opened, is empty, or is a pickle (which could run code when read).
    pub fn map(path: &Path) -> Result<Bytes> {
        let file = std::fs::File::open(path).at("read", path)?;
        if file.metadata().at("read", path)?.len() == 0 {
            return Err(Error::bad_file(path, "safetensors file", "it is empty"));
        }
        // SAFETY: the map is read-only. Someone who shortens the file while it is in use makes reads of it fail, as
        // with every mapped file; a file that was short from the start is refused when its header is read.
        let map = unsafe { Mmap::map(&file) }.at("map", path)?;
        if path.extension().is_some_and(|e| ["bin", "ckpt", "pt", "pth"].iter().any(|p| e.eq_ignore_ascii_case(p))) {
            return Err(sniff::pickle(path, &map));
        }
        Ok(Bytes::Mapped(map))
    }
}

/// One tensor of a weight file, by its header.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Shape.
    pub shape: Vec<i64>,
    /// Type of the numbers in the file.
    pub dtype: Dtype,
    /// The piece that it lies in.
    piece: usize,
    start: usize,
    end: usize,
}

/// A weight file, or the pieces that one was cut into: their bytes and the index of their headers.
#[derive(Debug)]
pub struct WeightFile {
    /// The file, or the one that stands for its pieces.
    path: PathBuf,
    pieces: Vec<(PathBuf, Bytes)>,
    /// By canonical name.
    entries: BTreeMap<String, Entry>,
    /// Names of what was left out by [`WeightFile::without`].
    passed_over: Vec<String>,
}

/// A piece of weights, and what its keys are called.
pub type RenamedPiece<'a> = (PathBuf, Bytes, Box<dyn Fn(&str) -> Option<String> + 'a>);

impl WeightFile {
    /// Reads the header of a safetensors file and renames old keys.
    ///
    /// # Errors
    /// When the header is not valid, or the file is shorter than it says.
    pub fn new(path: &Path, bytes: Bytes) -> Result<WeightFile> {
        WeightFile::renamed(path, bytes, |key| Some(key.to_string()))
    }

    /// The same with the keys renamed by `rename` first; those to which it gives no name are left out.
    ///
    /// # Errors
    /// As [`WeightFile::new`].
    pub fn renamed(path: &Path, bytes: Bytes, rename: impl Fn(&str) -> Option<String>) -> Result<WeightFile> {
        let entries = index(path, bytes.as_ref(), 0, rename)?;
        let pieces = vec![(path.to_path_buf(), bytes)];
        Ok(WeightFile { path: path.to_path_buf(), pieces, entries, passed_over: vec![] })
    }

    /// Reads the headers of the pieces that a file was cut into. `path` is what the whole is called.
    ///
    /// # Errors
    /// As [`WeightFile::new`]; also when two pieces have a tensor of one name.
    pub fn of_pieces(path: &Path, pieces: Vec<(PathBuf, Bytes)>) -> Result<WeightFile> {
        let same = |(path, bytes)| -> RenamedPiece { (path, bytes, Box::new(|key| Some(key.to_string()))) };
        WeightFile::of_renamed_pieces(path, pieces.into_iter().map(same).collect())
    }

    /// The same with the keys of each piece renamed first; those that get no name are left out.
    ///
    /// # Errors
    /// As [`WeightFile::of_pieces`].
    pub fn of_renamed_pieces(path: &Path, pieces: Vec<RenamedPiece>) -> Result<WeightFile> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (number, (piece, bytes, rename)) in pieces.iter().enumerate() {
            for (name, entry) in index(piece, bytes.as_ref(), number, rename)? {
                if let Some(first) = entries.get(&name) {
                    let first = pieces[first.piece].0.display();
                    let reason =
                        format!("tensor `{name}` is in it and in `{first}`, another piece of the same weights");
                    return Err(Error::bad_file(piece, "piece of weights", reason));
                }
                entries.insert(name, entry);
            }
        }
        let pieces = pieces.into_iter().map(|(path, bytes, _)| (path, bytes)).collect();
        Ok(WeightFile { path: path.to_path_buf(), pieces, entries, passed_over: vec![] })
    }

    /// The same with each tensor for which there are three names as three, one below the other: a projection to query,
    /// key and value in one.
    ///
    /// # Errors
    /// When its rows do not part into three.
    pub fn in_thirds(mut self, names: impl Fn(&str) -> Option<[String; 3]>) -> Result<WeightFile> {
        for (name, entry) in std::mem::take(&mut self.entries) {
            let Some(thirds) = names(&name) else {
                self.entries.insert(name, entry);
                continue;
            };
            let Some(rows) = entry.shape.first().filter(|rows| *rows % 3 == 0) else {
                let reason = format!("tensor `{name}` {:?} does not part into three", entry.shape);
                return Err(Error::bad_file(&self.path, "weight file", reason));
            };
            let (shape, length) = ([&[rows / 3], &entry.shape[1..]].concat(), (entry.end - entry.start) / 3);
            for (place, third) in thirds.into_iter().enumerate() {
                let start = entry.start + place * length;
                self.entries.insert(third, Entry { shape: shape.clone(), start, end: start + length, ..entry });
            }
        }
        Ok(self)
    }

    /// The same without the tensors that have no use; [`WeightFile::note`] tells of them.
    pub fn without(mut self, unused: impl Fn(&str) -> bool) -> WeightFile {
        self.passed_over.extend(self.entries.keys().filter(|name| unused(name)).cloned());
        self.entries.retain(|name, _| !unused(name));
        self
    }

    /// What there is to tell of the file: what was passed over.
    pub fn note(&self) -> Option<String> {
        let (first, rest) = self.passed_over.split_first()?;
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        Some(format!("`{}`: `{first}`{more}: passed over, no picture needs them", self.path.display()))
    }

    /// The file's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold its bytes: itself, or its pieces in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.pieces.iter().map(|(path, _)| path.as_path())
    }

    /// The bytes of a file that is in one piece; of others those of the first.
    pub fn bytes(&self) -> &[u8] {
        self.pieces.first().map_or(&[], |(_, bytes)| bytes.as_ref())
    }

    /// The tensors by canonical name.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// A tensor's bytes.
    pub fn data(&self, entry: &Entry) -> &[u8] {
        &self.pieces[entry.piece].1.as_ref()[entry.start..entry.end]
    }

    /// Gives back the memory of a tensor that is a view of a mapped file; whoever reads it again reads it from the disk. Of
    /// other tensors it does nothing.
    #[cfg_attr(not(unix), allow(unused_variables))]
    pub fn release(&self, tensor: &Tensor) {
        #[cfg(unix)]
        for (_, bytes) in &self.pieces {
            let Bytes::Mapped(map) = bytes else { continue };
            let (start, length) = (tensor.data_ptr() as usize, tensor.numel() * tensor.kind().elt_size_in_bytes());
            let Some(offset) = start.checked_sub(map.as_ptr() as usize) else { continue };
            if tensor.device() == Device::Cpu && offset + length <= map.len() {
                // SAFETY: the map is of a file and read-only, so its pages come back as they were. A kernel that refuses
                // keeps them, which costs memory only.
                let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, length) };
            }
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        self.entries.values().map(|e| e.shape.iter().product::<i64>() as u64).sum()
    }

    /// The type most of the numbers have.
    pub fn dtype(&self) -> Option<Dtype> {
        self.entries.values().max_by_key(|e| e.end - e.start).map(|e| e.dtype)
    }

    /// Its name: `f16`; empty for a file without tensors.
    pub fn dtype_name(&self) -> String {
        self.dtype().map(|dtype| format!("{dtype:?}").to_lowercase()).unwrap_or_default()
    }
}

/// The tensors that a file's header lists, by canonical name.
fn index(
    path: &Path,
    data: &[u8],
    piece: usize,
    rename: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Entry>> {
    let bad = |reason: String| Error::bad_file(path, "safetensors file", reason);
    let parsed = SafeTensors::deserialize(data).map_err(|e| sniff::refused(path, data, &e))?;
    fp8::refuse_scaled(path, parsed.iter().map(|(name, view)| (name, view.dtype())))?;
    let base = data.as_ptr() as usize;
    let mut entries = BTreeMap::new();
    for (name, view) in parsed.iter() {
        let Some(canonical) = rename(name).as_deref().and_then(canonical) else { continue };
        let shape: Vec<i64> = view.shape().iter().filter_map(|d| i64::try_from(*d).ok()).collect();
        if shape.len() < view.shape().len() || shape.iter().try_fold(1i64, |n, d| n.checked_mul(*d)).is_none() {
            return Err(bad(format!("tensor `{name}` has shape {:?}", view.shape())));
        }
        let start = view.data().as_ptr() as usize - base;
        let end = start + view.data().len();
        entries.insert(canonical, Entry { shape, dtype: view.dtype(), piece, start, end });
    }
    Ok(entries)
}

/// The name a key has today, or `None` for a buffer that holds no weights.
fn canonical(key: &str) -> Option<String> {
    if key.ends_with("position_ids") {
        return None;
    }
    // Text encoders saved by recent versions of transformers leave the prefix away.
    let bare = ["embeddings.", "encoder.layers.", "final_layer_norm."].iter().any(|p| key.starts_with(p));
    if bare && !of_tiny_encoder(key) {
        return Some(format!("text_model.{key}"));
    }
    // VAEs saved before diffusers had one attention class.
    if let Some((front, back)) = key.split_once("mid_block.attentions.0.") {
        for (old, new) in [("query.", "to_q."), ("key.", "to_k."), ("value.", "to_v."), ("proj_attn.", "to_out.0.")] {
            if let Some(rest) = back.strip_prefix(old) {
                return Some(format!("{front}mid_block.attentions.0.{new}{rest}"));
            }
        }
    }
    Some(key.to_string())
}

/// Whether a key is one of the tiny autoencoder's encoder, whose layers are convolutions and blocks of them; a text
/// encoder's hold parts with names.
fn of_tiny_encoder(key: &str) -> bool {
    let inside = key.strip_prefix("encoder.layers.").and_then(|rest| rest.split_once('.'));
    inside.is_some_and(|(_, part)| ["weight", "bias"].contains(&part) || part.starts_with("conv."))
}

/// Where a component's tensors come from.
enum Source {
    /// A file, with what changes a tensor on its way out, if anything does.
    File(Arc<WeightFile>, Option<Rc<Change>>),
    /// Somebody who makes each tensor: a trainer with its parameters.
    Made(Rc<Make>),
}

/// Changes the tensor of this key, which is on its device and in the file's dtype: a LoRA adds to it. What it gives is
/// cast to the model's dtype.
pub type Change = dyn Fn(&str, Tensor) -> Result<Tensor>;

/// Gives the tensor of this key and shape.
pub type Make = dyn Fn(&str, &[i64]) -> Result<Tensor>;

struct Store {
    source: Source,
    device: Device,
    kind: Kind,
    taken: RefCell<BTreeSet<String>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("device", &self.device).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A place in a component's weights: modules take their tensors from it and hand deeper places to their parts. Tensors
/// may be views of the mapped file: whoever holds them must hold [`Weights::file`], too.
#[derive(Debug, Clone)]
pub struct Weights {
    store: Rc<Store>,
    /// The component's name, `unet`, which is not part of the keys but of the sites' names.
    component: &'static str,
    path: String,
}

impl Weights {
    /// The root of a component's weights, handed out as `kind` on `device`.
    pub fn new(component: &'static str, file: Arc<WeightFile>, device: Device, kind: Kind) -> Weights {
        Weights::root(component, Source::File(file, None), device, kind)
    }

    /// The same, each tensor changed by `change` on its way out. It is asked for every tensor.
    pub fn changed(
        component: &'static str,
        file: Arc<WeightFile>,
        device: Device,
        kind: Kind,
        change: Rc<Change>,
    ) -> Weights {
        Weights::root(component, Source::File(file, Some(change)), device, kind)
    }

    /// The root of weights that no file holds: `make` gives each tensor, already on `device` and in `kind`.
    pub fn made(component: &'static str, (device, kind): (Device, Kind), make: Rc<Make>) -> Weights {
        Weights::root(component, Source::Made(make), device, kind)
    }

    fn root(component: &'static str, source: Source, device: Device, kind: Kind) -> Weights {
        let store = Store { source, device, kind, taken: RefCell::default() };
        Weights { store: Rc::new(store), component, path: String::new() }
    }

    /// The name of this place as a tensor site: the component and the key path, `unet.mid_block.resnets.0`.
    pub fn site(&self) -> String {
        if self.path.is_empty() { self.component.to_string() } else { format!("{}.{}", self.component, self.path) }
    }

    /// The file the tensors are views of, if there is one.
    pub fn file(&self) -> Option<Arc<WeightFile>> {
        match &self.store.source {
            Source::File(file, _) => Some(file.clone()),
            Source::Made(_) => None,
        }
    }

    /// The dtype the tensors are handed out in.
    pub fn kind(&self) -> Kind {
        self.store.kind
    }

    /// Whether the file has tensors at this place; weights that are made have them everywhere.
    pub fn holds_any(&self) -> bool {
        match &self.store.source {
            Source::File(file, _) => {
                let inside = format!("{}.", self.path);
                file.entries.range(inside.clone()..).next().is_some_and(|(key, _)| key.starts_with(&inside))
            }
            Source::Made(_) => true,
        }
    }

    /// The tensor `name` here, with the shape the configuration asks for.
    ///
    /// # Errors
    /// When it is missing or has another shape. A 1×1 convolution may stand for a linear layer and the other way round:
    /// older and newer files differ in that for the VAE's attention.
    pub fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let store = &self.store;
        let key = join(&self.path, name);
        let (file, change) = match &store.source {
            Source::File(file, change) => (file, change),
            Source::Made(make) => return make(&key, shape),
        };
        let Some(entry) = file.entries.get(&key) else {
            return Err(Error::MissingTensor { path: file.path.clone(), name: key, expected: shape.to_vec() });
        };
        let squeezed = |s: &[i64]| s.iter().copied().filter(|d| *d != 1).collect::<Vec<_>>();
        let same = entry.shape == shape
            || (entry.shape.len() == 4 && shape.len() == 2 && squeezed(&entry.shape) == squeezed(shape));
        if !same {
            let (path, found) = (file.path.clone(), entry.shape.clone());
            return Err(Error::WrongShape { path, name: key, expected: shape.to_vec(), found });
        }
        let view = file.tensor(&key, entry)?.view(shape);
        let tensor = view.to_device(store.device);
        let tensor = match change {
            Some(change) => change(&key, tensor)?,
            None => tensor,
        };
        let tensor = tensor.to_kind(store.kind);
        if tensor.device() != view.device() || tensor.data_ptr() != view.data_ptr() {
            file.release(&view);
        }
        store.taken.borrow_mut().insert(key);
        Ok(tensor)
    }

    /// Refuses tensors that nobody took: the file belongs to another configuration.
    ///
    /// # Errors
    /// Names them.
    pub fn finish(&self) -> Result<()> {
        let Source::File(file, _) = &self.store.source else { return Ok(()) };
        let taken = self.store.taken.borrow();
        let names: Vec<String> = file.entries.keys().filter(|k| !taken.contains(*k)).cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::ExtraTensors { path: file.path.clone(), names })
    }
}

impl Div<&str> for &Weights {
    type Output = Weights;

    fn div(self, name: &str) -> Weights {
        Weights { store: self.store.clone(), component: self.component, path: join(&self.path, name) }
    }
}

impl Div<&str> for Weights {
    type Output = Weights;

    fn div(self, name: &str) -> Weights {
        &self / name
    }
}

impl Div<usize> for Weights {
    type Output = Weights;

    fn div(self, index: usize) -> Weights {
        &self / index.to_string().as_str()
    }
}

impl WeightFile {
    /// The tensor as it is in the file, on the CPU: a view of the file's bytes where they are aligned, else a copy. Numbers
    /// of eight bits come as a copy in f32, for libtorch computes in nothing so narrow.
    pub(crate) fn tensor(&self, name: &str, entry: &Entry) -> Result<Tensor> {
        if let Some(kind) = fp8::kind(entry.dtype) {
            let narrow = self.view(entry, kind)?;
            let tensor = narrow.f_to_kind(Kind::Float)?;
            self.release(&narrow);
            return Ok(tensor);
        }
        let kind = match entry.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            other => {
                let reason = format!("tensor `{name}` holds {other:?} numbers, expected F32, F16, BF16 or fp8");
                return Err(Error::bad_file(&self.pieces[entry.piece].0, "weight file", reason));
            }
        };
        self.view(entry, kind)
    }

    fn view(&self, entry: &Entry, kind: Kind) -> Result<Tensor> {
        let bytes = self.data(entry);
        if !(bytes.as_ptr() as usize).is_multiple_of(kind.elt_size_in_bytes()) {
            return Ok(Tensor::f_from_data_size(bytes, &entry.shape, kind)?);
        }
        // SAFETY: the bytes live as long as the `WeightFile`, which each model holds beside its tensors; libtorch reads
        // weights and never writes them, for no operation in this crate changes a weight in place.
        Ok(unsafe { Tensor::f_from_blob(bytes.as_ptr(), &entry.shape, &[], kind, Device::Cpu)? })
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

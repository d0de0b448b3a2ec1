//! What a file adds to one weight, by the kind of its factors.
//!
//! Enters: the factors of a layer. Leaves: [`Delta`], which is checked against the weight's shape and multiplied out.
//! LoRA and LoCon: up · down, with a convolution between them where there is one. LoHa: (w1a · w1b) ∘ (w2a · w2b), number by
//! number. LoKr: w1 ⊗ w2, the Kronecker product, each whole or a product. A product of a convolution may have a core t
//! (Tucker): out[p, r, …] = Σ t[i, j, …] · a[i, p] · b[j, r]. Follows LyCORIS (Yeh et al., 2023; its `functional/`), and
//! ComfyUI's `weight_adapter/` and AUTOMATIC1111's `extensions-builtin/Lora` in what alpha scales.

use crate::error::Result;
use crate::model::lora_names::LoraFactor;
use crate::model::weights::{Entry, WeightFile};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// A tensor of a file with its key.
pub type Named = (String, Entry);

/// The tensors of a file for one layer.
pub type Factors = BTreeMap<LoraFactor, Named>;

/// What is added to a weight.
#[derive(Debug, Clone)]
pub enum Delta {
    /// A LoRA or LoCon.
    LowRank { down: Named, up: Named, mid: Option<Named> },
    /// A LoHa.
    Hadamard(Matrix, Matrix),
    /// A LoKr.
    Kronecker(Matrix, Matrix),
    /// The difference itself.
    Whole(Named),
}

/// A matrix in a file. A convolution's kernel counts with the columns.
#[derive(Debug, Clone)]
pub enum Matrix {
    /// As it is.
    Whole(Named),
    /// `a` · `b`.
    Product { a: Named, b: Named },
    /// `a` and `b` with a core between them.
    Tucker { a: Named, b: Named, core: Named },
}

/// Why factors give nothing for a weight.
#[derive(Debug)]
pub struct Misfit {
    /// Whose shape it is.
    pub key: String,
    /// The shape.
    pub found: Vec<i64>,
    /// The one that it should have.
    pub wanted: String,
}

fn misfit(named: &Named, wanted: String) -> Misfit {
    Misfit { key: named.0.clone(), found: named.1.shape.clone(), wanted }
}

/// Why factors are none of a layer, in words.
pub type Incomplete = String;

impl Delta {
    /// Takes the factors of a weight's difference out of those of a layer; none where it has none.
    ///
    /// # Errors
    /// When one is missing, or there are those of two kinds.
    pub fn take(factors: &mut Factors) -> std::result::Result<Option<Delta>, Incomplete> {
        use LoraFactor::*;
        let mut found: Vec<(String, Delta)> = vec![];
        if let Some(first) = first(factors, &[Down, Up, Mid]) {
            let need = |factor: Option<Named>| {
                factor.ok_or_else(|| format!("a layer needs `down` and `up`; of this one there is only `{first}`"))
            };
            let (down, up, mid) = (factors.remove(&Down), factors.remove(&Up), factors.remove(&Mid));
            found.push((first.clone(), Delta::LowRank { down: need(down)?, up: need(up)?, mid }));
        }
        if let Some(first) = first(factors, &[0, 1].map(|i| [HadaA(i), HadaB(i), HadaCore(i)]).concat()) {
            let need = |matrix: Option<Matrix>| {
                matrix.ok_or_else(|| {
                    let all = "`hada_w1_a`, `hada_w1_b`, `hada_w2_a` and `hada_w2_b`";
                    format!("a layer of a LoHa needs {all}; not all of them stand beside `{first}`")
                })
            };
            let [one, two] = [0, 1].map(|i| Matrix::take(factors, None, HadaA(i), HadaB(i), HadaCore(i)));
            found.push((first.clone(), Delta::Hadamard(need(one)?, need(two)?)));
        }
        if let Some(first) = first(factors, &[0, 1].map(|i| [Lokr(i), LokrA(i), LokrB(i), LokrCore(i)]).concat()) {
            let need = |matrix: Option<Matrix>| {
                matrix.ok_or_else(|| {
                    let all = "`lokr_w1` and `lokr_w2`, each whole or as `_a` and `_b`";
                    format!("a layer of a LoKr needs {all}; not all of them stand beside `{first}`")
                })
            };
            let [one, two] = [0, 1].map(|i| Matrix::take(factors, Some(Lokr(i)), LokrA(i), LokrB(i), LokrCore(i)));
            found.push((first.clone(), Delta::Kronecker(need(one)?, need(two)?)));
        }
        if let Some(whole) = factors.remove(&Diff) {
            found.push((whole.0.clone(), Delta::Whole(whole)));
        }
        match &found[..] {
            [(one, _), (other, _), ..] => Err(format!("`{one}` and `{other}` are for the same layer")),
            _ => Ok(found.pop().map(|(_, delta)| delta)),
        }
    }

    /// What alpha is divided by; none where alpha does not count.
    pub fn rank(&self) -> Option<i64> {
        match self {
            Delta::LowRank { down, .. } => Some(down.1.shape[0]),
            Delta::Hadamard(one, _) => one.rank(),
            // As ComfyUI and AUTOMATIC1111 have it: the second one's, if it is a product.
            Delta::Kronecker(one, two) => two.rank().or(one.rank()),
            Delta::Whole(_) => None,
        }
    }

    /// Whether it is a weight's own difference, and no factors of one.
    pub fn is_whole(&self) -> bool {
        matches!(self, Delta::Whole(_))
    }

    /// Checks the shapes against that of the weight.
    pub fn check(&self, weight: &[i64]) -> std::result::Result<(), Misfit> {
        // A linear layer and a convolution of one pixel are the same.
        let same = |shape: &[i64]| squeezed(shape) == squeezed(weight);
        match self {
            Delta::Whole(whole) if same(&whole.1.shape) => Ok(()),
            Delta::Whole(whole) => Err(misfit(whole, "the same".into())),
            Delta::LowRank { down, .. } if weight.len() < 2 => Err(misfit(down, "a whole difference".into())),
            Delta::LowRank { down, up, mid } => check_low_rank(down, up, mid.as_ref(), weight),
            Delta::Hadamard(one, two) => {
                let wanted = [weight[0], weight[1..].iter().product()];
                for matrix in [one, two] {
                    if matrix.shape(weight)? != wanted || weight.len() < 2 {
                        let [out, rest] = wanted;
                        return Err(misfit(matrix.first(), format!("a product of [{out}, {rest}]")));
                    }
                }
                Ok(())
            }
            Delta::Kronecker(one, two) => {
                let ([a, c], [b, d]) = (one.shape(weight)?, two.shape(weight)?);
                let [out, rest] = [weight[0], weight[1..].iter().product()];
                if a.checked_mul(b) != Some(out) || c.checked_mul(d) != Some(rest) || weight.len() < 2 {
                    let wanted =
                        format!("a Kronecker product of [{out}, {rest}], and it is one of [{a}, {c}] and [{b}, {d}]");
                    return Err(misfit(one.first(), wanted));
                }
                Ok(())
            }
        }
    }

    /// The difference in f32, with as many numbers as the weight and in their order. Not scaled.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn product(&self, file: &WeightFile, device: Device) -> Result<Tensor> {
        Ok(match self {
            Delta::Whole(whole) => load(file, whole, device)?,
            Delta::Hadamard(one, two) => one.product(file, device)? * two.product(file, device)?,
            Delta::Kronecker(one, two) => one.product(file, device)?.f_kron(&two.product(file, device)?)?,
            Delta::LowRank { down, up, mid } => {
                let (rank, outputs) = (down.1.shape[0], up.1.shape[0]);
                let up = load(file, up, device)?.reshape([outputs, up.1.shape[1]]);
                let down = load(file, down, device)?.reshape([rank, -1]);
                let Some(mid) = mid else { return Ok(up.matmul(&down)) };
                // up[o, a] · mid[a, b, hw] · down[b, i], as a convolution has it: [o, i, hw].
                let mid = load(file, mid, device)?.reshape([mid.1.shape[0], mid.1.shape[1], -1]);
                Tensor::einsum("oa,abk,bi->oik", &[up, mid, down], None::<&[i64]>)
            }
        })
    }
}

/// The first of these factors that is there.
fn first(factors: &Factors, wanted: &[LoraFactor]) -> Option<String> {
    wanted.iter().find_map(|factor| Some(factors.get(factor)?.0.clone()))
}

/// A tensor in f32.
pub fn load(file: &WeightFile, (key, entry): &Named, device: Device) -> Result<Tensor> {
    Ok(file.tensor(key, entry)?.to_device(device).to_kind(Kind::Float))
}

fn squeezed(shape: &[i64]) -> Vec<i64> {
    shape.iter().copied().filter(|n| *n != 1).collect()
}

/// A convolution's kernel in a shape, none where it is of one pixel.
fn kernel(shape: &[i64]) -> Vec<i64> {
    squeezed(shape.get(2..).unwrap_or_default())
}

fn at(shape: &[i64], i: usize) -> i64 {
    shape.get(i).copied().unwrap_or(0)
}

fn check_low_rank(down: &Named, up: &Named, mid: Option<&Named>, weight: &[i64]) -> std::result::Result<(), Misfit> {
    let (down_shape, up_shape) = (&down.1.shape, &up.1.shape);
    let rank = at(down_shape, 0);
    let (width, inner) = match mid {
        Some((_, mid)) => (vec![], at(&mid.shape, 0)),
        None => (kernel(weight), rank),
    };
    if rank == 0 || at(down_shape, 1) != weight[1] || kernel(down_shape) != width {
        let width = if width.is_empty() { String::new() } else { format!(", {}, {}", weight[2], weight[3]) };
        return Err(misfit(down, format!("[rank, {}{width}]", weight[1])));
    }
    if at(up_shape, 0) != weight[0] || at(up_shape, 1) != inner || !kernel(up_shape).is_empty() {
        return Err(misfit(up, format!("[{}, {inner}]", weight[0])));
    }
    match mid {
        Some(mid) if mid.1.shape.len() != weight.len() || mid.1.shape[1] != rank || mid.1.shape[2..] != weight[2..] => {
            Err(misfit(mid, format!("[{inner}, {rank}] with the kernel of its weight")))
        }
        _ => Ok(()),
    }
}

impl Matrix {
    fn take(
        factors: &mut Factors,
        whole: Option<LoraFactor>,
        a: LoraFactor,
        b: LoraFactor,
        core: LoraFactor,
    ) -> Option<Matrix> {
        let (a, b, core) = (factors.remove(&a), factors.remove(&b), factors.remove(&core));
        match (whole.and_then(|whole| factors.remove(&whole)), a, b, core) {
            (Some(whole), None, None, None) => Some(Matrix::Whole(whole)),
            (None, Some(a), Some(b), None) => Some(Matrix::Product { a, b }),
            (None, Some(a), Some(b), Some(core)) => Some(Matrix::Tucker { a, b, core }),
            _ => None,
        }
    }

    fn rank(&self) -> Option<i64> {
        match self {
            Matrix::Whole(_) => None,
            Matrix::Product { b, .. } | Matrix::Tucker { b, .. } => Some(at(&b.1.shape, 0)),
        }
    }

    /// The tensor that stands for it in messages.
    fn first(&self) -> &Named {
        match self {
            Matrix::Whole(whole) => whole,
            Matrix::Product { a, .. } | Matrix::Tucker { a, .. } => a,
        }
    }

    /// Rows and columns, where its parts fit each other and the kernel of the weight.
    fn shape(&self, weight: &[i64]) -> std::result::Result<[i64; 2], Misfit> {
        let wide = |named: &Named| match named.1.shape.len() {
            0 | 1 => Err(misfit(named, "a matrix".into())),
            2 => Ok(()),
            _ if kernel(&named.1.shape) == kernel(weight) => Ok(()),
            _ => Err(misfit(named, "a matrix, or one with the kernel of its weight".into())),
        };
        let columns = |shape: &[i64]| shape[1..].iter().product::<i64>();
        match self {
            Matrix::Whole(whole) => {
                wide(whole)?;
                Ok([whole.1.shape[0], columns(&whole.1.shape)])
            }
            Matrix::Product { a, b } => {
                wide(b)?;
                let rank = b.1.shape[0];
                if rank == 0 || a.1.shape.len() < 2 || columns(&a.1.shape) != rank {
                    return Err(misfit(a, format!("[…, {rank}]")));
                }
                Ok([a.1.shape[0], columns(&b.1.shape)])
            }
            Matrix::Tucker { a, b, core } => {
                let (inner, rank) = (at(&a.1.shape, 0), at(&b.1.shape, 0));
                for named in [a, b] {
                    if named.1.shape.len() != 2 || rank == 0 {
                        return Err(misfit(named, "[rank, …]".into()));
                    }
                }
                if core.1.shape.len() < 2
                    || core.1.shape[..2] != [inner, rank]
                    || kernel(&core.1.shape) != kernel(weight)
                {
                    return Err(misfit(core, format!("[{inner}, {rank}] with the kernel of its weight")));
                }
                let pixels = core.1.shape[2..].iter().product();
                let columns = b.1.shape[1].checked_mul(pixels);
                Ok([a.1.shape[1], columns.ok_or_else(|| misfit(b, "fewer columns".into()))?])
            }
        }
    }

    /// The matrix itself, in f32.
    fn product(&self, file: &WeightFile, device: Device) -> Result<Tensor> {
        let rows =
            |named: &Named| Ok::<_, crate::error::Error>(load(file, named, device)?.reshape([named.1.shape[0], -1]));
        Ok(match self {
            Matrix::Whole(whole) => rows(whole)?,
            Matrix::Product { a, b } => rows(a)?.matmul(&rows(b)?),
            Matrix::Tucker { a, b, core } => {
                let [inner, rank] = [core.1.shape[0], core.1.shape[1]];
                let core = load(file, core, device)?.reshape([inner, rank, -1]);
                let product = Tensor::einsum("ijk,ip,jr->prk", &[core, rows(a)?, rows(b)?], None::<&[i64]>);
                product.reshape([a.1.shape[1], -1])
            }
        })
    }
}

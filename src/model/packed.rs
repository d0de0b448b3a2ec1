//! A convolution's weight, lying as the processor wants it.
//!
//! oneDNN, libtorch's library of convolutions on the CPU, reorders a weight before it computes with it. For a plain tensor it
//! does so in every call, which costs the lower levels of a UNet, many channels and few places, up to half their time. The
//! weight of a model that is only run is reordered once, at the first call, in place of the plain one. Large pictures stay
//! with the plain weight, for which libtorch has the faster algorithm. The numbers are those of another order of summation:
//! the same to 1e-5. Which way is taken depends on one picture's size alone, not on the batch, the run or the process.

use super::allocator;
use super::weights::WeightFile;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use tch::{CModule, Device, IValue, Kind, TchError, Tensor};

/// The operator, which the bindings don't have, in TorchScript; `scripts/make_operators.py` writes it.
static FILE: &[u8] = include_bytes!("../../assets/operators/packed_convolution.pt");

/// Weights of fewer numbers lie in the processor's caches, and gain nothing.
const LARGE: i64 = 1 << 20;

/// Loaded once a process; none with a libtorch that has no such operator.
fn operator() -> Option<&'static CModule> {
    static OPERATOR: OnceLock<Option<CModule>> = OnceLock::new();
    let load = || cfg!(target_arch = "x86_64").then(|| CModule::load_data(&mut &*FILE).ok()).flatten();
    OPERATOR.get_or_init(load).as_ref()
}

/// A convolution's weight.
#[derive(Debug)]
pub struct Kernel {
    lies: RefCell<Lies>,
    file: Option<Arc<WeightFile>>,
}

#[derive(Debug)]
enum Lies {
    Plain(Tensor),
    Packed(Tensor),
}

impl Kernel {
    /// A plain weight `[output, input, k, k]`. One from a file is changed by nobody, and so may be reordered.
    pub fn new(weight: Tensor, file: Option<Arc<WeightFile>>) -> Kernel {
        let file = file.filter(|_| weight.device() == Device::Cpu && weight.kind() == Kind::Float);
        Kernel { lies: RefCell::new(Lies::Plain(weight)), file }
    }

    /// The convolution of `x`, `[batch, input, h, w]`, with as much padding on all sides.
    pub fn convolve(&self, x: &Tensor, bias: Option<&Tensor>, stride: i64, padding: i64) -> Tensor {
        let mut lies = self.lies.borrow_mut();
        let file = self.file.as_ref().filter(|_| !x.requires_grad() && lies.is_worth_packing(x, stride));
        if let Some(file) = file
            && let Ok(Some(y)) = lies.convolve_packed(file, x, bias, stride, padding)
        {
            return y;
        }
        x.conv2d(lies.plain(), bias, [stride; 2], [padding; 2], [1, 1], 1)
    }
}

impl Lies {
    /// Whether reordering the weight costs more than what the plain call does better: it is large, and has more numbers than
    /// a guided pair's input and output.
    fn is_worth_packing(&self, x: &Tensor, stride: i64) -> bool {
        let (Lies::Plain(weight) | Lies::Packed(weight)) = self;
        let (&[output, input, ..], &[_, _, height, width]) = (&weight.size()[..], &x.size()[..]) else { return false };
        let (places, numbers) = (height * width, weight.size().iter().product::<i64>());
        numbers >= LARGE && numbers > 2 * (input * places + output * places / (stride * stride))
    }

    /// None where libtorch has no such operator.
    fn convolve_packed(
        &mut self,
        file: &WeightFile,
        x: &Tensor,
        bias: Option<&Tensor>,
        stride: i64,
        padding: i64,
    ) -> Result<Option<Tensor>, TchError> {
        let Some(operator) = operator() else { return Ok(None) };
        if let Lies::Plain(weight) = self {
            let packed = weight.f_to_mkldnn(None)?;
            let packed = packed.f_mkldnn_reorder_conv2d_weight([padding; 2], [stride; 2], [1, 1], 1, x.size())?;
            file.release(weight);
            *self = Lies::Packed(packed);
            // What was needed on the way, and the plain weight where it was a copy: aligned as tensors are, the next
            // weight would not fit where this one lay.
            allocator::return_freed_memory();
        }
        let (Lies::Plain(weight) | Lies::Packed(weight)) = self;
        let own = |tensor: &Tensor| IValue::Tensor(tensor.shallow_clone());
        let bias = bias.map_or(IValue::None, own);
        match operator.forward_is(&[own(x), own(weight), bias, IValue::Int(stride), IValue::Int(padding)])? {
            IValue::Tensor(y) => Ok(Some(y)),
            _ => Ok(None),
        }
    }

    /// The weight in its plain order, to which it returns.
    fn plain(&mut self) -> &Tensor {
        if let Lies::Packed(weight) = self {
            *self = Lies::Plain(weight.to_dense(None, false));
        }
        let (Lies::Plain(weight) | Lies::Packed(weight)) = self;
        weight
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::weights::Bytes;
    use std::path::Path;

    const KIND: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// The weight in a file, mapped.
    fn file(weight: &Tensor) -> Arc<WeightFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weight.safetensors");
        Tensor::write_safetensors(&[("weight", weight)], &path).unwrap();
        Arc::new(WeightFile::new(Path::new("weight"), Bytes::map(&path).unwrap()).unwrap())
    }

    #[test]
    fn a_packed_convolution_is_the_plain_one_and_its_weight_comes_back() {
        let (weight, bias) = (Tensor::randn([400, 300, 3, 3], KIND) / 50.0, Tensor::randn([400], KIND));
        let file = file(&weight);
        let view = file.tensor("weight", &file.entries()["weight"]).unwrap();
        let kernel = Kernel::new(view.shallow_clone(), Some(file.clone()));
        for batch in [3, 1, 4] {
            let x = Tensor::randn([batch, 300, 4, 4], KIND);
            let plain = x.conv2d(&weight, Some(&bias), [1; 2], [1; 2], [1; 2], 1);
            assert!((plain - kernel.convolve(&x, Some(&bias), 1, 1)).abs().max().double_value(&[]) < 1e-4, "{batch}");
        }
        for (side, stride, packed) in [(4, 1, true), (5, 2, true), (40, 1, false), (3, 1, true)] {
            let x = Tensor::randn([3, 300, side, side], KIND);
            for (x, bias) in [(x.shallow_clone(), Some(&bias)), (x.transpose(2, 3), None)] {
                let plain = x.conv2d(&weight, bias, [stride; 2], [1; 2], [1; 2], 1);
                let ours = kernel.convolve(&x, bias, stride, 1);
                assert!(ours.is_contiguous() || !packed);
                assert!((plain - ours).abs().max().double_value(&[]) < 1e-4, "{side}, {stride}");
            }
            assert_eq!(matches!(*kernel.lies.borrow(), Lies::Packed(_)), packed && operator().is_some(), "{side}");
        }
        assert_eq!(*kernel.lies.borrow_mut().plain(), weight);
        assert_eq!(view, weight, "the mapped bytes are still there to be read");
        assert!(operator().is_some() || !cfg!(target_arch = "x86_64"), "this libtorch lacks the operator");
    }

    /// As the shortcut of a residual block, which has no margin.
    #[test]
    fn a_single_place_is_packed_as_well() {
        let weight = Tensor::randn([1100, 1000, 1, 1], KIND) / 30.0;
        let file = file(&weight);
        let kernel = Kernel::new(file.tensor("weight", &file.entries()["weight"]).unwrap(), Some(file.clone()));
        let x = Tensor::randn([2, 1000, 8, 8], KIND);
        let plain = x.conv2d(&weight, None::<Tensor>, [1; 2], [0; 2], [1; 2], 1);
        assert!((plain - kernel.convolve(&x, None, 1, 0)).abs().max().double_value(&[]) < 1e-4);
        assert_eq!(matches!(*kernel.lies.borrow(), Lies::Packed(_)), operator().is_some());
    }

    #[test]
    fn a_weight_that_somebody_may_change_stays_as_it_is() {
        let weight = Tensor::ones([400, 300, 3, 3], KIND);
        let kernel = Kernel::new(weight.shallow_clone(), None);
        let x = Tensor::ones([1, 300, 2, 2], KIND);
        let before = kernel.convolve(&x, None, 1, 1);
        let _ = weight.shallow_clone().fill_(2.0);
        assert_eq!(kernel.convolve(&x, None, 1, 1), before * 2.0);
    }
}

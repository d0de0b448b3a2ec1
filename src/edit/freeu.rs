//! FreeU (Si et al. 2023, arXiv 2309.11497), as diffusers has it (`apply_freeu`, `fourier_filter`): in the first two blocks
//! on the way up, half of the backbone's channels grow, and the lowest frequencies of the skips shrink.

use tch::{Kind, Tensor};

/// The first half of the channels times `b`, `[rows, channels, h, w]`.
pub fn backbone(tensor: &Tensor, b: f64) -> Tensor {
    let half = tensor.size()[1] / 2;
    let rest = tensor.size()[1] - half;
    Tensor::cat(&[tensor.narrow(1, 0, half) * b, tensor.narrow(1, half, rest)], 1)
}

/// The frequencies −1 and 0 of each direction times `s`, `[rows, channels, h, w]`; the others stay. In f32.
pub fn skip(tensor: &Tensor, s: f64) -> Tensor {
    let frequencies = tensor.to_kind(Kind::Float).fft_fft2(None::<&[i64]>, [-2i64, -1].as_slice(), "backward");
    let low = |size: i64| {
        let mut low = vec![false; size as usize];
        low[0] = true;
        low[size as usize - 1] = true;
        Tensor::from_slice(&low).to_device(tensor.device())
    };
    let (height, width) = (tensor.size()[2], tensor.size()[3]);
    let low = low(height).unsqueeze(1).logical_and(&low(width).unsqueeze(0));
    let factor = Tensor::ones([height, width], (Kind::Float, tensor.device())).masked_fill(&low, s);
    let filtered = (frequencies * factor).fft_ifft2(None::<&[i64]>, [-2i64, -1].as_slice(), "backward");
    filtered.real().to_kind(tensor.kind())
}

//! What an autoencoder makes of pictures: encoded to the mean, and decoded again.

use crate::error::Result;
use crate::model::vae::Vae;
use crate::pipeline::start::to_picture;
use crate::watch::probe::Probe;
use image::RgbImage;
use tch::{Device, Kind, Tensor};

/// Bytes `[batch, height, width, 3]` to numbers `[batch, 3, height, width]` in −1..1 on a device. The layout in memory
/// stays that of the bytes, which convolutions like best.
pub fn as_input(bytes: &Tensor, device: Device) -> Tensor {
    (bytes.to_device(device).to_kind(Kind::Float) / 127.5 - 1.0).permute([0, 3, 1, 2])
}

/// A picture and what became of it.
pub type Pair = (RgbImage, RgbImage);

/// Pictures, bytes `[count, height, width, 3]`, each with what encoding (to the mean) and decoding makes of it; and the
/// mean and variance of each latent, `[count, channels, h, w]`.
///
/// # Errors
/// When libtorch refuses.
pub fn reconstruct(vae: &Vae, pictures: &Tensor, device: Device) -> Result<(Vec<Pair>, (Tensor, Tensor))> {
    let silent = Probe::silent();
    let (mut pairs, mut means, mut variances) = (vec![], vec![], vec![]);
    for some in pictures.split(8, 0) {
        let input = as_input(&some, device);
        let posterior = vae.encode(&input, &silent)?;
        let output = vae.decode(&posterior.mean, &silent)?;
        let unit = |t: &Tensor| (t / 2.0 + 0.5).clamp(0.0, 1.0);
        for i in 0..some.size()[0] {
            let picture = |t: &Tensor| to_picture(&unit(&t.narrow(0, i, 1)));
            pairs.push((picture(&input)?, picture(&output)?));
        }
        means.push(posterior.mean);
        variances.push(posterior.logvar.exp());
    }
    Ok((pairs, (Tensor::cat(&means, 0), Tensor::cat(&variances, 0))))
}

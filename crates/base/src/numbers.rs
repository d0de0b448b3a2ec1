//! Numbers as they lie in files: little-endian, in full or in half precision. Safetensors files, and so every record, are
//! made of them.

use half::{bf16, f16};

/// f32 numbers from their bytes.
pub fn of_f32(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// f16 numbers from their bytes.
pub fn of_f16(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
}

/// bf16 numbers from their bytes.
pub fn of_bf16(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
}

/// The bytes of numbers in f32.
pub fn to_f32(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The bytes of numbers in f16.
pub fn to_f16(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect()
}

/// The bytes of numbers in bf16.
pub fn to_bf16(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| bf16::from_f32(*number).to_le_bytes()).collect()
}

/// A tensor's numbers as `kind`, row by row, from whatever device they lie on.
///
/// # Errors
/// libtorch's.
#[cfg(feature = "libtorch")]
pub fn of_tensor(tensor: &tch::Tensor, kind: tch::Kind) -> Result<Vec<u8>, tch::TchError> {
    let tensor = tensor.detach().f_to_kind(kind)?.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_exactly_as_their_width_allows() {
        let numbers = [0.0, -1.5, 65504.0, 1.0 / 3.0];
        assert_eq!(of_f32(&to_f32(&numbers)), numbers);
        assert_eq!(to_f32(&[1.0]), [0, 0, 0x80, 0x3f]);
        assert_eq!(to_f16(&[1.0]), [0, 0x3c]);
        assert_eq!(to_bf16(&[1.0]), [0x80, 0x3f]);
        assert_eq!(of_f16(&to_f16(&numbers)), [0.0, -1.5, 65504.0, 0.333_251_95]);
        assert_eq!(of_bf16(&to_bf16(&numbers)), [0.0, -1.5, 65536.0, 0.333_984_38]);
    }
}

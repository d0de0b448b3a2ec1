//! Devices and dtypes by name.

use crate::error::{Error, Result};
use tch::{Device, Kind};

/// The device that `--device` names: `auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:N`, `mps`.
///
/// # Errors
/// When the name is unknown or the device is not there.
pub fn device(name: &str) -> Result<Device> {
    let missing = |what: String| {
        Err(Error::invalid(
            what,
            "use `--device cpu`; for CUDA the program must be built with a CUDA libtorch (`make libtorch-cuda`) on a \
             machine with an NVIDIA driver",
        ))
    };
    let index = match name {
        "auto" => return Ok(Device::cuda_if_available()),
        "cpu" => return Ok(Device::Cpu),
        "mps" if tch::utils::has_mps() => return Ok(Device::Mps),
        "mps" => return missing("no MPS device here: libtorch was built without it, or this is not a Mac".into()),
        "cuda" => Some(0),
        _ => name.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok()),
    };
    let Some(index) = index else {
        return Err(Error::unknown("device", name, ["auto", "cpu", "cuda", "cuda:N", "mps"]));
    };
    if !tch::Cuda::is_available() {
        return missing(format!("no CUDA device here for `--device {name}`"));
    }
    let count = tch::Cuda::device_count();
    if index as i64 >= count {
        return missing(format!("no device `{name}`: CUDA sees {count}"));
    }
    Ok(Device::Cuda(index))
}

/// The dtype that `--dtype` names: `auto` (f16 on CUDA, else f32), `f32`, `bf16`, `f16`.
///
/// # Errors
/// When the name is unknown.
pub fn dtype(name: &str, device: Device) -> Result<Kind> {
    match name {
        "auto" if device.is_cuda() => Ok(Kind::Half),
        "auto" | "f32" => Ok(Kind::Float),
        "bf16" => Ok(Kind::BFloat16),
        "f16" => Ok(Kind::Half),
        _ => Err(Error::unknown("dtype", name, ["auto", "f32", "bf16", "f16"])),
    }
}

/// What there is to say of a dtype that a device only imitates: bf16 on a processor without its instructions.
pub fn slow(kind: Kind, device: Device) -> Option<String> {
    if kind != Kind::BFloat16 || device != Device::Cpu {
        return None;
    }
    lacks_bf16(&std::fs::read_to_string("/proc/cpuinfo").ok()?).then(|| {
        "this processor has no instructions for bf16 (avx512_bf16 or amx_bf16): it is many times slower than f32 here; \
         `--dtype f32` is the quick one"
            .into()
    })
}

/// Whether a processor of the x86 family, as `/proc/cpuinfo` describes it, has no instructions for bf16.
fn lacks_bf16(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
    flags.is_some_and(|(_, flags)| !flags.split_whitespace().any(|flag| ["avx512_bf16", "amx_bf16"].contains(&flag)))
}

/// A device's name, as `--device` takes it.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => "cpu".into(),
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Mps => "mps".into(),
        Device::Vulkan => "vulkan".into(),
    }
}

/// A dtype's short name: `f32`, `i64`, …
pub fn dtype_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "f32",
        Kind::Double => "f64",
        Kind::Half => "f16",
        Kind::BFloat16 => "bf16",
        Kind::Int64 => "i64",
        Kind::Int => "i32",
        Kind::Uint8 => "u8",
        Kind::Bool => "bool",
        _ => "other",
    }
}

//! Lets the finished binary find libtorch by itself: torch-sys knows the folder, but a library's link arguments do not
//! reach the programs that depend on it. Also says when the sources hold no model to embed.

use std::path::PathBuf;

/// The folder of the largest of the embedded model's weights: with it the others are there too.
const POCKET_UNET: &str = "assets/pocket/unet";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The crate in a registry has no room for the embedded model: `exclude` in Cargo.toml leaves its weights out.
    println!("cargo::rustc-check-cfg=cfg(without_pocket)");
    println!("cargo:rerun-if-changed={POCKET_UNET}");
    if !std::path::Path::new(POCKET_UNET).join("diffusion_pytorch_model.safetensors").is_file() {
        println!("cargo:rustc-cfg=without_pocket");
    }
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!("cargo:rustc-env=SDVIZ_LIBTORCH_VERSION=unknown");
        return;
    };
    let lib = PathBuf::from(lib);
    let absolute = lib.canonicalize().unwrap_or_else(|_| lib.clone());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", absolute.display());
    // Where libtorch lies when the program is packed: beside it (`make dist`), or in the site-packages that hold its wheel.
    // The scripts that pack it take the folder above, which is this machine's, out.
    for packed in ["$ORIGIN/../lib", "$ORIGIN/../../torch/lib"] {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{packed}");
    }
    println!("cargo:rustc-env=SDVIZ_LIBTORCH_VERSION={}", version(&absolute));
    if absolute.join("libtorch_cuda.so").exists() {
        // Nothing in our code names a symbol of the CUDA library, so the linker would drop it.
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo:rustc-link-arg=-ltorch_cuda");
    }
}

/// The version a libtorch folder says it is: `build-version`, or a Python torch's `version.py`.
fn version(lib: &std::path::Path) -> String {
    let read = |name| std::fs::read_to_string(lib.with_file_name(name)).ok();
    let python = || Some(read("version.py")?.split("__version__ = '").nth(1)?.split('\'').next()?.to_string());
    read("build-version").or_else(python).map_or("unknown".into(), |v| v.trim().to_string())
}

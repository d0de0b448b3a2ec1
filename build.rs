//! Lets the finished binary find libtorch by itself: torch-sys knows the folder, but a library's link arguments do not
//! reach the programs that depend on it.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    let lib = PathBuf::from(lib);
    let absolute = lib.canonicalize().unwrap_or_else(|_| lib.clone());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", absolute.display());
    if absolute.join("libtorch_cuda.so").exists() {
        // Nothing in our code names a symbol of the CUDA library, so the linker would drop it.
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo:rustc-link-arg=-ltorch_cuda");
    }
}

//! Lets the tests find libtorch by themselves, as the build script of sdviz does for the program.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        let absolute = std::path::Path::new(&lib).canonicalize().unwrap_or_else(|_| (&lib).into());
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", absolute.display());
    }
}

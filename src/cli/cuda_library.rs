//! libtorch's CUDA part, loaded where the environment names it.
//!
//! The program of a wheel is linked against libtorch's CPU part alone, so that it starts with every build of that version. The
//! CUDA part registers itself when it is loaded, if libtorch was asked nothing before: so it comes first. The launcher of the
//! wheel (`python/sdviz/__main__.py`) names it where there is a GPU's driver.

/// The variable that names the file.
const VARIABLE: &str = "SDVIZ_LIBTORCH_CUDA";

/// Loads the file that the environment names, and takes the name out of it, for the programs that this one starts.
#[cfg(target_os = "linux")]
pub fn load_named() {
    use std::ffi::{CStr, CString};
    use std::os::unix::ffi::OsStringExt;

    let Some(file) = std::env::var_os(VARIABLE) else { return };
    // SAFETY: the program has just begun, and no other thread runs yet.
    unsafe { std::env::remove_var(VARIABLE) };
    let Ok(path) = CString::new(file.into_vec()) else { return };
    // SAFETY: the path is a C string. What the library runs when it is loaded is what it runs in any program that is linked
    // against it.
    let why = unsafe {
        if !libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL).is_null() {
            return;
        }
        let said = libc::dlerror();
        if said.is_null() { String::new() } else { CStr::from_ptr(said).to_string_lossy().into_owned() }
    };
    crate::say::say(format!("warning: libtorch's CUDA part cannot be loaded, so there is no GPU: {why}"));
}

/// Elsewhere the program is linked against all that it needs.
#[cfg(not(target_os = "linux"))]
pub fn load_named() {
    let _ = VARIABLE;
}

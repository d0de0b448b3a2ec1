//! How long libgomp's threads spin while they wait for each other, settled before libgomp starts.
//!
//! By default they spin for some milliseconds, on the assumption that every thread has a processor of its own. As soon as
//! another program wants one, each of the thousand small waits of a run costs a time slice. A fortieth of that spinning
//! is as quick on a quiet machine and harmless on a busy one. libgomp reads its settings once, when it is loaded, and
//! that is before `main`: so the setting goes in place of a harmless entry of the environment (which only shells read),
//! before any library is started, and `main` puts the entry back. Whoever sets one of libgomp's own variables has the
//! last word. Where there is no such entry, or another system, everything stays as it is.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod linux {
    use std::ffi::{CStr, OsStr, c_char, c_int};
    use std::os::unix::ffi::OsStrExt;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// About 0.1 to 0.5 ms, and the name under which libgomp knows it.
    const SETTING: &CStr = c"GOMP_SPINCOUNT=8000";
    /// With these the user says how to wait.
    const OF_THE_USER: [&[u8]; 2] = [b"GOMP_SPINCOUNT=", b"OMP_WAIT_POLICY="];
    /// Entries that nothing but a shell, `ls`, or a service's own log looks at.
    const HARMLESS: [&[u8]; 5] = [b"_=", b"OLDPWD=", b"SHLVL=", b"LS_COLORS=", b"INVOCATION_ID="];

    /// The entry that was exchanged.
    static EXCHANGED: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

    #[used]
    #[unsafe(link_section = ".preinit_array")]
    static BEFORE_ALL: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = settle;

    /// Runs before any library is started: neither libc's environment nor its allocator is there yet.
    extern "C" fn settle(_: c_int, _: *mut *mut c_char, environment: *mut *mut c_char) {
        let mut harmless: *mut *mut c_char = std::ptr::null_mut();
        // SAFETY: the loader hands over the process's environment, an array of C strings that ends with a null pointer.
        unsafe {
            let mut at = environment;
            while !at.is_null() && !(*at).is_null() {
                let entry = CStr::from_ptr(*at).to_bytes();
                if OF_THE_USER.iter().any(|name| entry.starts_with(name)) {
                    return;
                }
                if harmless.is_null() && HARMLESS.iter().any(|name| entry.starts_with(name)) {
                    harmless = at;
                }
                at = at.add(1);
            }
            if !harmless.is_null() {
                EXCHANGED.store(*harmless, Ordering::Relaxed);
                *harmless = SETTING.as_ptr().cast_mut();
            }
        }
    }

    /// Puts the environment back as the user left it, for the programs that this one starts.
    pub fn restore_environment() {
        let entry = EXCHANGED.swap(std::ptr::null_mut(), Ordering::Relaxed);
        if entry.is_null() {
            return;
        }
        // SAFETY: the entry is one of the process's first environment, which stays in memory; no other thread runs yet.
        unsafe {
            let entry = CStr::from_ptr(entry).to_bytes();
            std::env::remove_var("GOMP_SPINCOUNT");
            if let Some(equals) = entry.iter().position(|byte| *byte == b'=') {
                std::env::set_var(OsStr::from_bytes(&entry[..equals]), OsStr::from_bytes(&entry[equals + 1..]));
            }
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use linux::restore_environment;

/// Nothing was changed here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn restore_environment() {}

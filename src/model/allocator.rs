//! The C library's allocator, set for a program whose tensors come and go in the same sizes at every step.

/// Keeps freed memory for the next tensor instead of handing it back to the system, which would have to clear every page
/// again: on the CPU a tenth of the UNet's time. For programs, not for libraries: the memory stays with the process.
/// Does something only where the C library is glibc.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets numbers of the allocator; it is called before other threads start.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Hands the freed memory back to the system after all: for what comes once and goes, and would be missed.
/// Does something only where the C library is glibc.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it touches only memory that nobody holds, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
